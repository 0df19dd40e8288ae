"""The tokenizer's merges: learned as BPE is defined, and kind to words that have to be copied."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from training.merges import SHARED_BY, learn_merges, ranked, shared_pieces_only, spelled
from training.tasks.common import is_held_out, syllables
from training.tasks.words import COPIED

WORDS = st.dictionaries(st.text("abcd", min_size=1, max_size=9), st.integers(1, 50), min_size=1, max_size=12)


def plain_merges(words: dict[str, int], most: int, banned: frozenset[str] = frozenset()) -> list[tuple[str, str]]:
    """The definition, counting every pair anew for every merge."""
    spelling = {word: list(word) for word in words}
    merges = []
    while len(merges) < most:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, pieces in spelling.items():
            for pair in pairwise(pieces):
                if "".join(pair) not in banned:
                    pairs[pair] += words[word]
        if not pairs:
            break
        merges.append(max(pairs, key=lambda pair: (pairs[pair], pair)))
        for word in words:
            spelling[word] = spelled(word, ranked(merges))
    return merges


@given(WORDS)
def test_merges_are_those_of_the_definition(words: dict[str, int]) -> None:
    assert list(learn_merges(words, ())) == plain_merges(words, 1000)


@given(WORDS, st.sets(st.text("abcd", min_size=2, max_size=3), max_size=5))
def test_banned_pieces_are_never_made(words: dict[str, int], banned: set[str]) -> None:
    merges = list(learn_merges(words, banned))
    assert not banned & {first + second for first, second in merges}
    assert merges == plain_merges(words, 1000, frozenset(banned))


@given(WORDS, st.text("abcd", min_size=1, max_size=12))
def test_words_are_spelled_as_the_library_does(words: dict[str, int], word: str) -> None:
    merges = list(learn_merges(words, ()))
    tokens = dict.fromkeys([*"abcd", *(first + second for first, second in merges)])
    bpe = models.BPE({token: index for index, token in enumerate(tokens)}, merges)
    assert spelled(word, ranked(merges)) == [token.value for token in bpe.tokenize(word)]


def test_merges_cover_a_text_as_well_as_the_librarys(seed: int) -> None:
    """Ties may be broken differently, so the two are compared by how far they shorten the text."""
    rng = random.Random(seed)
    words = Counter("".join(rng.choices("aaabbcde", k=rng.randint(1, 8))) for _ in range(3000))
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=5 + 60, show_progress=False)
    trained.train_from_iterator([" ".join(words.elements())], trainer)
    ranks = ranked([merge for merge, _ in zip(learn_merges(words, ()), range(60), strict=False)])
    ours = sum(count * len(spelled(word, ranks)) for word, count in words.items())
    theirs = len(trained.encode(" ".join(words.elements())).ids)
    assert ours == pytest.approx(theirs, rel=0.01)


def test_pieces_of_copied_words_are_shared() -> None:
    taught = [word for word in COPIED if not is_held_out(word)]
    unseen = [word for word in COPIED if is_held_out(word)]
    words = {"weather": 900, "the": 800, "other": 300, "parameter": 200, "train": 100, "painted": 50}
    ranks = ranked(shared_pieces_only(words, taught, unseen, 100))
    users = Counter(piece for word in taught for piece in set(spelled(word, ranks)))
    for word in COPIED:
        assert all(len(piece) == 1 or users[piece] >= SHARED_BY for piece in spelled(word, ranks)), word
    assert spelled("weather", ranks) != list("weather")


def test_copied_words_are_spelled_alike_anywhere(tokenizer: Tokenizer, seed: int) -> None:
    rng = random.Random(seed)
    alike = []
    for word in (*COPIED, *(syllables(rng, rng.random() < 0.5) for _ in range(300))):
        alone = tokenizer.encode(word).tokens
        places = [tokenizer.encode(before + word).tokens for before in (' "', " ", "\n", "(")]
        same = all(tokens[-len(alone) :] == alone for tokens in places)
        assert same or word not in COPIED, word
        alike.append(same)
    # Some of the 350,000 words that can be made up begin with a word that has a token with its space.
    assert sum(alike) > 0.97 * len(alike)
