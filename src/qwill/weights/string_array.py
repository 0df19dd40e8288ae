"""Strings of a GGUF file that stay there until they are asked for."""

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from qwill._native import read_strings
from qwill.weights.mapped import give_back


class StringArray(Sequence[str]):
    """Strings that stay in the file until asked for; `ends[i]` (int64) is the position behind string i."""

    def __init__(self, buffer: np.ndarray, start: int, ends: np.ndarray) -> None:
        self._buffer = buffer
        self._start = start
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        begin = int(self._ends[index - 1]) if index else self._start
        (string,) = read_strings(self._buffer, begin, self._ends[index : index + 1])
        return str(string)

    def __iter__(self) -> Iterator[str]:
        return iter(read_strings(self._buffer, self._start, self._ends))

    def stored(self) -> tuple[np.ndarray, int, np.ndarray]:
        """The file's bytes (uint8), the position of the first string's length, and where each string ends (int64)."""
        return self._buffer, self._start, self._ends

    def give_back(self) -> None:
        """Lets the system drop the pages of the file that the strings lie in, until they are read again."""
        give_back(self._buffer[self._start : int(self._ends[-1]) if len(self._ends) else self._start])
