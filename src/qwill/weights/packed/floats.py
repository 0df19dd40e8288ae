"""Matrices whose values no quantized type holds: they are multiplied out, in float32."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from qwill.quant.types import TYPES, TensorType


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
