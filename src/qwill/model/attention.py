"""Gated attention: grouped queries, normed and partly rotated, each head's output gated by its input."""

import numpy as np

from qwill.model.batch import Batch
from qwill.model.config import TextConfig
from qwill.model.loader import Loader
from qwill.model.projections import OutputProjection, Projections


class GatedAttention:
    """One full-attention mixer with the norm before it."""

    def __init__(self, loader: Loader, config: TextConfig) -> None:
        hidden, head_dim = config.hidden_size, config.head_dim
        heads, kv_heads = config.attention_heads, config.kv_heads
        self._operations = loader.operations
        self._eps = config.rms_norm_eps
        self._heads = heads
        input_norm = loader.vector("input_layernorm.weight", hidden)
        own = loader.scope("self_attn")
        rows = {
            "q_proj.weight": heads * 2 * head_dim,
            "k_proj.weight": kv_heads * head_dim,
            "v_proj.weight": kv_heads * head_dim,
        }
        self._projections = Projections(own, input_norm, self._eps, rows)
        self._q_norm = own.vector("q_norm.weight", head_dim)
        self._k_norm = own.vector("k_norm.weight", head_dim)
        self._output = OutputProjection(own, "o_proj.weight", hidden, heads * head_dim)

    def add_to(
        self,
        hidden: np.ndarray,
        batch: Batch,
        rope: tuple[np.ndarray, np.ndarray],
        keys: np.ndarray,
        values: np.ndarray,
    ) -> None:
        """hidden [tokens, hidden_size] += mixer(norm(hidden)); the tokens' keys and values go into their pages."""
        q_gate, k, v = self._projections(hidden, batch.adapted)
        mixed = self._operations.attention(
            q_gate, k, v, self._q_norm, self._k_norm, self._eps, *rope,
            keys, values, batch.block_tables, batch.starts, batch.contexts, self._heads,
        )  # fmt: skip
        self._output.add_to(hidden, mixed, batch.adapted)
