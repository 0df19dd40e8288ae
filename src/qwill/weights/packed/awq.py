"""AWQ in its `gemm` layout: 4-bit codes in words along the rows of the matrix, which is stored by columns.

    qweight  I32 [columns, rows / 8], qzeros I32 [groups, rows / 8]: nibble i of a word is row 8 * word + ORDER[i]
    scales   F16 [groups, rows]

The layout was read from AutoAWQ's `awq/modules/linear/gemm.py` and `awq/utils/packing_utils.py`, which undoes it.
"""

from dataclasses import dataclass

import numpy as np

from qwill.errors import UnsupportedModel
from qwill.weights.mapped import RawTensor
from qwill.weights.packed.levels import Levels, Scale, groups_of_columns
from qwill.weights.packed.matrix import Module, require_shape

ENDINGS = (".qweight", ".qzeros", ".scales")
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
ROWS_OF_WORD = len(ORDER)
_MASK = np.uint32(15)


@dataclass(frozen=True)
class _Packed:
    """Words of a matrix or of its zeros: [columns or groups, rows / 8]."""

    raw: RawTensor

    def codes(self, rows: slice) -> np.ndarray:
        """uint8 [rows, columns or groups] of rows from a multiple of 8 on."""
        words = self.raw.data.view(np.uint32).reshape(self.raw.shape)
        some = np.ascontiguousarray(words[:, rows.start // ROWS_OF_WORD : rows.stop // ROWS_OF_WORD].T)
        codes = np.empty((len(some), ROWS_OF_WORD, some.shape[1]), np.uint8)
        for nibble, row in enumerate(ORDER):
            codes[:, row] = (some >> np.uint32(4 * nibble)) & _MASK
        return codes.reshape(-1, some.shape[1])

    def range(self) -> tuple[int, int]:
        """The smallest and the largest code."""
        words = self.raw.data.view(np.uint32)
        codes = [(words >> np.uint32(4 * nibble)) & _MASK for nibble in range(ROWS_OF_WORD)]
        return min(int(each.min()) for each in codes), max(int(each.max()) for each in codes)


def awq_matrix(module: Module) -> Levels:
    """The matrix of a module. Raises CheckpointError when a tensor is missing or does not fit the others."""
    weight = module.get(".qweight", ("I32",), 2)
    zeros = module.get(".qzeros", ("I32",), 2)
    scales = module.get(".scales", ("F16", "BF16", "F32"), 2)
    columns, rows = weight.shape[0], weight.shape[1] * ROWS_OF_WORD
    groups = scales.shape[0]
    if columns % groups:
        raise UnsupportedModel(f"{scales.source}: {groups} groups cannot divide {columns} columns evenly")
    require_shape(scales, (groups, rows), weight)
    require_shape(zeros, (groups, weight.shape[1]), weight)
    return Levels(
        shape=(rows, columns),
        source=weight.source,
        stored=(weight.data, scales.data),
        bits=4,
        group_of=groups_of_columns(columns, groups, scales, None),
        scale=Scale(scales, by_groups=True),
        codes=_Packed(weight).codes,
        zeros=_Packed(zeros).codes,
        zero_range=_Packed(zeros).range(),
    )
