"""Gated DeltaNet in NumPy, token by token: the specification of the native kernel."""

import numpy as np

from qwill.ops.activations import sigmoid, silu, softplus
from qwill.ops.norm.reference import rms_norm


def _l2_normalise(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.sum(x * x, axis=-1, keepdims=True) + np.float32(1e-6))


def gated_delta(
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
    starts: np.ndarray,
    slots: np.ndarray,
    key_heads: int,
    tiled: bool,
) -> np.ndarray:
    """Causal convolution, delta rule with decay, gated norm. Returns [tokens, V * dv] f32; states change in place.

    qkv [tokens, 2 K dk + V dv], z [tokens, V dv], b and a [tokens, V]; conv_weight [kernel, channels]; A (negative) and
    dt_bias [V]; norm [dv]. Sequence s owns rows starts[s]:starts[s + 1] and slot slots[s] of conv_states
    [slots, kernel - 1, channels] (its last inputs, oldest first) and states [slots, V, dk, dv]. V head j reads K head
    j % K when tiled, else j // (V / K).

    S ← e^g S;  u = β (v − Sᵀk);  S ← S + k uᵀ;  o = Sᵀ q    (Yang et al., Gated Delta Networks, 2024)
    """
    value_heads, key_dim, value_dim = states.shape[1:]
    kernel = conv_weight.shape[0]
    heads = np.arange(value_heads)
    key_head = heads % key_heads if tiled else heads // (value_heads // key_heads)
    beta = sigmoid(b)
    decay = np.exp(A * softplus(a + dt_bias))
    out = np.empty((len(qkv), value_heads, value_dim), np.float32)
    for sequence, slot in enumerate(slots):
        first, last = starts[sequence], starts[sequence + 1]
        inputs = np.concatenate([conv_states[slot], qkv[first:last]])
        conv_states[slot] = inputs[len(inputs) - (kernel - 1) :]
        state = states[slot]
        for token in range(first, last):
            window = inputs[token - first : token - first + kernel]
            mixed = silu(np.einsum("kc,kc->c", window, conv_weight))
            q, k, v = np.split(mixed, [key_heads * key_dim, 2 * key_heads * key_dim])
            q = _l2_normalise(q.reshape(key_heads, key_dim))[key_head] * np.float32(key_dim**-0.5)
            k = _l2_normalise(k.reshape(key_heads, key_dim))[key_head]
            state *= decay[token, :, None, None]
            error = v.reshape(value_heads, value_dim) - np.einsum("hkv,hk->hv", state, k)
            state += k[:, :, None] * (beta[token, :, None] * error)[:, None, :]
            out[token] = np.einsum("hkv,hk->hv", state, q)
    gate = silu(z.reshape(out.shape))
    return (rms_norm(out, norm, eps) * gate).reshape(len(qkv), value_heads * value_dim)
