"""Beginnings of sequences that were computed before, found by their contents. No arrays of the model.

A beginning can only be continued where its recurrent state was saved: keys and values of any shorter one lie in its
pages, but a state cannot be shortened. So what is kept are snapshots: a number of tokens, the pages with their keys and
values, and whatever the caller saved beside them. Pages are shared by count; a snapshot that is dropped lets go of its
pages.
"""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

Saved = TypeVar("Saved")
Value = TypeVar("Value")
Place = tuple[bytes, bytes]
KEY_BYTES = 8


class Trail:
    """The tokens of a sequence as keys, with a digest of everything up to each page's end.

    A key is a token's id, or for a token of a picture a number that only its picture and its place in it have.
    """

    def __init__(self, page_size: int, keys: np.ndarray, origin: bytes = b"") -> None:
        """keys [tokens] int64. origin: stands for what computes them, where that is not the model by itself."""
        self.page_size = page_size
        self._bytes = b""
        self._digests = [origin]
        self.extend(keys)

    def __len__(self) -> int:
        return len(self._bytes) // KEY_BYTES

    def extend(self, keys: np.ndarray) -> None:
        """Goes on with these keys."""
        self._bytes += keys.astype("<i8").tobytes()
        page = self.page_size * KEY_BYTES
        for begin in range((len(self._digests) - 1) * page, len(self._bytes) - page + 1, page):
            own = self._digests[-1] + self._bytes[begin : begin + page]
            self._digests.append(hashlib.blake2b(own, digest_size=16).digest())

    def place(self, length: int) -> Place:
        """What the first `length` tokens are found by: a digest of whole pages, and the keys after them.

        At least one token is outside these pages: a draft head's keys and values of the last token depend on the token
        after it, so that its page cannot be shared.
        """
        pages = max(length - 1, 0) // self.page_size
        return self._digests[pages], self._bytes[pages * self.page_size * KEY_BYTES : length * KEY_BYTES]

    def pages_before(self, length: int) -> list[bytes]:
        """Names of the whole pages before a place of that length: digests of all up to their ends and of the token
        after them, on which a draft head's keys and values of the last token depend.
        """
        names = []
        for page in range(1, (length - 1) // self.page_size + 1):
            after = page * self.page_size * KEY_BYTES
            own = self._digests[page] + self._bytes[after : after + KEY_BYTES]
            names.append(hashlib.blake2b(own, digest_size=16).digest())
        return names

    def shorter(self) -> Iterator[tuple[int, bytes]]:
        """Where snapshots of less than the whole can end: whole pages' tokens and their digest, the longest first."""
        for pages in range((len(self) - 1) // self.page_size, -1, -1):
            yield pages * self.page_size, self._digests[pages]


@dataclass(eq=False)
class Snapshot(Generic[Saved]):
    """The first `length` tokens of a sequence, of which `trail` is made, and perhaps of more. The last page also holds
    what came after them. Without pages, `saved` knows where the keys and values are.
    """

    length: int
    place: Place
    pages: list[int]
    size: int
    saved: Saved
    trail: Trail | None = None


class Places(Generic[Value]):
    """What is kept at places, in the order of their last use."""

    def __init__(self) -> None:
        self._values: OrderedDict[Place, Value] = OrderedDict()
        self._tails: dict[bytes, Counter[int]] = {}  # by digest: lengths of tails, and how often each

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, place: Place) -> bool:
        return place in self._values

    def values(self) -> Iterable[Value]:
        """All of them, the one that was not used for the longest time first."""
        return self._values.values()

    def add(self, place: Place, value: Value) -> None:
        assert place not in self._values
        self._values[place] = value
        digest, tail = place
        self._tails.setdefault(digest, Counter())[len(tail) // KEY_BYTES] += 1

    def pop(self, place: Place | None = None) -> Value:
        """Removes what is at a place, or what was not used for the longest time."""
        place = next(iter(self._values)) if place is None else place
        digest, tail = place
        lengths = self._tails[digest]
        lengths[len(tail) // KEY_BYTES] -= 1
        self._tails[digest] = +lengths
        if not self._tails[digest]:
            del self._tails[digest]
        return self._values.pop(place)

    def find(self, trail: Trail, longer_than: int = 0) -> Value | None:
        """What is at the longest beginning of the trail, which has more tokens than that and leaves one at least."""
        for begin, digest in trail.shorter():
            if begin + trail.page_size <= longer_than:
                return None
            for tail in sorted(self._tails.get(digest, ()), reverse=True):
                if not longer_than < begin + tail < len(trail):
                    continue
                place = trail.place(begin + tail)
                if place in self._values:
                    self._values.move_to_end(place)
                    return self._values[place]
        return None


@dataclass
class PrefixCache(Generic[Saved]):
    """Snapshots up to `budget` bytes; the one that was not used for the longest time goes first.

    elsewhere: finds longer snapshots than a number of tokens outside the memory.
    """

    budget: int
    hold: Callable[[Sequence[int]], None]
    release: Callable[[Sequence[int]], None]
    elsewhere: Callable[[Trail, int], Snapshot[Saved] | None] | None = None
    used: int = 0
    _snapshots: Places[Snapshot[Saved]] = field(default_factory=Places)

    def __len__(self) -> int:
        return len(self._snapshots)

    def find(self, trail: Trail) -> Snapshot[Saved] | None:
        """The longest snapshot that leaves at least one of the tokens to be computed."""
        found = self._snapshots.find(trail)
        if self.elsewhere is not None:
            return self.elsewhere(trail, found.length if found else 0) or found
        return found

    def has(self, place: Place) -> bool:
        return place in self._snapshots

    def newest_first(self) -> list[Snapshot[Saved]]:
        """All snapshots, the one that was used last first."""
        return list(self._snapshots.values())[::-1]

    def pages(self) -> Counter[int]:
        """The pages that snapshots hold, and how many of them hold each."""
        return Counter(page for snapshot in self._snapshots.values() for page in snapshot.pages)

    def add(self, snapshot: Snapshot[Saved]) -> None:
        """Keeps a snapshot whose place is free and whose size is within the budget; others are dropped for it."""
        assert snapshot.size <= self.budget
        while self.used + snapshot.size > self.budget:
            self.drop_oldest()
        self.hold(snapshot.pages)
        self._snapshots.add(snapshot.place, snapshot)
        self.used += snapshot.size

    def drop_oldest(self) -> None:
        """Lets go of the snapshot that was not used for the longest time."""
        snapshot = self._snapshots.pop()
        self.used -= snapshot.size
        self.release(snapshot.pages)
