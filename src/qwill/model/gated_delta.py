"""Gated DeltaNet: linear attention whose state is corrected by the delta rule and decays by a learned gate."""

import numpy as np

from qwill.model.batch import Batch
from qwill.model.config import TextConfig
from qwill.model.loader import Loader
from qwill.model.projections import OutputProjection, Projections


class GatedDeltaNet:
    """One linear-attention mixer with the norm before it."""

    def __init__(self, loader: Loader, config: TextConfig) -> None:
        hidden = config.hidden_size
        value_heads, value_dim = config.linear_value_heads, config.linear_value_dim
        self._operations = loader.operations
        self._eps = config.rms_norm_eps
        self._key_heads = config.linear_key_heads
        self._tiled = loader.v_heads_tiled
        input_norm = loader.vector("input_layernorm.weight", hidden)
        own = loader.scope("linear_attn")
        rows = {
            "in_proj_qkv.weight": config.linear_channels,
            "in_proj_z.weight": value_heads * value_dim,
            "in_proj_b.weight": value_heads,
            "in_proj_a.weight": value_heads,
        }
        self._projections = Projections(own, input_norm, self._eps, rows)
        self._conv = np.ascontiguousarray(own.vector("conv1d.weight", config.linear_channels, config.conv_kernel).T)
        self._A = own.vector("A", value_heads)
        self._dt_bias = own.vector("dt_bias", value_heads)
        self._norm = own.vector("norm.weight", value_dim)
        self._output = OutputProjection(own, "out_proj.weight", hidden, value_heads * value_dim)

    def add_to(
        self, hidden: np.ndarray, batch: Batch, conv_states: np.ndarray, states: np.ndarray, pending: np.ndarray
    ) -> None:
        """hidden [tokens, hidden_size] += mixer(norm(hidden)); the sequences' states move on."""
        qkv, z, b, a = self._projections(hidden, batch.adapted)
        mixed = self._operations.gated_delta(
            qkv, z, b, a, self._conv, self._A, self._dt_bias, self._norm, self._eps,
            conv_states, states, pending, batch.starts, batch.slots, batch.replayed, batch.kept,
            self._key_heads, self._tiled,
        )  # fmt: skip
        self._output.add_to(hidden, mixed, batch.adapted)
