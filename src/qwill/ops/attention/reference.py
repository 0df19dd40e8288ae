"""Gated attention over paged keys and values in NumPy: the specification of the native kernel."""

import numpy as np

from qwill.ops.activations import sigmoid
from qwill.ops.norm.reference import rms_norm


def rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """Rotate-half rotary embedding of the first 2 * cos.shape[-1] dims.

    x [tokens, heads, dim], cos and sin [tokens, R / 2].
    """
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    cos, sin = cos[:, None], sin[:, None]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def encode_rows(rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Keys or values [..., dim] f32 as they lie in pages of that type: f32, f16, or uint8 for Q8_0.

    Q8_0: 32 numbers are their greatest magnitude / 127 as f16, then each divided by that, rounded, as int8.
    """
    if dtype != np.uint8:
        return rows.astype(dtype)
    blocks = rows.reshape(*rows.shape[:-1], rows.shape[-1] // 32, 32)
    step = np.abs(blocks).max(axis=-1, keepdims=True) / np.float32(127)
    inverse = np.divide(np.float32(1), step, out=np.zeros_like(step), where=step > 0)
    codes = np.rint(blocks * inverse).astype(np.int8).view(np.uint8)
    return np.concatenate([step.astype(np.float16).view(np.uint8), codes], axis=-1).reshape(
        *rows.shape[:-1], blocks.shape[-2] * 34
    )


def decode_rows(rows: np.ndarray) -> np.ndarray:
    """The float32 values of `encode_rows`."""
    if rows.dtype != np.uint8:
        return rows.astype(np.float32)
    blocks = np.ascontiguousarray(rows).reshape(*rows.shape[:-1], rows.shape[-1] // 34, 34)
    step = np.ascontiguousarray(blocks[..., :2]).view(np.float16).astype(np.float32)
    values = step * np.ascontiguousarray(blocks[..., 2:]).view(np.int8)
    return values.reshape(*rows.shape[:-1], blocks.shape[-2] * 32)


def attention(
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
    """Norms and rotary on q and k, keys and values into their pages, causal attention, output gate.

    q_gate [tokens, heads * 2 * dim], per head [q | gate]; k and v [tokens, kv_heads * dim]; cos and sin [tokens, R/2].
    k_pages and v_pages [pages, kv_heads, page, dim], f32 or f16, or uint8 [pages, kv_heads, page, dim / 32 * 34] with
    Q8_0 blocks, change in place. Sequence s owns rows
    starts[s]:starts[s + 1], has contexts[s] tokens cached already and its pages in block_tables[s] (int32).
    Returns [tokens, heads * dim] f32.
    """
    kv_heads, page = k_pages.shape[1:3]
    tokens, dim = len(q_gate), len(q_norm)
    q, gate = np.split(q_gate.reshape(tokens, heads, 2 * dim), 2, axis=-1)
    q = rotate(rms_norm(q, q_norm, eps), cos, sin)
    k = rotate(rms_norm(k.reshape(tokens, kv_heads, dim), k_norm, eps), cos, sin)
    v = v.reshape(tokens, kv_heads, dim)
    out = np.empty((tokens, heads, dim), np.float32)
    for sequence, context in enumerate(contexts):
        first, last = starts[sequence], starts[sequence + 1]
        length = context + last - first
        positions = np.arange(context, length)
        pages = block_tables[sequence, positions // page]
        k_pages[pages, :, positions % page] = encode_rows(k[first:last], k_pages.dtype)
        v_pages[pages, :, positions % page] = encode_rows(v[first:last], v_pages.dtype)
        table = block_tables[sequence, : -(-length // page)]
        keys, values = (
            decode_rows(pool[table].swapaxes(0, 1).reshape(kv_heads, -1, pool.shape[3])[:, :length])
            for pool in (k_pages, v_pages)
        )
        future = np.arange(length)[None, :] > positions[:, None]
        for head in range(heads):
            kv_head = head // (heads // kv_heads)
            scores = q[first:last, head] @ keys[kv_head].T * np.float32(dim**-0.5)
            scores[future] = -np.inf
            out[first:last, head] = softmax(scores) @ values[kv_head]
    return (out * sigmoid(gate)).reshape(tokens, heads * dim)
