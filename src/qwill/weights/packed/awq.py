"""AWQ in its `gemm` layout: 4-bit codes in words along the rows of the matrix, which is stored by columns.

    qweight  I32 [columns, rows / 8], qzeros I32 [groups, rows / 8]: nibble i of a word is row 8 * word + ORDER[i]
    scales   F16 [groups, rows]

Quark has the same as weight, weight_zero_point and weight_scale: its uint4 as above, in its int4 codes and zeros are
signed; without `reorder` nibble i is row 8 * word + i. The layouts were read from AutoAWQ's
`awq/modules/linear/gemm.py` and `awq/utils/packing_utils.py`, which undoes it, and from Quark 0.13
(`torch/utils/pack.py`).
"""

from dataclasses import dataclass

import numpy as np

from qwill.errors import UnsupportedModel
from qwill.weights.mapped import RawTensor
from qwill.weights.packed.levels import Levels, Scale, groups_of_columns
from qwill.weights.packed.matrix import Module, require_shape

ENDINGS = (".qweight", ".qzeros", ".scales")
ORDER, PLAIN_ORDER = (0, 2, 4, 6, 1, 3, 5, 7), tuple(range(8))
ROWS_OF_WORD = len(ORDER)
_MASK = np.uint32(15)


@dataclass(frozen=True)
class _Packed:
    """Words of a matrix or of its zeros: [columns or groups, rows / 8]. `signed`: numbers from -8 to 7."""

    raw: RawTensor
    order: tuple[int, ...]
    signed: bool

    def codes(self, rows: slice) -> np.ndarray:
        """uint8 [rows, columns or groups] of rows from a multiple of 8 on."""
        words = self.raw.data.view(np.uint32).reshape(self.raw.shape)
        some = np.ascontiguousarray(words[:, rows.start // ROWS_OF_WORD : rows.stop // ROWS_OF_WORD].T)
        codes = np.empty((len(some), ROWS_OF_WORD, some.shape[1]), np.uint8)
        for nibble, row in enumerate(self.order):
            codes[:, row] = self._codes(some, nibble)
        return codes.reshape(-1, some.shape[1])

    def range(self) -> tuple[int, int]:
        """The smallest and the largest code."""
        words = self.raw.data.view(np.uint32)
        codes = [self._codes(words, nibble) for nibble in range(ROWS_OF_WORD)]
        return min(int(each.min()) for each in codes), max(int(each.max()) for each in codes)

    def _codes(self, words: np.ndarray, nibble: int) -> np.ndarray:
        """One of each word, from 0 to 15."""
        return (words >> np.uint32(4 * nibble)) & _MASK ^ np.uint32(8 if self.signed else 0)


def awq_matrix(
    module: Module,
    names: tuple[str, str, str] = ENDINGS,
    order: tuple[int, ...] = ORDER,
    signed: bool = False,
) -> Levels:
    """The matrix of a module, whose codes, zeros and scales have these `names`.

    Raises CheckpointError when a tensor is missing or does not fit the others.
    """
    weight = module.get(names[0], ("I32",), 2)
    zeros = module.get(names[1], ("I32",), 2)
    scales = module.get(names[2], ("F16", "BF16", "F32"), 2)
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
        codes=_Packed(weight, order, signed).codes,
        zeros=_Packed(zeros, order, signed).codes,
        zero_range=_Packed(zeros, order, signed).range(),
    )
