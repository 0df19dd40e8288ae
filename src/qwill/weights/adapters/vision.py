"""Adapters of the vision tower, merged into its tensors before it is loaded: it sees pictures once for all answers."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qwill.quant.types import TYPES
from qwill.weights.adapters.adapter import Adapter, LowRank
from qwill.weights.adapters.lengths import lengths_of
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.tensor import Tensor, TensorSet
from qwill.weights.values import pieces

TOWER = "visual."


def with_vision(checkpoint: Checkpoint, adapters: Sequence[tuple[Adapter, float]]) -> Checkpoint:
    """The checkpoint with its tower as adapters with their scales change it, those matrices in F32."""
    changed: dict[str, Tensor] = {}
    for adapter, scale in adapters:
        for name, matrix in adapter.low_rank.items():
            if name.startswith(TOWER):
                base = changed.get(name) or checkpoint.tensors.peek(name)
                changed[name] = _merged(base, matrix, scale)
                if matrix.bias is not None:
                    bias = name.removesuffix("weight") + "bias"
                    before = changed.get(bias) or checkpoint.tensors.peek(bias)
                    changed[bias] = _stored(before, before.float32() + np.float32(scale) * matrix.bias)
    if not changed:
        return checkpoint
    tensors = {tensor.name: changed.get(tensor.name, tensor) for tensor in checkpoint.tensors}
    return replace(checkpoint, tensors=TensorSet(tensors, checkpoint.tensors.source))


def _merged(base: Tensor, matrix: LowRank, scale: float) -> Tensor:
    values = np.concatenate([piece for _, piece in pieces(base)])
    added = scale * (matrix.b.astype(np.float64) @ matrix.a)
    np.add(values, added, out=values, casting="same_kind")
    if matrix.magnitude is not None:
        values *= lengths_of(base, matrix).factor(scale)[:, None]
    return _stored(base, values)


def _stored(base: Tensor, values: np.ndarray) -> Tensor:
    return Tensor(base.name, base.shape, TYPES["F32"], (values.reshape(-1).view(np.uint8),), base.source)
