"""Projections by the processor's kernels; `reference.py` documents what each function computes.

Weights of quantized types are multiplied in integers: activations are rounded to int8, with a scale for every 32
columns, or for 128 where the weights have superblocks of 256.
BF16 weights, and F16 ones that lose nothing as BF16, are multiplied by activations rounded to BF16.
"""

from collections.abc import Sequence

import numpy as np

from qwill._native import Cpu, Weight, plan_weight
from qwill.errors import CheckpointError
from qwill.ops.arrays import empty
from qwill.quant.codecs import native_id
from qwill.weights.mapped import is_mapped
from qwill.weights.tensor import Tensor, row_scaled

_ACTIVATIONS = {"none": 0, "gelu_tanh": 1, "gelu": 2, "silu": 3}


def plan(tensor: Tensor) -> Weight:
    """A weight that `pack_planned` has yet to lay out."""
    rows, columns = tensor.shape[-2:]
    scales = [np.ascontiguousarray(part, np.float32) for part in tensor.scales or ()]
    by_row = bool(scales) and all(row_scaled(part, rows) for part in scales)
    row_scales = [part.reshape(-1) for part in scales] if by_row else []
    row_bytes = tensor.type.row_bytes(columns)
    parts = tensor.in_memory().parts
    mapped = all(is_mapped(part) for part in parts)
    blocks = [] if by_row else scales
    return plan_weight(
        tensor.type.name, native_id(tensor.type), parts, rows, columns, row_bytes, blocks, row_scales, mapped
    )


def pack_planned(cpu: Cpu, planned: Sequence[tuple[Weight, Tensor]]) -> None:
    """Lays weights out for the kernels, once. Raises CheckpointError when a value or a scale is not finite.

    Pages of a mapped file are given back to the system as they are packed. NVFP4 and the IQ types below 4 bits stay
    where they are, in the file; the weight keeps it mapped. Other threads run Python meanwhile.
    """
    broken = cpu.pack([weight for weight, _ in planned])
    if broken >= 0:
        tensor = planned[broken][1]
        raise CheckpointError(f"{tensor.source}: {tensor.name} holds values that are not finite; the file is damaged")


def pack(cpu: Cpu, tensor: Tensor) -> Weight:
    """One weight, planned and packed."""
    weight = plan(tensor)
    pack_planned(cpu, [(weight, tensor)])
    return weight


def linear(
    cpu: Cpu, x: np.ndarray, weight: Weight, bias: np.ndarray | None = None, activation: str = "none"
) -> np.ndarray:
    """activation(x Wᵀ + bias). x [tokens, cols] f32 → [tokens, rows] f32."""
    out = empty(x.shape[0], weight.rows)
    cpu.linear(x, weight, bias, _ACTIVATIONS[activation], False, out)
    return out


def linear_add(cpu: Cpu, x: np.ndarray, weight: Weight, residual: np.ndarray, bias: np.ndarray | None = None) -> None:
    """residual += x Wᵀ + bias, in place. x [tokens, cols], residual [tokens, rows]."""
    cpu.linear(x, weight, bias, 0, True, residual)


def norm_linear(cpu: Cpu, x: np.ndarray, scale: np.ndarray, eps: float, weights: Sequence[Weight]) -> list[np.ndarray]:
    """RMSNorm, then one projection per weight, all in one job. x [tokens, cols] → [tokens, rows of each]."""
    outs = [empty(x.shape[0], weight.rows) for weight in weights]
    cpu.norm_linear(x, scale, eps, weights, outs)
    return outs


def swiglu_add(
    cpu: Cpu, residual: np.ndarray, scale: np.ndarray, eps: float, gate: Weight, up: Weight, down: Weight
) -> None:
    """residual += down(silu(gate n) * up n) with n = rms_norm(residual), in place. residual [tokens, hidden]."""
    cpu.swiglu_add(residual, scale, eps, gate, up, down)


def silu_product(cpu: Cpu, gate: np.ndarray, up: np.ndarray) -> None:
    """gate = silu(gate) * up, in place, with the bits that `swiglu_add` has there. gate and up [tokens, width] f32."""
    cpu.silu_product(gate, up)


def low_rank_add(
    cpu: Cpu, x: np.ndarray, scale: np.ndarray | None, eps: float, a: Sequence[Weight], b: Sequence[Weight],
    outs: Sequence[np.ndarray], firsts: Sequence[int], lasts: Sequence[int], factors: Sequence[float],
) -> None:  # fmt: skip
    """For each i: outs[i][first:last] += factor * b (a n[first:last]), n = rms_norm(x), or x. All in two jobs."""
    cpu.low_rank(x, scale, eps, a, b, outs, firsts, lasts, factors)
