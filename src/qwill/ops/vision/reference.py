"""Attention of the vision tower in NumPy: the specification of the native kernel."""

from itertools import pairwise

import numpy as np

from qwill.ops.attention.reference import rotate, softmax


def vision_attention(
    qkv: np.ndarray, cos: np.ndarray, sin: np.ndarray, starts: np.ndarray, heads: int, rounded: bool = False
) -> np.ndarray:
    """Bidirectional attention inside each segment, rotate-half rotary over the whole head.

    qkv [patches, 3 * heads * dim] = [q | k | v]; cos and sin [patches, dim / 2]; segment s owns rows
    starts[s]:starts[s + 1]. `rounded`: the kernels round queries (scaled), keys, values and the softmax's weights to
    BF16; this specification rounds nothing. Returns [patches, heads * dim] f32.
    """
    patches = len(qkv)
    q, k, v = np.moveaxis(qkv.reshape(patches, 3, heads, -1), 1, 0)
    q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    out = np.empty_like(v)
    for first, last in pairwise(starts):
        for head in range(heads):
            scores = q[first:last, head] @ k[first:last, head].T * np.float32(q.shape[-1] ** -0.5)
            out[first:last, head] = softmax(scores) @ v[first:last, head]
    return out.reshape(patches, -1)
