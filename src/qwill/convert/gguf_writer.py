"""Writer of GGUF files, version 3: metadata and descriptions first, then tensors as they come, a piece at a time.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Files may be split as llama.cpp splits them: the
first part has all metadata, every part says which of how many it is, and tensors are never divided.
"""

import re
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from qwill.convert.output import Output
from qwill.convert.tensor_stream import TensorStream
from qwill.quant.types import TensorType
from qwill.weights.gguf.file import ARRAY, DEFAULT_ALIGNMENT, SCALARS, STRING

VERSION = 3
_TYPE_IDS = {dtype: type_id for type_id, dtype in SCALARS.items()}
_SPLIT_KEYS = ("split.no", "split.count", "split.tensors.count")


@dataclass(frozen=True)
class TensorInfo:
    """A tensor to be written: its name in the file, row-major shape, and type."""

    name: str
    shape: tuple[int, ...]
    type: TensorType

    @property
    def nbytes(self) -> int:
        return prod(self.shape[:-1]) * self.type.row_bytes(self.shape[-1])


def encode_value(value: Any) -> bytes:
    """A metadata value behind its type, as files have it.

    bool, int (as uint32), float (as float32) and str; NumPy scalars and arrays in their own type; sequences of strings,
    or of bool, int (as int32) or float; bytes and memoryview are such values already (`GgufFile.encoded`).
    """
    match value:
        case bytes() | memoryview():
            return bytes(value)
        case np.ndarray():
            return _array(value)
        case bool() | np.generic() | int() | float():
            scalar = _scalar(value)
            return struct.pack("<I", _TYPE_IDS[scalar.dtype]) + scalar.tobytes()
        case str():
            return struct.pack("<I", STRING) + _string(value)
    values = list(value)
    if all(isinstance(item, str) for item in values):
        return struct.pack("<IIQ", ARRAY, STRING, len(values)) + b"".join(map(_string, values))
    kinds = {type(item) for item in values}
    assert len(kinds) == 1, f"an array holds values of one type, not {kinds}"
    return _array(np.array(values, {bool: "?", int: "<i4", float: "<f4"}[kinds.pop()]))


class GgufWriter(TensorStream):
    """One GGUF file, or its parts; its tensors are written in the order of `tensors`.

    split_bytes: begins a new part before it would hold more bytes of tensors than that. Files that fit into one part
    keep the name `path`, parts are called NAME-00001-of-0000N.gguf. What an earlier writer of `path` made in another
    number of parts is overwritten, too, but for files of `sources`. Used as a context manager; see `Output` for what
    happens on errors.
    """

    def __init__(
        self,
        path: Path,
        metadata: Mapping[str, Any],
        tensors: Sequence[TensorInfo],
        split_bytes: int | None = None,
        overwrite: bool = False,
        sources: Collection[Path] = (),
    ) -> None:
        names = [tensor.name for tensor in tensors]
        assert len(set(names)) == len(names), "a tensor's name stands twice"
        parts = _divide(tensors, split_bytes)
        self.paths = part_paths(path, len(parts))
        begins = headers(metadata, parts)
        self.nbytes = sum(map(len, begins)) + sum(_padded(tensor.nbytes) for tensor in tensors)
        read = {file.resolve() for file in sources}
        outdated = [file for file in _written_before(path, self.paths) if file.resolve() not in read]
        output = Output(self.paths, self.nbytes, overwrite, outdated)
        super().__init__(output, begins, parts, multiple=DEFAULT_ALIGNMENT)


def part_paths(path: Path, count: int) -> list[Path]:
    """The names of a file's parts, its own when there is but one."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)]


def _written_before(path: Path, paths: Sequence[Path]) -> list[Path]:
    """Files of the same name, whole or in parts, beside those that are to be written."""
    if not path.parent.is_dir():
        return []
    part = re.compile(re.escape(path.stem) + r"(-\d{5}-of-\d{5})?\.gguf")
    return sorted(file for file in path.parent.iterdir() if part.fullmatch(file.name) and file not in paths)


def file_bytes(metadata: Mapping[str, Any], tensors: Sequence[TensorInfo], split_bytes: int | None = None) -> int:
    """Exact size of the file that a GgufWriter would write, all parts together."""
    parts = _divide(tensors, split_bytes)
    return sum(map(len, headers(metadata, parts))) + sum(_padded(tensor.nbytes) for tensor in tensors)


def headers(metadata: Mapping[str, Any], parts: Sequence[Sequence[TensorInfo]]) -> list[bytes]:
    """What stands before the tensors' bytes in each part, padding included."""
    values = {key: value for key, value in metadata.items() if key not in _SPLIT_KEYS}
    total, count = sum(map(len, parts)), len(parts)
    result = []
    for number, tensors in enumerate(parts):
        own = values if number == 0 else {}
        if count > 1:
            own = own | dict(zip(_SPLIT_KEYS, (np.uint16(number), np.uint16(count), np.int32(total)), strict=True))
        result.append(_header(own, tensors))
    return result


def _header(metadata: Mapping[str, Any], tensors: Sequence[TensorInfo]) -> bytes:
    pieces = [b"GGUF", struct.pack("<IQQ", VERSION, len(tensors), len(metadata))]
    for key, value in metadata.items():
        pieces += _string(key), encode_value(value)
    offset = 0
    for tensor in tensors:
        assert tensor.type.gguf_id is not None, f"{tensor.type.name} is no type of the format"
        dimensions = len(tensor.shape)
        pieces.append(_string(tensor.name))
        pieces.append(struct.pack(f"<I{dimensions}Q", dimensions, *reversed(tensor.shape)))
        pieces.append(struct.pack("<IQ", tensor.type.gguf_id, offset))
        offset += _padded(tensor.nbytes)
    header = b"".join(pieces)
    return header.ljust(_padded(len(header)), b"\0")


def _divide(tensors: Sequence[TensorInfo], split_bytes: int | None) -> list[list[TensorInfo]]:
    parts: list[list[TensorInfo]] = [[]]
    size = 0
    for tensor in tensors:
        if split_bytes is not None and parts[-1] and size + _padded(tensor.nbytes) > split_bytes:
            parts.append([])
            size = 0
        parts[-1].append(tensor)
        size += _padded(tensor.nbytes)
    return parts


def _scalar(value: bool | int | float | np.generic) -> np.generic:
    if isinstance(value, np.generic):
        return value
    return (
        np.bool_(value)
        if isinstance(value, bool)
        else np.uint32(value)
        if isinstance(value, int)
        else np.float32(value)
    )


def _array(values: np.ndarray) -> bytes:
    return struct.pack("<IIQ", ARRAY, _TYPE_IDS[values.dtype], len(values)) + values.tobytes()


def _string(text: str) -> bytes:
    encoded = text.encode("utf-8")
    return struct.pack("<Q", len(encoded)) + encoded


def _padded(size: int) -> int:
    return -(-size // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT
