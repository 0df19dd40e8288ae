"""Projections in NumPy: the specification of the native kernels, except that activations are not rounded here."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qwill.ops.activations import ACTIVATIONS, silu
from qwill.ops.norm.reference import rms_norm
from qwill.quant import codecs
from qwill.weights.tensor import Tensor, spread_scales


@dataclass(frozen=True)
class ReferenceWeight:
    """A weight as float32, [rows, cols] or [experts, rows, cols]."""

    array: np.ndarray

    @property
    def type(self) -> str:
        """The type that it is multiplied in."""
        return "F32"

    @property
    def rows(self) -> int:
        return self.array.shape[-2]

    @property
    def cols(self) -> int:
        return self.array.shape[-1]

    def part(self, first: int, count: int) -> "ReferenceWeight":
        """Some of the rows of a matrix."""
        return ReferenceWeight(self.array[first : first + count])

    def expert(self, number: int) -> "ReferenceWeight":
        """The matrix of one expert."""
        return ReferenceWeight(self.array[number])


def pack(tensor: Tensor) -> ReferenceWeight:
    """Decodes every element, and multiplies by the scales of rows or of blocks of 128 x 128."""
    shape = tensor.shape[-2:]
    parts = []
    for index, part in enumerate(tensor.parts):
        decoded = codecs.decode(tensor.type, part, shape)
        if tensor.scales is not None:
            decoded = decoded * spread_scales(tensor.scales[index], shape)
        parts.append(decoded)
    return ReferenceWeight(np.stack(parts) if len(tensor.shape) == 3 else parts[0])


def pack_planned(_planned: Sequence[tuple[ReferenceWeight, Tensor]]) -> None:
    """Nothing is left to do: a planned weight is decoded at once."""


def linear(
    x: np.ndarray, weight: ReferenceWeight, bias: np.ndarray | None = None, activation: str = "none"
) -> np.ndarray:
    """activation(x Wᵀ + bias). x [tokens, cols] f32 → [tokens, rows] f32."""
    y = x @ weight.array.T
    if bias is not None:
        y = y + bias
    return ACTIVATIONS[activation](y)


def linear_add(x: np.ndarray, weight: ReferenceWeight, residual: np.ndarray, bias: np.ndarray | None = None) -> None:
    """residual += x Wᵀ + bias, in place. x [tokens, cols], residual [tokens, rows]."""
    residual += linear(x, weight, bias)


def norm_linear(x: np.ndarray, scale: np.ndarray, eps: float, weights: Sequence[ReferenceWeight]) -> list[np.ndarray]:
    """RMSNorm, then one projection per weight. x [tokens, cols] → [tokens, rows of each]."""
    normed = rms_norm(x, scale, eps)
    return [linear(normed, weight) for weight in weights]


def swiglu_add(
    residual: np.ndarray,
    scale: np.ndarray,
    eps: float,
    gate: ReferenceWeight,
    up: ReferenceWeight,
    down: ReferenceWeight,
) -> None:
    """residual += down(silu(gate n) * up n) with n = rms_norm(residual), in place. residual [tokens, hidden]."""
    n = rms_norm(residual, scale, eps)
    residual += linear(silu(linear(n, gate)) * linear(n, up), down)


def silu_product(gate: np.ndarray, up: np.ndarray) -> None:
    """gate = silu(gate) * up, in place. gate and up [tokens, width] f32."""
    gate[:] = silu(gate) * up


def low_rank_add(
    x: np.ndarray, scale: np.ndarray | None, eps: float, a: Sequence[ReferenceWeight], b: Sequence[ReferenceWeight],
    outs: Sequence[np.ndarray], firsts: Sequence[int], lasts: Sequence[int], factors: Sequence[float],
) -> None:  # fmt: skip
    """For each i: outs[i][first:last] += factor * b (a n[first:last]), in place; first, last and factor are the i-th.

    x [tokens, cols], n = rms_norm(x), or x where there is no scale; a [rank, cols] and b [rows, rank] F32 matrices;
    outs [tokens, rows of each]. No two add to the same rows of the same output.
    """
    n = x if scale is None else rms_norm(x, scale, eps)
    for i, out in enumerate(outs):
        rows = slice(firsts[i], lasts[i])
        out[rows] += linear(linear(n[rows], a[i]) * np.float32(factors[i]), b[i])
