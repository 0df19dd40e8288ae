"""Gated attention: grouped queries, normed and partly rotated, each head's output gated by its input."""

import numpy as np

from qwill.model.batch import Batch
from qwill.model.config import TextConfig
from qwill.model.loader import Loader


class GatedAttention:
    """One full-attention mixer with the norm before it."""

    def __init__(self, loader: Loader, config: TextConfig) -> None:
        hidden, head_dim = config.hidden_size, config.head_dim
        heads, kv_heads = config.attention_heads, config.kv_heads
        self._operations = loader.operations
        self._eps = config.rms_norm_eps
        self._heads = heads
        self._input_norm = loader.vector("input_layernorm.weight", hidden)
        own = loader.scope("self_attn")
        self._projections = [
            own.weight("q_proj.weight", heads * 2 * head_dim, hidden),
            own.weight("k_proj.weight", kv_heads * head_dim, hidden),
            own.weight("v_proj.weight", kv_heads * head_dim, hidden),
        ]
        self._q_norm = own.vector("q_norm.weight", head_dim)
        self._k_norm = own.vector("k_norm.weight", head_dim)
        self._output = own.weight("o_proj.weight", hidden, heads * head_dim)

    def add_to(
        self,
        hidden: np.ndarray,
        batch: Batch,
        rope: tuple[np.ndarray, np.ndarray],
        keys: np.ndarray,
        values: np.ndarray,
    ) -> None:
        """hidden [tokens, hidden_size] += mixer(norm(hidden)); the tokens' keys and values go into their pages."""
        ops = self._operations
        q_gate, k, v = ops.norm_linear(hidden, self._input_norm, self._eps, self._projections)
        mixed = ops.attention(
            q_gate, k, v, self._q_norm, self._k_norm, self._eps, *rope,
            keys, values, batch.block_tables, batch.starts, batch.contexts, self._heads,
        )  # fmt: skip
        ops.linear_add(mixed, self._output, hidden)
