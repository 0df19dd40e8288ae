"""Tensors into files, a piece at a time: what the writers of both formats share."""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from qwill.convert.output import Output


class Announced(Protocol):
    """A tensor that is to be written."""

    @property
    def name(self) -> str: ...
    @property
    def nbytes(self) -> int: ...


class TensorStream:
    """Files that begin with their header and go on with their tensors, then files of the given contents.

    Tensors are padded with zeros to a `multiple` of bytes. Used as a context manager; see `Output` for what happens on
    errors.
    """

    def __init__(
        self,
        output: Output,
        headers: Sequence[bytes],
        files: Sequence[Sequence[Announced]],
        contents: Sequence[bytes] = (),
        multiple: int = 1,
    ) -> None:
        self._output = output
        self._headers = headers
        self._waiting = [(number, tensor) for number, tensors in enumerate(files) for tensor in tensors]
        self._contents = contents
        self._multiple = multiple
        self._written = 0  # bytes of the first tensor that waits
        self._file = -1

    def write(self, data: np.ndarray) -> None:
        """The next bytes of the tensors, any contiguous array; a piece must not reach into another tensor."""
        assert data.flags.c_contiguous
        file, tensor = self._waiting[0]
        self._begin_files(file)
        self._output.write(data.data)
        self._written += data.nbytes
        assert self._written <= tensor.nbytes, f"{tensor.name} has more bytes than announced"
        if self._written == tensor.nbytes:
            self._output.write(bytes(-tensor.nbytes % self._multiple))
            self._waiting.pop(0)
            self._written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._output.discard()
            return
        with self._output:
            assert not self._waiting, f"{self._waiting[0][1].name} was not written"
            self._begin_files(len(self._headers) - 1)  # also a file without tensors has a header
            for content in self._contents:
                self._output.next_file()
                self._output.write(content)

    def _begin_files(self, last: int) -> None:
        while self._file < last:
            self._file += 1
            self._output.next_file()
            self._output.write(self._headers[self._file])
