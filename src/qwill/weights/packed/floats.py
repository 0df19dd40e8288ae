"""Matrices whose values no quantized type holds: they are multiplied out, in float32."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from qwill.errors import CheckpointError
from qwill.quant.codecs import decode
from qwill.quant.types import TYPES, TensorType
from qwill.weights.assemble import float_values
from qwill.weights.mapped import RawTensor
from qwill.weights.packed.matrix import PackedMatrix
from qwill.weights.tensor import spread_scales


@dataclass(frozen=True)
class Floats:
    """A matrix of which `values` gives float32 [rows, columns] of some rows (from a multiple of 32 on)."""

    shape: tuple[int, int]
    source: str
    stored: Sequence[np.ndarray]
    values: Callable[[slice], np.ndarray]

    @property
    def type(self) -> TensorType:
        return TYPES["F32"]

    @property
    def scales(self) -> None:
        """There is no factor beside the values."""

    def encode(self, rows: slice, tensor_type: TensorType, out: np.ndarray) -> None:
        """Fills out, uint8 [rows, row bytes], with F32."""
        assert tensor_type is TYPES["F32"], self.source
        with np.errstate(over="ignore"):  # infinities are found when the matrix is packed
            out[:] = np.ascontiguousarray(self.values(rows), np.float32).view(np.uint8)


def with_channel_factors(matrix: PackedMatrix, raw: RawTensor) -> Floats:
    """A matrix whose inputs are multiplied by factors, one a column: they are multiplied into it, in float32.

    Raises CheckpointError when they do not fit it.
    """
    columns = matrix.shape[1]
    factors = float_values(raw)
    if len(factors) != columns or not np.isfinite(factors).all():
        raise CheckpointError(
            f"{raw.source}: is no finite factor for each of {columns} columns; the checkpoint is damaged"
        )
    kind, scales = matrix.type, matrix.scales

    def values(rows: slice) -> np.ndarray:
        shape = (rows.stop - rows.start, columns)
        stored = np.empty((shape[0], kind.row_bytes(columns)), np.uint8)
        matrix.encode(rows, kind, stored)
        some = decode(kind, stored, shape)
        if scales is not None and kind is not TYPES["F32"]:
            some *= spread_scales(scales, matrix.shape, np.arange(rows.start, rows.stop))
        return some * factors

    return Floats(matrix.shape, matrix.source, matrix.stored, values)
