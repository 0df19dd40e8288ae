"""Parts of a tensor whose bytes are made when they are asked for, from others that stay in the file."""

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, overload

import numpy as np


class LazyParts(Sequence[np.ndarray]):
    """What `Tensor.parts` are for weights that a file holds in another layout.

    `makers` give a part's uint8 bytes each time they are called; `stored` are the arrays of the file that they read.
    A part that is asked for by its number is kept until another one, of whichever tensor, is: who reads a part in
    pieces does not make it again for each, and never more than one is kept.
    """

    _newest: ClassVar["tuple[LazyParts, int, np.ndarray] | None"] = None

    def __init__(self, makers: Sequence[Callable[[], np.ndarray]], stored: Sequence[np.ndarray]) -> None:
        self._makers = makers
        self.stored = stored

    def __len__(self) -> int:
        return len(self._makers)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (make() for make in self._makers)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> "LazyParts": ...
    def __getitem__(self, index: int | slice) -> "np.ndarray | LazyParts":
        if isinstance(index, slice):
            return LazyParts(self._makers[index], self.stored)
        newest = LazyParts._newest
        if newest is not None and newest[0] is self and newest[1] == index:
            return newest[2]
        LazyParts._newest = None  # let go of it before the next one is made
        part = self._makers[index]()
        LazyParts._newest = (self, index, part)
        return part
