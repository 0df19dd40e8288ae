"""The mixture of experts by the processor's kernels; `reference.py` documents it."""

import numpy as np

from qwill._native import Cpu, Weight


def moe_add(
    cpu: Cpu,
    residual: np.ndarray,
    scale: np.ndarray,
    eps: float,
    router: Weight,
    top_k: int,
    gate: Weight,
    up: Weight,
    down: Weight,
    shared: tuple[Weight, Weight, Weight] | None = None,
    shared_gate: np.ndarray | None = None,
) -> None:
    """residual += Σ weight_e · expert_e(n) + sigmoid(shared_gate · n) · shared_expert(n), n = rms_norm(residual).

    A token's sum runs over its experts in ascending order, so that the rest of the batch cannot change it.
    """
    cpu.moe_add(residual, scale, eps, router, top_k, gate, up, down, shared or (), shared_gate)
