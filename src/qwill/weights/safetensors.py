"""Reader of safetensors files: the header is checked in full, the tensors stay mapped.

Format: https://huggingface.co/docs/safetensors, a little-endian u64 header length, a JSON header, then the data, whose
byte ranges must follow each other without holes.
"""

import json
from collections.abc import Iterator
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from qwill.errors import CheckpointError, ModelNotFound, UnsupportedModel
from qwill.weights.mapped import RawTensor, map_file

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
MAX_HEADER_BYTES = 100_000_000  # the limit of the format's own library
DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip


def read_safetensors(path: Path) -> list[RawTensor]:
    """All tensors of one file, in the order of their bytes.

    Raises ModelNotFound, CheckpointError (torn or inconsistent file) or UnsupportedModel (unknown dtype).
    """
    content = map_file(path)
    header, start = _read_header(path, content)
    header.pop("__metadata__", None)
    data = content[start:]
    ranges = sorted((*_check_entry(path, name, entry), name) for name, entry in header.items())
    for (_, previous_end, previous), (begin, _, name) in pairwise(ranges):
        if begin != previous_end:
            problem = "overlap" if begin < previous_end else "leave a hole between them"
            raise CheckpointError(
                f"{path}: tensors {previous} and {name} {problem}; the file is damaged, download it again"
            )
    if ranges and ranges[0][0] != 0:
        raise CheckpointError(
            f"{path}: the first tensor starts at byte {ranges[0][0]} of the data; the file is damaged"
        )
    expected = ranges[-1][1] if ranges else 0
    if expected != len(data):
        raise CheckpointError(
            f"{path}: holds {len(data)} bytes of tensors, its header says {expected}; it is torn, download it again"
        )
    return [
        RawTensor(name, header[name]["dtype"], tuple(header[name]["shape"]), data[begin:end], path)
        for begin, end, name in ranges
    ]


def read_folder(folder: Path) -> Iterator[RawTensor]:
    """All tensors of a folder: `model.safetensors`, or the shards that `model.safetensors.index.json` names.

    Raises CheckpointError naming a shard or tensor that is missing, or a tensor that lies in two shards.
    """
    if (folder / SINGLE_NAME).is_file():
        yield from read_safetensors(folder / SINGLE_NAME)
        return
    index = folder / INDEX_NAME
    if not index.is_file():
        raise _no_weights(folder)
    weight_map = _read_weight_map(index)
    seen: dict[str, str] = {}
    for shard in dict.fromkeys(weight_map.values()):
        if Path(shard).name != shard:
            raise CheckpointError(f"{index}: shard {shard!r} is not a plain file name")
        if not (folder / shard).is_file():
            raise CheckpointError(f"{folder}: {shard} is missing, {INDEX_NAME} names it; download the model again")
        for tensor in read_safetensors(folder / shard):
            if tensor.name in seen:
                raise CheckpointError(f"{folder}: tensor {tensor.name} is in {seen[tensor.name]} and in {shard}")
            seen[tensor.name] = shard
            yield tensor
    for name, shard in weight_map.items():
        if seen.get(name) != shard:
            raise CheckpointError(f"{folder / shard}: tensor {name} is missing, {INDEX_NAME} says it is here")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that must hold an object. Raises ModelNotFound or CheckpointError."""
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelNotFound(f"{path}: no such file") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: is not valid JSON, download it again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: holds no JSON object")
    return value


def _read_weight_map(index: Path) -> dict[str, str]:
    weight_map = read_json(index).get("weight_map")
    if (
        not isinstance(weight_map, dict)
        or not weight_map
        or not all(isinstance(shard, str) for shard in weight_map.values())
    ):
        raise CheckpointError(f"{index}: has no weight_map from tensors to files")
    return weight_map


def _no_weights(folder: Path) -> CheckpointError:
    others = sorted(file.name for pattern in ("*.gguf", "*.bin") for file in folder.glob(pattern))
    if others and others[0].endswith(".gguf"):
        return CheckpointError(f"{folder}: has no {SINGLE_NAME}; give the file instead: {folder / others[0]}")
    if others:
        return UnsupportedModel(f"{folder}: {others[0]} is a pickle; convert it to {SINGLE_NAME}")
    return CheckpointError(f"{folder}: has neither {SINGLE_NAME} nor {INDEX_NAME}; download the model again")


def _read_header(path: Path, content: np.ndarray) -> tuple[dict[str, Any], int]:
    """The JSON header and the position of the first data byte."""
    if len(content) < 8:
        raise CheckpointError(f"{path}: {len(content)} bytes are no safetensors file, download it again")
    length = int.from_bytes(content[:8].tobytes(), "little")
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(f"{path}: is no safetensors file (its header would take {length} bytes)")
    if 8 + length > len(content):
        raise CheckpointError(f"{path}: ends inside its header, the file is torn; download it again")
    try:
        header = json.loads(content[8 : 8 + length].tobytes(), object_pairs_hook=_object_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its header is damaged, download it again") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: its header is no JSON object, download it again")
    return header, 8 + length


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _check_entry(path: Path, name: str, entry: object) -> tuple[int, int]:
    """First and last byte of one tensor, when its dtype, shape and offsets agree."""
    dtype, shape, offsets = (
        [entry.get(key) for key in ("dtype", "shape", "data_offsets")] if isinstance(entry, dict) else [None] * 3
    )
    if (
        not name.isprintable()
        or not isinstance(dtype, str)
        or not _are_sizes(shape)
        or not _are_sizes(offsets)
        or len(offsets) != 2
    ):
        raise CheckpointError(f"{path}: tensor {name!r} is described wrongly, the header is damaged; download it again")
    if dtype not in DTYPE_BYTES:
        raise UnsupportedModel(f"{path}: tensor {name} is stored as {dtype!r}, a type that is not supported")
    begin, end = offsets
    if end - begin != prod(shape) * DTYPE_BYTES[dtype]:
        raise CheckpointError(f"{path}: tensor {name} has {end - begin} bytes, not those of {dtype} {shape}")
    return begin, end


def _are_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 2**48 for size in value)
