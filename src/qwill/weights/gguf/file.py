"""Reader of GGUF files, versions 2 and 3: metadata and tensor descriptions are checked in full, tensors stay mapped.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Every count and length is held against the
bytes that are left before anything is allocated, so a damaged file costs an error, not memory or minutes.
"""

import re
import struct
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from qwill._native import string_ends
from qwill.errors import CheckpointError, UnsupportedModel
from qwill.quant.foreign_types import why_not
from qwill.quant.types import BY_GGUF_ID
from qwill.weights.foreign import HEAD_BYTES
from qwill.weights.gguf.other_files import NEWEST_VERSION, OLDEST_VERSION, no_gguf, unsupported_version
from qwill.weights.mapped import RawTensor, map_file
from qwill.weights.string_array import StringArray

MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 20
MAX_ARRAY_ELEMENTS = 1 << 24
MAX_STRING_BYTES = 1 << 26
MAX_NAME_BYTES = 1 << 12
MAX_DIMENSIONS = 4
MAX_SIZE = 1 << 48
DEFAULT_ALIGNMENT = 32

SCALARS: dict[int, np.dtype[Any]] = {
    0: np.dtype("<u1"), 1: np.dtype("<i1"), 2: np.dtype("<u2"), 3: np.dtype("<i2"), 4: np.dtype("<u4"),
    5: np.dtype("<i4"), 6: np.dtype("<f4"), 7: np.dtype("?"), 10: np.dtype("<u8"), 11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}  # fmt: skip
STRING, ARRAY = 8, 9
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_SPLIT_NAME = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")


@dataclass(frozen=True)
class GgufFile:
    """Metadata and tensors of a GGUF file, or of all parts of a split one.

    Scalars of the metadata are Python values, arrays NumPy arrays or StringArray. `encoded` has the same values as they
    stand in the file, each behind its type: what a writer copies without a loss.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, RawTensor]
    encoded: dict[str, memoryview] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        value = self.metadata.get("general.architecture")
        if not isinstance(value, str):
            raise CheckpointError(f"{self.path}: names no general.architecture; the file is incomplete")
        return value


def read_gguf(path: Path) -> GgufFile:
    """A GGUF file; when it is one of several parts (`-00001-of-0000N`), all of them together.

    Raises ModelNotFound, CheckpointError (torn, inconsistent, part missing) or UnsupportedModel (unknown tensor type).
    """
    first = _Parser(path).parse()
    count = first.metadata.get("split.count", 1)
    if type(count) is not int or count <= 1:
        return first
    match = _SPLIT_NAME.fullmatch(path.name)
    if not match or int(match[3]) != count:
        raise CheckpointError(f"{path}: is one of {count} parts; give it its name back, NAME-00001-of-{count:05}.gguf")
    parts = []
    for number in range(1, count + 1):
        part_path = path.with_name(f"{match[1]}-{number:05}-of-{count:05}.gguf")
        if not part_path.is_file():
            raise CheckpointError(f"{part_path}: part {number} of {count} is missing; download it into the same folder")
        part = first if part_path == path else _Parser(part_path).parse()
        if part.metadata.get("split.no") != number - 1 or part.metadata.get("split.count") != count:
            raise CheckpointError(f"{part_path}: is not part {number} of {count}, the files were mixed up")
        parts.append(part)
    tensors: dict[str, RawTensor] = {}
    for part in parts:
        for name, tensor in part.tensors.items():
            if name in tensors:
                raise CheckpointError(f"{part.path}: tensor {name} is also in {tensors[name].file.name}")
            tensors[name] = tensor
    total = parts[0].metadata.get("split.tensors.count", len(tensors))
    if total != len(tensors):
        raise CheckpointError(f"{parts[0].path}: the parts hold {len(tensors)} tensors instead of {total}")
    return GgufFile(parts[0].path, parts[0].metadata, tensors, parts[0].encoded)


class _Parser:
    """One pass over one file's header."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = map_file(path)
        self.buffer = self.content.data
        self.position = 0

    def parse(self) -> GgufFile:
        if self._take(4) != b"GGUF":
            raise no_gguf(self.path, bytes(self.buffer[:HEAD_BYTES]))
        version = self._u32()
        if not OLDEST_VERSION <= version <= NEWEST_VERSION:
            raise unsupported_version(self.path, version)
        tensor_count = self._count("tensors", MAX_TENSORS, 24)
        key_count = self._count("metadata keys", MAX_KEYS, 13)
        metadata: dict[str, Any] = {}
        encoded: dict[str, memoryview] = {}
        for _ in range(key_count):
            key = self._string(MAX_NAME_BYTES)
            if not key or key in metadata:
                raise self._damaged(f"metadata key {key!r} is empty or stands twice")
            begin = self.position
            metadata[key] = self._value(key, self._u32())
            encoded[key] = self.buffer[begin : self.position]
        alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if type(alignment) is not int or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
            raise self._damaged(f"general.alignment is {alignment!r}")
        described: dict[str, tuple[str, tuple[int, ...], int, int]] = {}
        for _ in range(tensor_count):
            name = self._string(MAX_NAME_BYTES)
            if name in described or not name.isprintable():
                raise self._damaged(f"tensor name {name!r} stands twice or is no text")
            described[name] = self._describe(name, alignment)
        start = -(-self.position // alignment) * alignment
        return GgufFile(self.path, metadata, self._map_tensors(described, start), encoded)

    def _describe(self, name: str, alignment: int) -> tuple[str, tuple[int, ...], int, int]:
        """dtype, row-major shape, offset and size in bytes of one tensor."""
        dimensions = self._u32()
        if dimensions > MAX_DIMENSIONS:
            raise self._damaged(f"tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self._u64() for _ in range(dimensions))[::-1] or (1,)
        type_id, offset = self._u32(), self._u64()
        if type_id not in BY_GGUF_ID:
            raise UnsupportedModel(f"{self.path}: tensor {name} has type {why_not(type_id)}")
        tensor_type = BY_GGUF_ID[type_id]
        if not all(0 < size < MAX_SIZE for size in shape) or prod(shape) >= MAX_SIZE:
            raise self._damaged(f"tensor {name!r} has the shape {list(shape)}")
        if shape[-1] % tensor_type.block_elements:
            raise self._damaged(f"tensor {name!r} has rows of {shape[-1]}, no whole {tensor_type.name} blocks")
        if offset % alignment:
            raise self._damaged(f"tensor {name!r} starts at {offset}, not a multiple of {alignment}")
        return tensor_type.name, shape, offset, prod(shape[:-1]) * tensor_type.row_bytes(shape[-1])

    def _map_tensors(
        self, described: dict[str, tuple[str, tuple[int, ...], int, int]], start: int
    ) -> dict[str, RawTensor]:
        data = self.content[start:]
        ranges = sorted((offset, offset + size, name) for name, (_, _, offset, size) in described.items())
        for (_, previous_end, previous), (begin, _, name) in pairwise(ranges):
            if begin < previous_end:
                raise self._damaged(f"tensors {previous!r} and {name!r} overlap")
        if ranges and ranges[-1][1] > len(data):
            raise CheckpointError(
                f"{self.path}: ends {ranges[-1][1] - len(data)} bytes too early (tensor {ranges[-1][2]!r}); "
                "the file is torn, download it again"
            )
        return {
            name: RawTensor(name, dtype, shape, data[offset : offset + size], self.path)
            for name, (dtype, shape, offset, size) in described.items()
        }

    def _value(self, key: str, type_id: int) -> Any:
        if type_id in SCALARS:
            dtype = SCALARS[type_id]
            return np.frombuffer(self._take(dtype.itemsize), dtype)[0].item()
        if type_id == STRING:
            return self._string(MAX_STRING_BYTES)
        if type_id != ARRAY:
            raise self._damaged(f"metadata key {key!r} has the unknown type {type_id}")
        element = self._u32()
        if element == STRING:
            return self._strings(self._count(key, MAX_ARRAY_ELEMENTS, 8))
        if element not in SCALARS:
            raise self._damaged(f"metadata key {key!r} is an array of the unknown type {element}")
        dtype = SCALARS[element]
        count = self._count(key, MAX_ARRAY_ELEMENTS, dtype.itemsize)
        return np.frombuffer(self._take(count * dtype.itemsize), dtype)

    def _strings(self, count: int) -> StringArray:
        """Steps over `count` strings, keeping only where they end."""
        start, buffer = self.position, np.frombuffer(self.buffer, np.uint8)
        ends = string_ends(buffer, start, count)
        if ends is None:
            raise self._torn()
        self.position = int(ends[-1]) if count else start
        return StringArray(buffer, start, ends)

    def _take(self, count: int) -> memoryview:
        end = self.position + count
        if end > len(self.buffer):
            raise self._torn()
        view = self.buffer[self.position : end]
        self.position = end
        return view

    def _u32(self) -> int:
        value: int = _U32.unpack(self._take(4))[0]
        return value

    def _u64(self) -> int:
        value: int = _U64.unpack(self._take(8))[0]
        return value

    def _count(self, what: str, limit: int, bytes_each: int) -> int:
        """A count that the rest of the file can hold."""
        count = self._u64()
        if count > limit or count * bytes_each > len(self.buffer) - self.position:
            raise self._damaged(f"it claims {count} {what}")
        return count

    def _string(self, limit: int) -> str:
        length = self._u64()
        if length > limit:
            raise self._damaged(f"a string claims {length} bytes")
        return str(self._take(length), "utf-8", "replace")

    def _damaged(self, reason: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: {reason}; the file is damaged, download it again")

    def _torn(self) -> CheckpointError:
        return CheckpointError(f"{self.path}: ends inside its header, the file is torn; download it again")
