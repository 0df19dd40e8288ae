"""Gated attention over paged keys and values by the native kernel; shapes and meaning as in the reference.

The head width and the page must be multiples of 16.
"""

import numpy as np

from qwill._native import Cpu
from qwill.ops.arrays import empty


def attention(
    cpu: Cpu,
    q_gate: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    q_norm: np.ndarray,
    k_norm: np.ndarray,
    eps: float,
    cos: np.ndarray,
    sin: np.ndarray,
    k_pages: np.ndarray,
    v_pages: np.ndarray,
    block_tables: np.ndarray,
    starts: np.ndarray,
    contexts: np.ndarray,
    heads: int,
) -> np.ndarray:
    out = empty(len(q_gate), heads * (k.shape[1] // k_pages.shape[1]))
    run = cpu.attention
    if k_pages.dtype == np.float16:
        run, k_pages, v_pages = cpu.attention_half, k_pages.view(np.uint16), v_pages.view(np.uint16)
    elif k_pages.dtype == np.uint8:
        run = cpu.attention_q8_0
    run(q_gate, k, v, q_norm, k_norm, eps, cos, sin, k_pages, v_pages, block_tables, starts, contexts, heads, out)
    return out
