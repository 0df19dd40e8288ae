"""Matrices of whole numbers times a scale: (code - zero) * scale, a scale and a zero for each row and group of columns.

Such a value is one of Q4_0, Q5_0 or Q8_0 exactly when its level, code - zero, lies between -8 and 7, -16 and 15 or -128
and 127, its block of 32 columns lies within a group, and its scale is a half-precision number. So 4-bit codes with any
zero are Q5_0, those whose zero is the middle are Q4_0. Scales of whole rows that are no such numbers are held beside
the blocks, whose own are 1 then.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.quant.types import TYPES, TensorType
from qwill.weights.mapped import RawTensor
from qwill.weights.packed.matrix import halved

BLOCK = 32
_DTYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "BF16": np.dtype("<u2"), "F32": np.dtype("<f4")}
_REACH = {"Q4_0": 8, "Q5_0": 16, "Q8_0": 128}

# BF16 numbers from 2^-17 on have no more digits than a half-precision number of their size; the largest is below 65504.
_SMALLEST_SURE, _LARGEST_SURE = 0x3700, 0x477F


@dataclass(frozen=True)
class Scale:
    """Scales in F16, BF16 or F32: [rows, groups], or [groups, rows] when `by_groups`."""

    raw: RawTensor
    by_groups: bool

    @property
    def groups(self) -> int:
        return self.raw.shape[0 if self.by_groups else 1]

    def of(self, rows: slice) -> np.ndarray:
        """[rows, groups], float16 where they are stored so, else float32."""
        stored = self.raw.data.view(_DTYPES[self.raw.dtype]).reshape(self.raw.shape)
        some = np.ascontiguousarray(stored[:, rows].T if self.by_groups else stored[rows])
        return (some.astype(np.uint32) << 16).view(np.float32) if self.raw.dtype == "BF16" else some

    @cached_property
    def is_half(self) -> bool:
        """Whether all of them are half-precision numbers. Looks at all that are stored in another type."""
        if self.raw.dtype == "F16":
            return True
        if self.raw.dtype == "BF16":
            words = self.raw.data.view(np.uint16)
            if words.min() >= _SMALLEST_SURE and words.max() <= _LARGEST_SURE:
                return True
            values = (words.astype(np.uint32) << 16).view(np.float32)
        else:
            values = self.raw.data.view(np.float32)
        with np.errstate(over="ignore"):
            return bool((values.astype(np.float16).astype(np.float32) == values).all())


@dataclass(frozen=True)
class Levels:
    """A matrix of levels and scales.

    `codes` gives uint8 [rows, columns] of some rows (from a multiple of 32 on), `zeros` uint8 [rows, groups] of them;
    `zero_range`: the smallest and the largest zero. `group_of`: the group of each column, int [columns]. `nibbles`, for
    4-bit codes that lie so, gives uint8 [rows, columns / 2], the lower half of a byte first.
    """

    shape: tuple[int, int]
    source: str
    stored: Sequence[np.ndarray]
    bits: int
    group_of: np.ndarray
    scale: Scale
    codes: Callable[[slice], np.ndarray]
    zeros: Callable[[slice], np.ndarray]
    zero_range: tuple[int, int]
    nibbles: Callable[[slice], np.ndarray] | None = None

    @cached_property
    def scales(self) -> np.ndarray | None:
        """Those of rows, float32 [rows, 1], where blocks cannot hold them. Raises CheckpointError for no numbers."""
        if self.scale.is_half or self.scale.groups > 1 or self._block_groups is None:
            return None
        scales: np.ndarray = self.scale.of(slice(None)).astype(np.float32)
        if not np.isfinite(scales).all():
            raise _not_finite(self.scale.raw)
        return scales

    @cached_property
    def type(self) -> TensorType:
        """Q4_0, Q5_0 or Q8_0 where it holds all values exactly, else F32."""
        smallest, largest = -self.zero_range[1], (1 << self.bits) - 1 - self.zero_range[0]
        if self._block_groups is not None and (self.scale.is_half or self.scales is not None):
            for name, reach in _REACH.items():
                if -reach <= smallest and largest < reach:
                    return TYPES[name]
        return TYPES["F32"]

    @cached_property
    def _block_groups(self) -> np.ndarray | None:
        """The group of each block of 32 columns; None where a block has columns of several."""
        return _groups_of_blocks(self.group_of.tobytes())

    def encode(self, rows: slice, tensor_type: TensorType, out: np.ndarray) -> None:
        """Fills out, uint8 [rows, row bytes], in `type` or one after it of Q4_0, Q5_0, Q8_0 and F32."""
        if tensor_type is TYPES["F32"]:
            out[:] = self._floats(rows).view(np.uint8)
        else:
            self._blocks(rows, tensor_type, out.reshape(len(out), -1, tensor_type.block_bytes))

    def _levels(self, rows: slice) -> np.ndarray:
        """int8 [rows, columns], or int16 where they do not all fit."""
        codes = self.codes(rows)
        fits = self.zero_range[1] <= 128 and (1 << self.bits) - 1 - self.zero_range[0] < 128
        if self.zero_range[0] == self.zero_range[1]:
            zero = self.zero_range[0]
            return (codes - np.uint8(zero)).view(np.int8) if fits else codes.astype(np.int16) - np.int16(zero)
        zeros = self._spread(self.zeros(rows))
        return (codes - zeros).view(np.int8) if fits else codes.astype(np.int16) - zeros

    def _spread(self, values: np.ndarray) -> np.ndarray:
        """From [rows, groups] to [rows, columns]."""
        return np.take(values, self.group_of, axis=1)

    def _floats(self, rows: slice) -> np.ndarray:
        scale = self.scale.of(rows).astype(np.float32)
        if not np.isfinite(scale).all():
            raise _not_finite(self.scale.raw)
        with np.errstate(over="ignore"):  # infinities are found when the matrix is packed
            return self._levels(rows).astype(np.float32) * self._spread(scale)

    def _blocks(self, rows: slice, tensor_type: TensorType, out: np.ndarray) -> None:
        """Fills out [rows, blocks, block bytes] with ggml's blocks (csrc/formats/q4.h, q5.h, q8_0.h)."""
        assert self._block_groups is not None, self.source
        if self.scales is not None:
            scale = np.ones((len(out), 1), np.float16)
        else:
            scale = self.scale.of(rows).astype(np.float16, copy=False)
        if not np.isfinite(scale).all():
            raise _not_finite(self.scale.raw)
        out[..., :2] = np.take(scale, self._block_groups, axis=1)[..., None].view(np.uint8)
        if tensor_type is TYPES["Q4_0"] and self.nibbles is not None and self.zero_range == (8, 8):
            even, odd = halved(self.nibbles(rows).reshape(*out.shape[:2], 16), 16)
            out[..., 2::2], out[..., 3::2] = even, odd
            return
        levels = self._levels(rows).reshape(*out.shape[:2], BLOCK)
        if tensor_type is TYPES["Q8_0"]:
            out[..., 2:] = levels.view(np.uint8)
            return
        reach = _REACH[tensor_type.name]
        numbers = levels.view(np.uint8) + np.uint8(reach)
        if tensor_type is TYPES["Q5_0"]:
            out[..., 2:6] = np.packbits(numbers > 15, axis=-1, bitorder="little")
            numbers &= 15
        out[..., -16:] = numbers[..., :16] | numbers[..., 16:] << 4


@lru_cache(maxsize=64)
def even_groups(columns: int, size: int) -> np.ndarray:
    """The group of each column when groups of `size` columns follow each other."""
    groups = np.arange(columns) // size
    groups.setflags(write=False)
    return groups


@lru_cache(maxsize=64)
def _groups_of_blocks(group_of: bytes) -> np.ndarray | None:
    groups = np.frombuffer(group_of, np.int64)
    if len(groups) % BLOCK:
        return None
    blocks = groups.reshape(-1, BLOCK)
    return blocks[:, 0].copy() if (blocks == blocks[:, :1]).all() else None


def groups_of_columns(columns: int, groups: int, raw: RawTensor, order: RawTensor | None) -> np.ndarray:
    """The group of each of `columns` columns: `order` (I32 [columns], "g_idx") says it, else they are of equal size.

    Raises CheckpointError when `order` names a group that there is not, UnsupportedModel when groups cannot be of equal
    size. `raw`: the scales, for the message.
    """
    if order is None:
        if columns % groups:
            raise UnsupportedModel(f"{raw.source}: {groups} groups cannot divide {columns} columns evenly")
        return even_groups(columns, columns // groups)
    if order.dtype not in ("I32", "I64") or order.shape != (columns,):
        raise CheckpointError(
            f"{order.source}: is {order.dtype} {list(order.shape)}, expected a group for each of {columns} columns"
        )
    group_of = order.data.view(np.int32 if order.dtype == "I32" else np.int64).astype(np.int64)
    if group_of.min() < 0 or group_of.max() >= groups:
        raise CheckpointError(
            f"{order.source}: names group {int(group_of.max())} of {groups}; the file is damaged, download it again"
        )
    return group_of


def _not_finite(raw: RawTensor) -> CheckpointError:
    return CheckpointError(f"{raw.source}: holds NaN or infinity; the checkpoint is damaged")
