"""What there is to convert: the tensors of a folder or GGUF file under GGUF names, read a few rows at a time.

Canonical values (weights/tensor.py) are those of GGUF files but for the order of V heads, the patch embedding's two
time slices and the shared expert's gate, which is a vector there.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from qwill.convert.metadata import block_counts
from qwill.errors import CheckpointError, UnsupportedModel
from qwill.quant.codecs import decode
from qwill.quant.types import TYPES, TensorType
from qwill.weights.assemble import scales_of
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.finite import is_finite
from qwill.weights.gguf.file import GgufFile
from qwill.weights.lazy import LazyParts
from qwill.weights.mapped import RawTensor, give_back, read_bytes
from qwill.weights.names import gguf_name, place_gguf
from qwill.weights.tensor import Tensor, spread_scales
from qwill.weights.v_heads import v_head_order

PATCH_EMBEDDING = "visual.patch_embed.proj.weight"


@dataclass(frozen=True)
class SourceTensor:
    """A tensor as a GGUF file will have it, its bytes still where they are.

    `name` and `shape` are those in the GGUF file, `canonical` is the model's own name. Each of `parts` (one an expert,
    else one) holds `rows` rows of `width` values in `type`, with float32 `scales` as in `Tensor`.
    `row_order` and `column_order` (int64 or None) are the stored row and column at each place; columns that are not in
    the order are left out.
    """

    name: str
    canonical: str
    shape: tuple[int, ...]
    type: TensorType
    parts: Sequence[np.ndarray]
    source: str
    width: int
    scales: tuple[np.ndarray, ...] | None = None
    row_order: np.ndarray | None = None
    column_order: np.ndarray | None = None

    @property
    def rows(self) -> int:
        """Rows of a part, as they are read; of `columns` values each."""
        return prod(self.shape) // self.columns // len(self.parts)

    @property
    def columns(self) -> int:
        return self.width if self.column_order is None else len(self.column_order)

    def values(self, part: int, begin: int, end: int) -> np.ndarray:
        """float32 [end - begin, columns] of a part. Raises CheckpointError when one of them is NaN or infinite."""
        rows = self._stored_rows(part, begin, end)
        values = decode(self.type, rows, (len(rows), self.width))
        if self.scales is not None:
            numbers = np.arange(begin, end) if self.row_order is None else self.row_order[begin:end]
            values *= spread_scales(self.scales[part], (self.rows, self.width), numbers)
        if self.column_order is not None:
            values = np.take(values, self.column_order, axis=1)
        if not np.isfinite(values).all():
            row, column = (int(place) for place in np.argwhere(~np.isfinite(values))[0])
            what = "NaN" if np.isnan(values[row, column]) else "infinity"
            raise self._not_finite(part, f"row {begin + row}, column {column}", what)
        return values

    def stored(self, part: int, begin: int, end: int) -> np.ndarray:
        """Bytes of the same rows, uint8 [end - begin, row bytes], as they are stored; see `can_copy`.

        Raises CheckpointError when a value or a block's scale is NaN or infinite.
        """
        rows = self._stored_rows(part, begin, end)
        if self.column_order is not None:
            order = _block_order(self.column_order, self.type.block_elements)
            assert order is not None, self.name
            rows = np.take(rows.reshape(len(rows), -1, self.type.block_bytes), order, axis=1).reshape(len(rows), -1)
        rows = np.ascontiguousarray(rows)
        if not is_finite(rows.reshape(-1), self.type.name, self.type.block_bytes):
            self.values(part, begin, end)  # says where, if a value becomes infinite by it
            raise self._not_finite(part, f"rows {begin} to {end - 1}", "a scale that is no number")
        return rows

    def can_copy(self, target: TensorType) -> bool:
        """Whether the stored bytes are those of `target`, in whole blocks that need only be put in order.

        NVFP4 is copied without the factors of its parts, which a GGUF file has beside it.
        """
        if self.type is not target or (self.scales is not None and target is not TYPES["NVFP4"]):
            return False
        return self.column_order is None or _block_order(self.column_order, target.block_elements) is not None

    def give_back(self, part: int, begin: int, end: int) -> None:
        """Says that these rows of a part are not needed again. What was picked from all over it goes with the last."""
        if isinstance(self.parts, LazyParts):  # gives back what it was made of
            return
        rows = self._part(part)
        if self.row_order is None:
            give_back(rows[begin:end])
        elif end == self.rows:
            give_back(rows)

    def _stored_rows(self, part: int, begin: int, end: int) -> np.ndarray:
        if isinstance(self.parts, LazyParts):
            return self.parts.rows(part, np.arange(begin, end) if self.row_order is None else self.row_order[begin:end])
        rows = self._part(part)
        if self.row_order is None:
            return read_bytes(rows[begin:end])
        order = self.row_order[begin:end]
        runs = np.split(order, np.flatnonzero(np.diff(order) != 1) + 1)
        return np.concatenate([read_bytes(rows[run[0] : run[-1] + 1]) for run in runs])

    def _part(self, part: int) -> np.ndarray:
        return self.parts[part].reshape(-1).view(np.uint8).reshape(-1, self.type.row_bytes(self.width))

    def _not_finite(self, part: int, place: str, what: str) -> CheckpointError:
        expert = f"expert {part}, " if len(self.parts) > 1 else ""
        return CheckpointError(f"{self.source}: {self.name} holds {what} ({expert}{place}); the model is damaged")


def language_tensors(checkpoint: Checkpoint, draft_head: bool = True) -> Iterator[SourceTensor]:
    """The text model of a folder, and its draft head if it has one and it is wanted."""
    text = checkpoint.config.get("text_config", checkpoint.config)
    for tensor in checkpoint.tensors:
        if not tensor.name.startswith("visual.") and (draft_head or not tensor.name.startswith("mtp.")):
            yield _language_tensor(tensor, text, checkpoint.v_heads_tiled)


def vision_tensors(checkpoint: Checkpoint) -> Iterator[SourceTensor]:
    """The vision tower of a folder; nothing when it has none."""
    for tensor in checkpoint.tensors:
        if tensor.name == PATCH_EMBEDDING:
            yield from _patch_slices(tensor, checkpoint.config["vision_config"])
        elif tensor.name.startswith("visual."):
            yield SourceTensor(
                gguf_name(tensor.name, 0), tensor.name, tensor.shape, tensor.type, tensor.parts, tensor.source,
                tensor.shape[-1],
            )  # fmt: skip


def gguf_tensors(file: GgufFile, draft_head: bool = True) -> Iterator[SourceTensor]:
    """The tensors of a GGUF file as they are, without the blocks of its draft head when it is not wanted.

    Factors of NVFP4 are no tensors here but those of their matrix.
    """
    layers, blocks = block_counts(file)
    dropped = tuple(f"blk.{layer}." for layer in range(layers, blocks))
    for raw in file.tensors.values():
        if draft_head or not raw.name.startswith(dropped):
            place = place_gguf(raw.name, layers)
            if place is None:
                raise CheckpointError(f"{raw.file}: tensor {raw.name} belongs to no part of this model")
            if place.part is not None:
                raise UnsupportedModel(
                    f"{raw.source}: experts of the draft head lie one by one; leave it out: --no-mtp"
                )
            if not place.is_scale:
                yield _from_raw(raw, place.name, file.tensors.get(raw.name.removesuffix("weight") + "scale"))
            elif raw.name.removesuffix("scale") + "weight" not in file.tensors:
                raise CheckpointError(f"{raw.source}: the scales have no weight beside them; download the file again")


class Watch:
    """Notices when files change while they are read."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._states = {file: _state(file) for file in files}

    @property
    def files(self) -> list[Path]:
        return list(self._states)

    def check(self) -> None:
        """Raises CheckpointError when a file is not as it was."""
        for file, state in self._states.items():
            if _state(file) != state:
                raise CheckpointError(f"{file}: was changed while it was read; start again when nobody writes to it")


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _language_tensor(tensor: Tensor, text: dict[str, Any], tiled: bool) -> SourceTensor:
    name = gguf_name(tensor.name, text["num_hidden_layers"])
    gate = tensor.name.endswith("shared_expert_gate.weight")
    rows, columns = (None, None) if tiled else v_head_order(tensor.name, tensor.shape, text)
    shape = tensor.shape
    if len(shape) == 1 and rows is not None:  # values of a vector are its columns
        rows, columns = None, rows
    return SourceTensor(
        name,
        tensor.name,
        shape[1:] if gate else shape,
        tensor.type,
        tensor.parts,
        tensor.source,
        shape[-1],
        tensor.scales,
        rows,
        columns,
    )


def _patch_slices(tensor: Tensor, vision: dict[str, Any]) -> Iterator[SourceTensor]:
    """The flat patch embedding as one convolution [out, channels, height, width] for each of two frames."""
    frames, side = vision.get("temporal_patch_size", 2), vision.get("patch_size", 16)
    out, width = tensor.shape
    columns = np.arange(width).reshape(-1, frames, side, side)
    first = gguf_name(PATCH_EMBEDDING, 0)
    for frame, name in enumerate((first, f"{first}.1")):
        yield SourceTensor(
            name,
            tensor.name,
            (out, columns.shape[0], side, side),
            tensor.type,
            tensor.parts,
            tensor.source,
            width,
            column_order=columns[:, frame].reshape(-1),
        )


def _from_raw(raw: RawTensor, canonical: str, factors: RawTensor | None) -> SourceTensor:
    parts = raw.data.reshape(raw.shape[0], -1) if len(raw.shape) == 3 else raw.data[None]
    scales = scales_of(raw, factors, len(parts), raw.shape[-2:])
    width = raw.shape[-1]
    return SourceTensor(raw.name, canonical, raw.shape, TYPES[raw.dtype], tuple(parts), raw.source, width, scales)


def _block_order(columns: np.ndarray, block: int) -> np.ndarray | None:
    """Which stored block stands at each place, when columns are in whole blocks; else None."""
    if len(columns) % block:
        return None
    blocks = columns.reshape(-1, block)
    starts = blocks[:, :1]
    if (starts % block).any() or (blocks != starts + np.arange(block)).any():
        return None
    order: np.ndarray = starts[:, 0] // block
    return order
