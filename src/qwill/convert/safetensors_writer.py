"""Writer of a model's folder: shards of safetensors with their index, and small files beside them.

Format: https://huggingface.co/docs/safetensors, a little-endian u64 header length, a JSON header, then the data.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from qwill.convert.output import Output
from qwill.convert.tensor_stream import TensorStream
from qwill.weights.folders.safetensors import DTYPE_BYTES
from qwill.weights.folders.shards import INDEX_NAME, SINGLE_NAME

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


class FolderWriter(TensorStream):
    """A folder with tensors, written in their order, and files of the given contents.

    shard_bytes: begins a new shard before it would hold more bytes of tensors than that. Used as a context manager;
    see `Output` for what happens on errors.
    """

    def __init__(
        self, folder: Path, tensors: Sequence[StoredTensor], files: Mapping[str, bytes], shard_bytes: int
    ) -> None:
        shards = _divide(tensors, shard_bytes)
        names = shard_names(len(shards))
        headers = [_header(shard) for shard in shards]
        contents = dict(files)
        if len(shards) > 1:
            contents[INDEX_NAME] = _index(names, shards).encode()
        self.nbytes = sum(map(len, (*headers, *contents.values()))) + sum(tensor.nbytes for tensor in tensors)
        output = Output([folder / name for name in (*names, *contents)], self.nbytes)
        super().__init__(output, headers, shards, list(contents.values()))


def _index(names: Sequence[str], shards: Sequence[Sequence[StoredTensor]]) -> str:
    """Which shard each tensor is in."""
    places = zip(names, shards, strict=True)
    weight_map = {tensor.name: name for name, shard in places for tensor in shard}
    total = sum(tensor.nbytes for shard in shards for tensor in shard)
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
