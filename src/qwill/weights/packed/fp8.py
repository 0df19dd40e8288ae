"""Eight-bit floats with their scale beside them: `float-quantized` of compressed-tensors, FP8 of modelopt and Quark.

weight        F8_E4M3 [rows, columns]
weight_scale  one number for all, [rows] or [rows, 1] one for each row, or [ceil(rows / 128), ceil(columns / 128)];
              modelopt has the last as [ceil(rows / 128), 1, ceil(columns / 128), 1]; transformers says weight_scale_inv
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qwill.errors import CheckpointError
from qwill.quant.types import TYPES, TensorType
from qwill.weights.assemble import FP8_BLOCK, float_values
from qwill.weights.packed.matrix import Module, uniform_scales


@dataclass(frozen=True)
class Fp8Matrix:
    """A matrix of E4M3 values; `scales` as in `Tensor`, of one part, or None: all are 1."""

    shape: tuple[int, int]
    source: str
    data: np.ndarray
    scales: np.ndarray | None

    @property
    def type(self) -> TensorType:
        return TYPES["F8_E4M3"]

    @property
    def stored(self) -> Sequence[np.ndarray]:
        return (self.data,)

    def encode(self, rows: slice, tensor_type: TensorType, out: np.ndarray) -> None:
        """Fills out, uint8 [rows, row bytes], with the file's own bytes."""
        assert tensor_type is TYPES["F8_E4M3"], tensor_type.name
        out[:] = self.data.reshape(self.shape)[rows]


def fp8_matrix(module: Module) -> Fp8Matrix:
    """The matrix of a module. Raises CheckpointError when the scales do not fit it."""
    weight = module.get(".weight", ("F8_E4M3",), 2)
    raw = module.tensors.get(".weight_scale", module.tensors.get(".weight_scale_inv"))
    if raw is None:
        raise CheckpointError(f"{weight.source}: has no {module.name}.weight_scale beside it; download the model again")
    shape = (weight.shape[0], weight.shape[1])
    values = float_values(raw)
    if not np.isfinite(values).all():
        raise CheckpointError(f"{raw.source}: holds values that are not finite; the checkpoint is damaged")
    blocks = tuple(-(-size // FP8_BLOCK) for size in shape)
    if len(values) == 1 and len(raw.shape) <= 2:
        scales = uniform_scales(shape, float(values[0]))
    elif raw.shape in (blocks, (blocks[0], 1, blocks[1], 1)):
        scales = values.reshape(blocks)
    elif raw.shape in ((shape[0],), (shape[0], 1)):
        scales = values.reshape(-1, 1)
    else:
        raise CheckpointError(
            f"{raw.source}: has shape {list(raw.shape)}; {list(shape)} has one scale, {shape[0]} or {list(blocks)}"
        )
    return Fp8Matrix(shape, weight.source, weight.data, scales)
