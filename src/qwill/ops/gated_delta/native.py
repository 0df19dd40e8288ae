"""Gated DeltaNet by the native kernel; shapes and meaning as in the reference."""

import numpy as np

from qwill._native import Cpu
from qwill.ops.arrays import empty


def gated_delta(
    cpu: Cpu,
    qkv: np.ndarray,
    z: np.ndarray,
    b: np.ndarray,
    a: np.ndarray,
    conv_weight: np.ndarray,
    A: np.ndarray,
    dt_bias: np.ndarray,
    norm: np.ndarray,
    eps: float,
    conv_states: np.ndarray,
    states: np.ndarray,
    pending: np.ndarray,
    starts: np.ndarray,
    slots: np.ndarray,
    replayed: np.ndarray,
    kept: np.ndarray,
    key_heads: int,
    tiled: bool,
) -> np.ndarray:
    out = empty(*z.shape)
    cpu.gated_delta(
        qkv, z, b, a, conv_weight, A, dt_bias, norm, eps, conv_states, states, pending,
        starts, slots, replayed, kept, key_heads, tiled, out,
    )  # fmt: skip
    return out
