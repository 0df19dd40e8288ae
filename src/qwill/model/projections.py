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
        outs = ops.norm_linear(hidden, self._norm, self._eps, self.weights)
        for span in adapted:
            for adapter, scale in span.applied.parts:
                found = [
                    (out[span.rows], adapter.matrices[name])
                    for name, out in zip(self.names, outs, strict=True)
                    if name in adapter.matrices
                ]
                if not found:
                    continue
                lows = ops.norm_linear(hidden[span.rows], self._norm, self._eps, [matrix.a for _, matrix in found])
                for low, (out, matrix) in zip(lows, found, strict=True):
                    matrix.add(low, out, scale)
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
        add_low_rank(self._operations, self.name, x, out, adapted)
        return out


def add_low_rank(operations: Operations, name: str, x: np.ndarray, out: np.ndarray, adapted: Sequence[Span]) -> None:
    """out [tokens, rows], the products of x [tokens, columns] with a matrix, become those with the changed one."""
    for span in adapted:
        for adapter, scale in span.applied.parts:
            matrix = adapter.matrices.get(name)
            if matrix is not None:
                matrix.add(operations.linear(x[span.rows], matrix.a), out[span.rows], scale)


def is_changed(names: Sequence[str], adapted: Sequence[Span]) -> bool:
    """Whether some rows of a step have one of these matrices changed."""
    return any(span.applied.changes(names) for span in adapted)
