"""Matrices of a layer, with what adapters add to them for some rows of a step.

Rows without adapters get the same bits whatever stands beside them, and so do rows with: an adapter's matrices are
multiplied in float32 by the kernels that multiply all others.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from qwill.model.adapters import Span
from qwill.model.loader import Loader
from qwill.ops import Operations


class Projections:
    """Several matrices of one input, behind a norm."""

    def __init__(self, loader: Loader, norm: np.ndarray, eps: float, rows: Mapping[str, int]) -> None:
        """rows: how many each matrix has, by its name for the loader."""
        self._operations = loader.operations
        self._norm = norm
        self._eps = eps
        self.names = [loader.full_name(name) for name in rows]
        self.weights = [loader.weight(name, count, len(norm)) for name, count in rows.items()]

    def __call__(self, hidden: np.ndarray, adapted: Sequence[Span]) -> list[np.ndarray]:
        """hidden [tokens, hidden_size] → [tokens, rows] of each matrix."""
        ops = self._operations
        outs: list[np.ndarray] = ops.norm_linear(hidden, self._norm, self._eps, self.weights)
        add_low_rank(ops, self.names, hidden, outs, adapted, self._norm, self._eps)
        return outs


class OutputProjection:
    """A matrix whose products are added to the residual."""

    def __init__(self, loader: Loader, name: str, rows: int, columns: int) -> None:
        self._operations = loader.operations
        self.name = loader.full_name(name)
        self.weight = loader.weight(name, rows, columns)

    def add_to(self, hidden: np.ndarray, x: np.ndarray, adapted: Sequence[Span]) -> None:
        """hidden [tokens, rows] += x Wᵀ, x [tokens, columns]."""
        ops = self._operations
        if not is_changed([self.name], adapted):
            ops.linear_add(x, self.weight, hidden)
            return
        hidden += self.product(x, adapted)

    def product(self, x: np.ndarray, adapted: Sequence[Span]) -> np.ndarray:
        """x Wᵀ [tokens, rows]."""
        out = self._operations.linear(x, self.weight)
        add_low_rank(self._operations, [self.name], x, [out], adapted)
        return out


def add_low_rank(
    operations: Operations, names: Sequence[str], x: np.ndarray, outs: Sequence[np.ndarray], adapted: Sequence[Span],
    norm: np.ndarray | None = None, eps: float = 0.0,
) -> None:  # fmt: skip
    """outs [tokens, rows of each], the products of x [tokens, columns] with matrices, behind a norm if there is one,
    become those with the changed ones.
    """
    turns = max((len(span.applied.parts) for span in adapted), default=0)
    for turn in range(turns):  # one adapter after the other: each adds to what those before it made
        parts, unfinished = [], []
        for span in adapted:
            if turn >= len(span.applied.parts):
                continue
            adapter, scale = span.applied.parts[turn]
            for name, out in zip(names, outs, strict=True):
                matrix = adapter.matrices.get(name)
                if matrix is None:
                    continue
                parts.append((matrix.a, matrix.b, out, span.first, span.last, scale))
                if matrix.bias is not None or matrix.lengths is not None:
                    unfinished.append((matrix, out[span.rows], scale))
        if parts:
            operations.low_rank_add(x, norm, eps, parts)
        for matrix, out, scale in unfinished:
            matrix.finish(out, scale)


def is_changed(names: Sequence[str], adapted: Sequence[Span]) -> bool:
    """Whether some rows of a step have one of these matrices changed."""
    return any(span.applied.changes(names) for span in adapted)
