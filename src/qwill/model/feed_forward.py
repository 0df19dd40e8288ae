"""The feed-forward half of a layer: SwiGLU in the dense members, a mixture of experts in the others."""

from collections.abc import Sequence

import numpy as np

from qwill.model.adapters import Applied, Span
from qwill.model.changed_experts import RoutedExperts, SharedExpert
from qwill.model.config import MoeConfig, TextConfig
from qwill.model.loader import Loader
from qwill.model.projections import OutputProjection, Projections


def feed_forward(loader: Loader, config: TextConfig) -> "SwiGLU | MixtureOfExperts":
    """The one that this member of the family has."""
    return SwiGLU(loader, config) if config.moe is None else MixtureOfExperts(loader, config, config.moe)


class SwiGLU:
    """down(silu(gate x) * up x), with the norm before it."""

    def __init__(self, loader: Loader, config: TextConfig) -> None:
        hidden, intermediate = config.hidden_size, config.intermediate_size
        self._operations = loader.operations
        self._eps = config.rms_norm_eps
        self._norm = loader.vector("post_attention_layernorm.weight", hidden)
        own = loader.scope("mlp")
        rows = {"gate_proj.weight": intermediate, "up_proj.weight": intermediate}
        self._gate_up = Projections(own, self._norm, self._eps, rows)
        self._down = OutputProjection(own, "down_proj.weight", hidden, intermediate)

    def add_to(self, hidden: np.ndarray, adapted: Sequence[Span]) -> None:
        """hidden [tokens, hidden_size] += ffn(norm(hidden))."""
        ops = self._operations
        if not (self._gate_up.additions.turns(adapted) or self._down.additions.turns(adapted)):
            ops.swiglu_add(hidden, self._norm, self._eps, *self._gate_up.weights, self._down.weight)
            return
        gate, up = self._gate_up(hidden, adapted)
        ops.silu_product(gate, up)
        self._down.add_to(hidden, gate, adapted)


class MixtureOfExperts:
    """Routed SwiGLU experts plus one shared expert behind a gate of its own, with the norm before them."""

    def __init__(self, loader: Loader, config: TextConfig, moe: MoeConfig) -> None:
        hidden, shared = config.hidden_size, moe.shared_intermediate_size
        self._operations = loader.operations
        self._eps = config.rms_norm_eps
        self._top_k = moe.top_k
        self._norm = loader.vector("post_attention_layernorm.weight", hidden)
        own = loader.scope("mlp")
        # A rounded input could turn the choice between experts that nearly tie.
        self._router = own.exact_weight("gate.weight", moe.experts, hidden)
        self._gate = own.weight("experts.gate_proj", moe.experts, moe.intermediate_size, hidden)
        self._up = own.weight("experts.up_proj", moe.experts, moe.intermediate_size, hidden)
        self._down = own.weight("experts.down_proj", moe.experts, hidden, moe.intermediate_size)
        self._shared = None
        self._shared_gate = None
        if shared:
            self._shared = (
                own.weight("shared_expert.gate_proj.weight", shared, hidden),
                own.weight("shared_expert.up_proj.weight", shared, hidden),
                own.weight("shared_expert.down_proj.weight", hidden, shared),
            )
            self._shared_gate = own.vector("shared_expert_gate.weight", 1, hidden).reshape(hidden)
        prefix = own.full_name("")
        experts = (self._gate, self._up, self._down)
        self._changed_routed = RoutedExperts(self._operations, prefix, self._router, moe.top_k, experts)
        self._changed_shared = None
        if self._shared is not None and self._shared_gate is not None:
            self._changed_shared = SharedExpert(self._operations, prefix, self._shared, self._shared_gate)
        self._routed_names = [self._changed_routed.router_name, *self._changed_routed.names]
        shared_names = [self._changed_shared.gate_name, *self._changed_shared.names] if self._changed_shared else []
        self._names = [*self._routed_names, *shared_names]

    def add_to(self, hidden: np.ndarray, adapted: Sequence[Span]) -> None:
        """hidden [tokens, hidden_size] += experts(norm(hidden))."""
        first = 0
        for span in adapted:
            if span.applied.changes(self._names):
                self._add_unchanged(hidden[first : span.first])
                self._add_changed(hidden[span.rows], span.applied)
                first = span.last
        self._add_unchanged(hidden[first:])

    def _add_unchanged(self, hidden: np.ndarray, with_shared: bool = True) -> None:
        if len(hidden):
            shared = (self._shared, self._shared_gate) if with_shared else (None, None)
            self._operations.moe_add(
                hidden, self._norm, self._eps, self._router, self._top_k, self._gate, self._up, self._down, *shared
            )

    def _add_changed(self, hidden: np.ndarray, applied: Applied) -> None:
        """The same for rows that are all computed with adapters which change some of its matrices."""
        normed = self._operations.rms_norm(hidden, self._norm, self._eps)
        if applied.changes(self._routed_names):
            hidden += self._changed_routed(normed, applied)
        else:
            self._add_unchanged(hidden, with_shared=False)
        if self._changed_shared is not None:
            hidden += self._changed_shared(normed, [Span(0, len(hidden), applied)])
