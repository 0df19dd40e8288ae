"""A mixture of experts for rows whose adapters change it: what the fused operation does, step by step."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from qwill.model.adapters import Applied, Span
from qwill.model.projections import Additions
from qwill.ops import Operations
from qwill.ops.activations import sigmoid
from qwill.ops.moe.reference import route


class SharedExpert:
    """The expert of all tokens: three matrices, and a gate of its own."""

    def __init__(self, operations: Operations, prefix: str, weights: Sequence[Any], gate: np.ndarray) -> None:
        """weights: gate, up and down, packed; gate [hidden]."""
        self._operations = operations
        self.names = [f"{prefix}shared_expert.{name}.weight" for name in ("gate_proj", "up_proj", "down_proj")]
        self.gate_name = f"{prefix}shared_expert_gate.weight"
        self._weights = weights
        self._gate = gate
        self._additions = [Additions(operations, [name]) for name in self.names]
        self._added_to_gate = Additions(operations, [self.gate_name])

    def __call__(self, normed: np.ndarray, spans: Sequence[Span]) -> np.ndarray:
        """normed [tokens, hidden] → [tokens, hidden], its gate applied."""
        ops = self._operations

        def product(x: np.ndarray, number: int) -> np.ndarray:
            out = ops.linear(x, self._weights[number])
            self._additions[number].to([out], x, spans)
            return out

        inner = product(normed, 0)
        ops.silu_product(inner, product(normed, 1))
        # One row's sum at a time, so that other rows make no difference.
        opened = (normed * self._gate).sum(axis=1, keepdims=True)
        self._added_to_gate.to([opened], normed, spans)
        return sigmoid(opened) * product(inner, 2)


class RoutedExperts:
    """The experts that tokens are sent to."""

    def __init__(self, operations: Operations, prefix: str, router: Any, top_k: int, weights: Sequence[Any]) -> None:
        """weights: gate, up and down of all experts, packed."""
        self._operations = operations
        self.router_name = f"{prefix}gate.weight"
        self.names = [f"{prefix}experts.{name}" for name in ("gate_proj", "up_proj", "down_proj")]
        self._router = router
        self._top_k = top_k
        self._weights = weights
        self._added_to_router = Additions(operations, [self.router_name])

    def __call__(self, normed: np.ndarray, applied: Applied) -> np.ndarray:
        """normed [tokens, hidden] → [tokens, hidden]. A token's sum runs over its experts in ascending order."""
        ops = self._operations
        logits = ops.linear(normed, self._router)
        self._added_to_router.to([logits], normed, [Span(0, len(normed), applied)])
        experts, weights = route(logits, self._top_k)
        out = np.zeros_like(normed)
        for expert in np.unique(experts):
            rows, places = np.nonzero(experts == expert)
            x = normed[rows]
            inner = self._product(x, 0, int(expert), applied)
            ops.silu_product(inner, self._product(x, 1, int(expert), applied))
            out[rows] += weights[rows, places][:, None] * self._product(inner, 2, int(expert), applied)
        return out

    def _product(self, x: np.ndarray, number: int, expert: int, applied: Applied) -> np.ndarray:
        ops = self._operations
        out = ops.linear(x, self._weights[number].expert(expert))
        for adapter, scale in applied.parts:
            matrix = adapter.matrices.get(self.names[number])
            if matrix is not None:
                low = ops.linear(x, matrix.a.expert(expert))
                ops.linear_add(low * np.float32(scale), matrix.b.expert(expert), out)
        return out
