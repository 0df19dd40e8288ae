"""Importance files: reading both of llama.cpp's formats, and writing the newer.

The newer one is a GGUF file with two F32 tensors for each matrix: `NAME.in_sum2` [experts, columns] and `NAME.counts`
[experts, 1], and the keys `imatrix.datasets`, `imatrix.chunk_count` and `imatrix.chunk_size`. The older one (`.dat`) is
little-endian: the number of entries; for each the length of its name, the name, a number of calls, the number of
values, the values (float32, mean squares times the calls); then, if anything, the number of pieces of text, the length
of its name, the name. All counts there are int32. Read from llama.cpp's `tools/imatrix` and `common/imatrix-loader`.
"""

import struct
from math import prod
from pathlib import Path

import numpy as np

from qwill.convert.gguf_writer import GgufWriter, TensorInfo
from qwill.errors import CheckpointError
from qwill.quant.importance import Importance, Statistics
from qwill.quant.types import TYPES
from qwill.weights.gguf.file import GgufFile, read_gguf
from qwill.weights.mapped import RawTensor, map_file
from qwill.weights.string_array import StringArray

SUMS, COUNTS = ".in_sum2", ".counts"
DATASETS, CHUNK_COUNT, CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
LONGEST_NAME = 1 << 12
_INT32 = struct.Struct("<i")


def read_importance(path: Path) -> Importance:
    """An importance file of either format. Raises ModelNotFound, or CheckpointError for one that is torn or foreign."""
    content = map_file(path)
    if bytes(content[:4]) == b"GGUF":
        return _from_gguf(read_gguf(path))
    return _Legacy(path, content.data).read()


def write_importance(path: Path, importance: Importance, overwrite: bool = False) -> None:
    """A GGUF file as llama.cpp writes it, whole or not at all. Raises UserError when it exists or cannot be written."""
    arrays: dict[str, np.ndarray] = {}
    for name, found in sorted(importance.statistics.items()):
        arrays[name + SUMS] = found.sums
        arrays[name + COUNTS] = found.counts[:, None]
    metadata = {
        "general.type": "imatrix",
        DATASETS: list(importance.datasets),
        CHUNK_COUNT: importance.chunk_count,
        CHUNK_SIZE: importance.chunk_size,
    }
    tensors = [TensorInfo(name, array.shape, TYPES["F32"]) for name, array in arrays.items()]
    with GgufWriter(path, metadata, tensors, overwrite=overwrite) as writer:
        for array in arrays.values():
            writer.write(np.ascontiguousarray(array, np.float32))


def _from_gguf(file: GgufFile) -> Importance:
    names = sorted(name.removesuffix(SUMS) for name in file.tensors if name.endswith(SUMS))
    if not names:
        raise CheckpointError(f"{file.path}: holds no importance; give a file that qwill imatrix wrote")
    statistics = {}
    for name in names:
        if name + COUNTS not in file.tensors:
            raise CheckpointError(f"{file.path}: {name}{SUMS} has no {COUNTS} beside it; the file is damaged")
        statistics[name] = _statistics(file.path, name, file.tensors[name + SUMS], file.tensors[name + COUNTS])
    datasets = file.metadata.get(DATASETS, ())
    return Importance(
        statistics,
        tuple(datasets) if isinstance(datasets, StringArray) else (),
        _whole(file.metadata.get(CHUNK_COUNT)),
        _whole(file.metadata.get(CHUNK_SIZE)),
        source=str(file.path),
    )


def _statistics(path: Path, name: str, sums: RawTensor, counts: RawTensor) -> Statistics:
    for tensor in (sums, counts):
        if tensor.dtype != "F32":
            raise CheckpointError(f"{path}: {tensor.name} is {tensor.dtype}, expected F32; the file is damaged")
    rows, number = prod(sums.shape[:-1]), prod(counts.shape)
    if number not in (1, rows):
        raise CheckpointError(f"{path}: {name} has {rows} rows of sums and {number} counts; the file is damaged")
    return _checked(
        path,
        name,
        np.array(sums.data.view("<f4"), np.float32).reshape(rows, sums.shape[-1]),
        np.broadcast_to(counts.data.view("<f4").reshape(-1), rows).astype(np.float32),
    )


def _checked(path: Path, name: str, sums: np.ndarray, counts: np.ndarray) -> Statistics:
    for values in (sums, counts):
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise CheckpointError(f"{path}: {name} holds values that are negative or not finite; the file is damaged")
    return Statistics(sums, counts)


def _whole(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0


class _Legacy:
    """One pass over a `.dat` file."""

    def __init__(self, path: Path, buffer: memoryview) -> None:
        self._path = path
        self._buffer = buffer
        self._position = 0

    def read(self) -> Importance:
        entries = self._int()
        if not 1 <= entries <= len(self._buffer):
            raise self._foreign()
        statistics = {}
        for _ in range(entries):
            name = self._text(self._int())
            if not name or not name.isprintable() or name in statistics:
                raise self._foreign()
            calls, values = self._int(), self._int()
            if values < 1:
                raise self._foreign()
            sums = np.frombuffer(self._take(4 * values), "<f4").astype(np.float32)
            # Without calls the values are the means themselves.
            counts = np.array([max(calls, 1)], np.float32)
            statistics[name] = _checked(self._path, name, sums[None], counts)
        chunks, dataset = 0, ""
        if self._position < len(self._buffer):
            chunks = max(self._int(), 0)
            dataset = self._text(self._int())
        return Importance(statistics, (dataset,) if dataset else (), chunks, source=str(self._path))

    def _int(self) -> int:
        value: int = _INT32.unpack(self._take(4))[0]
        return value

    def _text(self, length: int) -> str:
        if not 0 <= length <= LONGEST_NAME:
            raise self._foreign()
        return str(self._take(length), "utf-8", "replace")

    def _take(self, count: int) -> memoryview:
        end = self._position + count
        if end > len(self._buffer):
            raise self._foreign()
        view = self._buffer[self._position : end]
        self._position = end
        return view

    def _foreign(self) -> CheckpointError:
        return CheckpointError(f"{self._path}: is no importance file, or a torn one; give one that qwill imatrix wrote")
