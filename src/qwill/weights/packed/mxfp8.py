"""MXFP8 of the OCP's microscaling: E4M3 numbers under a power of two for each row and 32 columns.

    weight        F8_E4M3 [rows, columns]; MLX has the same bytes in words, U32 [rows, columns / 4]
    weight_scale  U8 or F8_E8M0 [rows, columns / 32], E8M0: 2^(scale - 127); in MLX `scales`

The layout was read from compressed-tensors 0.20 (`compressors/mxfp8`), modelopt 0.47, mlx-lm 0.32 and the OCP's
specification of microscaling formats.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qwill.errors import CheckpointError
from qwill.quant.types import TYPES, TensorType
from qwill.weights.packed.matrix import Module, require_shape

GROUP = 32
SCALE_DTYPES = ("U8", "F8_E8M0")


@dataclass(frozen=True)
class Mxfp8Matrix:
    """values: uint8 [rows, columns], E4M3; exponents: uint8 [rows, columns / 32], E8M0."""

    shape: tuple[int, int]
    source: str
    values: np.ndarray
    exponents: np.ndarray

    @property
    def type(self) -> TensorType:
        return TYPES["MXFP8"]

    @property
    def scales(self) -> None:
        """There is no factor beside those of the blocks."""

    @property
    def stored(self) -> Sequence[np.ndarray]:
        return (self.values.reshape(-1), self.exponents.reshape(-1))

    def encode(self, rows: slice, tensor_type: TensorType, out: np.ndarray) -> None:
        """Fills out, uint8 [rows, row bytes]."""
        blocks = out.reshape(len(out), -1, tensor_type.block_bytes)
        blocks[..., 0] = self.exponents[rows]
        blocks[..., 1:] = self.values[rows].reshape(*blocks.shape[:2], GROUP)


def mxfp8_matrix(module: Module, scale_ending: str = ".weight_scale") -> Mxfp8Matrix:
    """The matrix of a module whose scales are named so. Raises CheckpointError when they do not fit it."""
    weight, scale = module.get(".weight", ("F8_E4M3", "U32"), 2), module.get(scale_ending, SCALE_DTYPES, 2)
    rows = weight.shape[0]
    columns = weight.shape[1] * (4 if weight.dtype == "U32" else 1)
    require_shape(scale, (rows, columns // GROUP), weight)
    if columns % GROUP:
        raise CheckpointError(f"{weight.source}: {columns} columns are no whole groups of {GROUP}")
    return Mxfp8Matrix(
        (rows, columns), weight.source, weight.data.reshape(rows, columns), scale.data.reshape(scale.shape)
    )
