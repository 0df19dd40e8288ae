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
    pending: np.ndarray,
    starts: np.ndarray,
    slots: np.ndarray,
    replayed: np.ndarray,
    kept: np.ndarray,
    key_heads: int,
    tiled: bool,
) -> np.ndarray:
    """Causal convolution, delta rule with decay, gated norm. Returns [tokens, V * dv] f32; states change in place.

    qkv [tokens, 2 K dk + V dv], z [tokens, V dv], b and a [tokens, V]; conv_weight [kernel, channels]; A (negative) and
    dt_bias [V]; norm [dv]. Sequence s owns rows starts[s]:starts[s + 1] and slot slots[s] of conv_states
    [slots, kernel - 1, channels] (its last inputs, oldest first) and states [slots, V, dk, dv]. V head j reads K head
    j % K when tiled, else j // (V / K).

    A draft may be wrong and a state cannot go back. So the states take in only the first kept[s] rows of sequence s;
    the inputs of the others are laid by in pending[slots[s]] ([slots, most, channels + 2 V]: qkv, b, a), and the first
    replayed[s] of those laid by in an earlier step, which turned out right, are computed again before this step's rows.

    S ← e^g S;  u = β (v − Sᵀk);  S ← S + k uᵀ;  o = Sᵀ q    (Yang et al., Gated Delta Networks, 2024)
    """
    value_heads, key_dim, value_dim = states.shape[1:]
    channels = qkv.shape[1]
    heads = np.arange(value_heads)
    key_head = heads % key_heads if tiled else heads // (value_heads // key_heads)
    out = np.empty((len(qkv), value_heads, value_dim), np.float32)
    new = np.concatenate([qkv, b, a], axis=1)
    for sequence, slot in enumerate(slots):
        first, last = starts[sequence], starts[sequence + 1]
        again, stored = replayed[sequence], replayed[sequence] + kept[sequence]
        rows = np.concatenate([pending[slot, :again], new[first:last]])
        pending[slot, : len(rows) - stored] = rows[stored:]
        inputs = np.concatenate([conv_states[slot], rows[:, :channels]])
        conv_states[slot] = inputs[stored : stored + len(conv_states[slot])]
        beta = sigmoid(rows[:, channels : channels + value_heads])
        decay = np.exp(A * softplus(rows[:, channels + value_heads :] + dt_bias))
        state = states[slot].copy()
        for index in range(len(rows)):
            mixed = silu(np.einsum("kc,kc->c", inputs[index : index + len(conv_weight)], conv_weight))
            q, k, v = np.split(mixed, [key_heads * key_dim, 2 * key_heads * key_dim])
            q = _l2_normalise(q.reshape(key_heads, key_dim))[key_head] * np.float32(key_dim**-0.5)
            k = _l2_normalise(k.reshape(key_heads, key_dim))[key_head]
            state *= decay[index, :, None, None]
            error = v.reshape(value_heads, value_dim) - np.einsum("hkv,hk->hv", state, k)
            state += k[:, :, None] * (beta[index, :, None] * error)[:, None, :]
            if index >= again:
                out[first + index - again] = np.einsum("hkv,hk->hv", state, q)
            if index + 1 == stored:
                states[slot] = state
    gate = silu(z.reshape(out.shape))
    return (rms_norm(out, norm, eps) * gate).reshape(len(qkv), value_heads * value_dim)
