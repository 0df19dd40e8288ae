"""The mixture of experts in NumPy: the specification of the native kernel."""

import numpy as np

from qwill.ops.activations import sigmoid, silu
from qwill.ops.linear.reference import ReferenceWeight, linear
from qwill.ops.norm.reference import rms_norm


def route(logits: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Softmax over all experts, the top_k (ties: lowest index first), renormalised to sum 1.

    logits [tokens, experts] f32 → indices [tokens, top_k] int, weights [tokens, top_k] f32.
    """
    probabilities = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    order = np.argsort(-probabilities, axis=-1, kind="stable")[:, :top_k]
    chosen = np.take_along_axis(probabilities, order, axis=-1)
    return order, chosen / chosen.sum(axis=-1, keepdims=True)


def moe_add(
    residual: np.ndarray,
    scale: np.ndarray,
    eps: float,
    router: ReferenceWeight,
    top_k: int,
    gate: ReferenceWeight,
    up: ReferenceWeight,
    down: ReferenceWeight,
    shared: tuple[ReferenceWeight, ReferenceWeight, ReferenceWeight] | None = None,
    shared_gate: np.ndarray | None = None,
) -> None:
    """residual += Σ weight_e · expert_e(n) + sigmoid(shared_gate · n) · shared_expert(n), n = rms_norm(residual).

    residual [tokens, hidden] f32, in place. gate and up [experts, intermediate, hidden], down the other way round.
    """
    n = rms_norm(residual, scale, eps)
    experts, weights = route(linear(n, router), top_k)
    for rank in range(top_k):
        for token, expert in enumerate(experts[:, rank]):
            hidden = silu(gate.array[expert] @ n[token]) * (up.array[expert] @ n[token])
            residual[token] += weights[token, rank] * (down.array[expert] @ hidden)
    if shared is not None:
        assert shared_gate is not None
        shared_out = linear(silu(linear(n, shared[0])) * linear(n, shared[1]), shared[2])
        residual += sigmoid(n @ shared_gate)[:, None] * shared_out
