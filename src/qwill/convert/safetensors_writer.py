"""Writer of a model's folder: shards of safetensors with their index, and small files beside them.

Format: https://huggingface.co/docs/safetensors, a little-endian u64 header length, a JSON header, then the data.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from qwill.convert.output import Output
from qwill.weights.safetensors import DTYPE_BYTES, INDEX_NAME, SINGLE_NAME

HEADER_MULTIPLE = 8  # the header is padded with blanks, so that the data begins at a multiple of this
METADATA = {"format": "pt"}  # what transformers looks for


@dataclass(frozen=True)
class StoredTensor:
    """A tensor to be written: its name in the file, a dtype of the format, and its row-major shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * DTYPE_BYTES[self.dtype]


class FolderWriter:
    """A folder with tensors, written in their order, and files of the given contents.

    shard_bytes: begins a new shard before it would hold more bytes of tensors than that. Used as a context manager;
    see `Output` for what happens on errors.
    """

    def __init__(
        self, folder: Path, tensors: Sequence[StoredTensor], files: Mapping[str, bytes], shard_bytes: int
    ) -> None:
        self._shards = _divide(tensors, shard_bytes)
        self._names = shard_names(len(self._shards))
        self._headers = [_header(shard) for shard in self._shards]
        self._files = dict(files)
        if len(self._shards) > 1:
            self._files[INDEX_NAME] = self._index().encode()
        self.nbytes = sum(map(len, (*self._headers, *self._files.values()))) + sum(t.nbytes for t in tensors)
        self._output = Output([folder / name for name in (*self._names, *self._files)], self.nbytes)
        self._waiting = [(number, tensor) for number, shard in enumerate(self._shards) for tensor in shard]
        self._written = 0  # bytes of the first tensor that waits
        self._shard = -1

    def write(self, data: np.ndarray) -> None:
        """The next bytes of the tensors, any contiguous array; a piece must not reach into another tensor."""
        number, tensor = self._waiting[0]
        while self._shard < number:
            self._shard += 1
            self._output.next_file()
            self._output.write(self._headers[self._shard])
        self._output.write(data.data)
        self._written += data.nbytes
        assert self._written <= tensor.nbytes, f"{tensor.name} has more bytes than announced"
        if self._written == tensor.nbytes:
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
            for content in self._files.values():
                self._output.next_file()
                self._output.write(content)

    def _index(self) -> str:
        places = zip(self._names, self._shards, strict=True)
        weight_map = {tensor.name: name for name, shard in places for tensor in shard}
        total = sum(tensor.nbytes for shard in self._shards for tensor in shard)
        return json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2)


def shard_names(count: int) -> list[str]:
    """The names of a folder's shards."""
    if count == 1:
        return [SINGLE_NAME]
    return [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]


def _divide(tensors: Sequence[StoredTensor], shard_bytes: int) -> list[list[StoredTensor]]:
    shards: list[list[StoredTensor]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.nbytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.nbytes
    return shards


def _header(tensors: Sequence[StoredTensor]) -> bytes:
    entries: dict[str, object] = {"__metadata__": METADATA}
    end = 0
    for tensor in tensors:
        begin, end = end, end + tensor.nbytes
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // HEADER_MULTIPLE) * HEADER_MULTIPLE)
    return len(text).to_bytes(8, "little") + text
