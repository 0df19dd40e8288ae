"""GPTQ: codes of 2, 3, 4 or 8 bits in words along the columns of the matrix, which is stored by columns.

    qweight  I32 [columns * bits / 32, rows], from the lowest bit on (3-bit codes run across words)
    qzeros   I32 [groups, rows * bits / 32], likewise; the zero in format `gptq_v2`, one less in `gptq` (v1)
    scales   F16 [groups, rows]
    g_idx    I32 [columns], the group of each column; may be absent

The layout was read from GPTQModel's `dequantize_weight` and llama.cpp's `conversion/base.py`. Readers differ in one
thing: whether the largest code in v1's qzeros (15) means 16 or zero. It is zero here, as in AutoGPTQ's kernels, since a
zero of 16 does not come about in four bits.
"""

from dataclasses import dataclass

import numpy as np

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.weights.mapped import RawTensor
from qwill.weights.packed.bits import unpack, words_needed
from qwill.weights.packed.levels import Levels, Scale, groups_of_columns
from qwill.weights.packed.matrix import Module, require_shape

ENDINGS = (".qweight", ".qzeros", ".scales", ".g_idx")
BITS = (2, 3, 4, 8)


@dataclass(frozen=True)
class _Packed:
    """The words of a matrix; `offset` is what is missing from the stored zeros."""

    weight: RawTensor
    zeros_raw: RawTensor
    bits: int
    rows: int
    columns: int
    offset: int

    def nibbles(self, rows: slice) -> np.ndarray:
        """uint8 [rows, bytes] of each row's codes, one behind the other."""
        words = self.weight.data.view(np.uint32).reshape(self.weight.shape)
        return np.ascontiguousarray(words[:, rows].T).view(np.uint8)

    def codes(self, rows: slice) -> np.ndarray:
        return unpack(self.nibbles(rows), self.bits, self.columns)

    def zeros(self, rows: slice) -> np.ndarray:
        return np.ascontiguousarray(self._all_zeros()[:, rows].T)

    def zero_range(self) -> tuple[int, int]:
        words = self.zeros_raw.data.view(np.uint32)
        if self.bits != 3 and (words == words[0]).all():  # almost always: nothing else needs to be unpacked
            some = unpack(self.zeros_raw.data[:4].reshape(1, 4), self.bits, 32 // self.bits)
            zeros = (some + np.uint8(self.offset)) & np.uint8((1 << self.bits) - 1)
        else:
            zeros = self._all_zeros()
        return int(zeros.min()), int(zeros.max())

    def _all_zeros(self) -> np.ndarray:
        """uint8 [groups, rows]"""
        stored = unpack(self.zeros_raw.data.reshape(self.zeros_raw.shape[0], -1), self.bits, self.rows)
        return (stored + np.uint8(self.offset)) & np.uint8((1 << self.bits) - 1)


def gptq_matrix(module: Module, second_version: bool, bits: int | None) -> Levels:
    """The matrix of a module. `bits` are those that the configuration says; None when they differ by module.

    Raises CheckpointError or UnsupportedModel when a tensor is missing or does not fit the others.
    """
    weight = module.get(".qweight", ("I32",), 2)
    zeros = module.get(".qzeros", ("I32",), 2)
    scales = module.get(".scales", ("F16", "BF16", "F32"), 2)
    groups, rows = scales.shape
    found = next((each for each in BITS if zeros.shape == (groups, words_needed(rows, each))), None)
    if found is None or bits not in (None, found):
        raise CheckpointError(
            f"{zeros.source}: has shape {list(zeros.shape)}, which is no {bits or '2, 3, 4 or 8'}-bit zero for each of"
            f" the scales {list(scales.shape)}; the checkpoint is damaged or of another format"
        )
    if weight.shape[0] * 32 % found or rows * found % 32:
        raise UnsupportedModel(f"{weight.source}: {list(weight.shape)} words hold no whole number of {found}-bit codes")
    columns = weight.shape[0] * 32 // found
    require_shape(weight, (weight.shape[0], rows), scales)
    packed = _Packed(weight, zeros, found, rows, columns, 0 if second_version else 1)
    return Levels(
        shape=(rows, columns),
        source=weight.source,
        stored=(weight.data, scales.data),
        bits=found,
        group_of=groups_of_columns(columns, groups, scales, module.tensors.get(".g_idx")),
        scale=Scale(scales, by_groups=True),
        codes=packed.codes,
        zeros=packed.zeros,
        zero_range=packed.zero_range(),
        nibbles=packed.nibbles if found == 4 else None,
    )
