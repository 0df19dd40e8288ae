"""Attention of the vision tower by the native kernel; shapes and meaning as in the reference."""

import numpy as np

from qwill._native import Cpu
from qwill.ops.arrays import empty


def vision_attention(
    cpu: Cpu, qkv: np.ndarray, cos: np.ndarray, sin: np.ndarray, starts: np.ndarray, heads: int, rounded: bool = False
) -> np.ndarray:
    out = empty(len(qkv), qkv.shape[1] // 3)
    cpu.vision_attention(qkv, cos, sin, starts, heads, rounded, out)
    return out
