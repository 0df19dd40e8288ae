"""Reader of safetensors files: the header is checked in full, the tensors stay mapped.

Format: https://huggingface.co/docs/safetensors, a little-endian u64 header length, a JSON header, then the data, whose
byte ranges must follow each other without holes.
"""

import json
import logging
from collections.abc import Iterator
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.weights.folders.shards import INDEX_NAME, WeightFiles, weight_files
from qwill.weights.foreign import HEAD_BYTES, foreign_content
from qwill.weights.mapped import RawTensor, map_file
from qwill.weights.names import belongs_to_draft_head

log = logging.getLogger("qwill")

MAX_HEADER_BYTES = 100_000_000  # the limit of the format's own library
_TOLD_AT_MOST = 4  # files that are not read, a line each
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


def read_folder(folder: Path, quiet: bool = False) -> Iterator[RawTensor]:
    """All tensors of a folder, from the files that `weight_files` finds, and from one beside them that holds nothing
    but the draft head that they lack. The log tells what was decided, unless `quiet`.

    Raises CheckpointError naming a file or tensor that is missing, or a tensor that lies in two files.
    """
    chosen = weight_files(folder)
    tensors, notes = _joined(folder, chosen)
    unread = []
    for name in chosen.more:
        if _holds_draft_head(folder / name) and not any(map(belongs_to_draft_head, tensors)):
            tensors |= {tensor.name: tensor for tensor in read_safetensors(folder / name)}
        else:
            unread.append(name)
    told = unread if len(unread) <= _TOLD_AT_MOST else unread[:1]
    more = f" (and {len(unread) - 1} more)" if len(told) < len(unread) else ""
    notes += [f"{folder / name}: is not read{more}; nothing says that the model needs it" for name in told]
    for note in () if quiet else (*chosen.notes, *notes):
        log.warning("%s", note)
    yield from tensors.values()


def _joined(folder: Path, chosen: WeightFiles) -> tuple[dict[str, RawTensor], list[str]]:
    """The tensors of the chosen files by name, and what there is to say of them."""
    tensors: dict[str, RawTensor] = {}
    doubled: list[str] = []
    for file in chosen.files:
        for tensor in read_safetensors(folder / file):
            before = tensors.setdefault(tensor.name, tensor)
            if before is tensor:
                continue
            place = chosen.places.get(tensor.name)
            if chosen.strict or place not in (before.file.name, file):
                raise CheckpointError(f"{folder}: tensor {tensor.name} is in {before.file.name} and in {file}")
            doubled.append(tensor.name)
            if place == file:
                tensors[tensor.name] = tensor
    absent = [name for name, file in chosen.places.items() if name not in tensors or tensors[name].file.name != file]
    if absent and chosen.strict:
        file = chosen.places[absent[0]]
        raise CheckpointError(f"{folder / file}: tensor {absent[0]} is missing, {INDEX_NAME} says it is here")
    notes = []
    if doubled:
        notes.append(f"{folder}: {doubled[0]} is in two files; it is read from the one that {INDEX_NAME} names")
    if absent:
        notes.append(f"{folder}: {INDEX_NAME} is out of date; {absent[0]} is not where it says")
    return tensors, notes


def _holds_draft_head(path: Path) -> bool:
    """Whether a file that nothing speaks of is a sound one that holds a draft head and nothing else."""
    try:
        names = [tensor.name for tensor in read_safetensors(path)]
    except CheckpointError:
        return False
    return bool(names) and all(map(belongs_to_draft_head, names))


def _read_header(path: Path, content: np.ndarray) -> tuple[dict[str, Any], int]:
    """The JSON header and the position of the first data byte."""
    if what := foreign_content(content[:HEAD_BYTES].tobytes()):
        raise CheckpointError(f"{path}: {what}")
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
