"""Merges of a byte-level BPE, learned so that the words a model has to copy are spelled with pieces it knows well."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise

Merge = tuple[str, str]

SHARED_BY = 4  # copied words that a piece of a copied word has to turn up in


def merged(pieces: list[str], merge: Merge) -> list[str]:
    """The pieces with every such pair joined, from the left."""
    result: list[str] = []
    index = 0
    while index < len(pieces):
        if tuple(pieces[index : index + 2]) == merge:
            result.append(merge[0] + merge[1])
            index += 2
        else:
            result.append(pieces[index])
            index += 1
    return result


def spelled(word: str, ranks: Mapping[Merge, int]) -> list[str]:
    """A word's tokens: the pair of the lowest rank is joined until none is left."""
    pieces = list(word)
    while True:
        known = [pair for pair in pairwise(pieces) if pair in ranks]
        if not known:
            return pieces
        pieces = merged(pieces, min(known, key=ranks.__getitem__))


def ranked(merges: list[Merge]) -> dict[Merge, int]:
    return {merge: rank for rank, merge in enumerate(merges)}


def learn_merges(words: Mapping[str, int], banned: Collection[str]) -> Iterator[Merge]:
    """The most frequent pair of each state, until no pair is left; none that would make a banned piece.

    words: how often each occurs.
    """
    spelling = {word: list(word) for word in words}
    pairs: Counter[Merge] = Counter()
    holders: defaultdict[Merge, set[str]] = defaultdict(set)

    def add(word: str, sign: int) -> None:
        for pair in pairwise(spelling[word]):
            if pair[0] + pair[1] not in banned:
                pairs[pair] += sign * words[word]
                holders[pair].add(word)

    for word in words:
        add(word, 1)
    while pairs:
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        if pairs[best] <= 0:
            return
        yield best
        for word in tuple(holders.pop(best)):
            add(word, -1)
            spelling[word] = merged(spelling[word], best)
            add(word, 1)
        del pairs[best]


def shared_pieces_only(words: Mapping[str, int], taught: list[str], unseen: list[str], most: int) -> list[Merge]:
    """At most `most` merges learned from `words`, after which every piece of a copied word (of several letters) is one
    of at least SHARED_BY of the taught ones.

    Pieces that fall short are banned, and the merges learned anew, until there are none.
    """
    banned: set[str] = set()
    while True:
        merges = [merge for merge, _ in zip(learn_merges(words, banned), range(most), strict=False)]
        ranks = ranked(merges)
        users = Counter(piece for word in taught for piece in set(spelled(word, ranks)))
        found = {piece for word in (*taught, *unseen) for piece in spelled(word, ranks) if len(piece) > 1}
        short = {piece for piece in found if users[piece] < SHARED_BY}
        if not short:
            return merges
        banned |= short
