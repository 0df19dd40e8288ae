"""Parts of a tensor whose bytes are made when they are asked for, from others that stay in the file."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import ClassVar, TypeVar, overload

import numpy as np

from qwill.system.processors import logical_processors

# So many rows, from a multiple of it on, are made together: in some layouts several share a word.
ROWS_TOGETHER = 32


class LazyParts(Sequence[np.ndarray]):
    """What `Tensor.parts` are for weights that a file holds in another layout.

    `makers` (one a part) give the uint8 bytes [end - begin, row bytes] of rows begin to end - 1, multiples of 32 or the
    end, each time they are called; `height`: rows of a part. `stored` are the arrays of the file that they read.
    A part that is asked for by its number is kept until another one, of whichever tensor, is: who reads a part in
    pieces does not make it again for each, and never more than one is kept.
    """

    _newest: ClassVar["tuple[LazyParts, int, np.ndarray] | None"] = None

    def __init__(
        self, makers: Sequence[Callable[[int, int], np.ndarray]], height: int, stored: Sequence[np.ndarray]
    ) -> None:
        self._makers = makers
        self._height = height
        self.stored = stored

    def __len__(self) -> int:
        return len(self._makers)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (make(0, self._height).reshape(-1) for make in self._makers)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> "LazyParts": ...
    def __getitem__(self, index: int | slice) -> "np.ndarray | LazyParts":
        if isinstance(index, slice):
            return LazyParts(self._makers[index], self._height, self.stored)
        newest = LazyParts._newest
        if newest is not None and newest[0] is self and newest[1] == index:
            return newest[2]
        LazyParts._newest = None  # let go of it before the next one is made
        part = self._makers[index](0, self._height).reshape(-1)
        LazyParts._newest = (self, index, part)
        return part

    def made(self) -> tuple[np.ndarray, ...]:
        """All parts."""
        return tuple(in_threads(lambda make: make(0, self._height).reshape(-1), self._makers))

    def rows(self, part: int, numbers: np.ndarray) -> np.ndarray:
        """Some rows of a part, in that order: uint8 [rows, row bytes]. Makes no others than their neighbours."""
        make = self._makers[part]
        first, last = int(numbers.min()), int(numbers.max())
        if last - first < 2 * len(numbers) + ROWS_TOGETHER:
            begin = first // ROWS_TOGETHER * ROWS_TOGETHER
            made = make(begin, min((last // ROWS_TOGETHER + 1) * ROWS_TOGETHER, self._height))
            in_order = len(numbers) == last - first + 1 and bool((np.diff(numbers) == 1).all())
            return made[first - begin : last - begin + 1] if in_order else made[numbers - begin]
        groups, place = np.unique(numbers // ROWS_TOGETHER, return_inverse=True)
        begins = groups * ROWS_TOGETHER
        made_groups = [make(int(begin), min(int(begin) + ROWS_TOGETHER, self._height)) for begin in begins]
        whole = np.zeros((len(groups), ROWS_TOGETHER, made_groups[0].shape[1]), np.uint8)
        for group, rows in zip(whole, made_groups, strict=True):
            group[: len(rows)] = rows
        return whole[place, numbers % ROWS_TOGETHER]


Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """What the work gives for each item. NumPy lets other threads run in most of what is done here."""
    if len(items) == 1:
        return [work(items[0])]
    with ThreadPoolExecutor(min(len(items), logical_processors())) as pool:
        return list(pool.map(work, items))


def in_shared_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """The same by threads that stay, for many small jobs. The work must not come here again: it could wait for ever."""
    return [work(items[0])] if len(items) == 1 else list(_shared_threads().map(work, items))


@cache
def _shared_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(logical_processors())
