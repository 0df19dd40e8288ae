"""Matrices of a layer, with what adapters add to them for some rows of a step.

Rows without adapters get the same bits whatever stands beside them, and so do rows with: what an adapter adds is
computed in float32, a row at a time.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from qwill.model.adapters import Applied, LoadedMatrix, Span
from qwill.model.loader import Loader
from qwill.ops import Operations

MOST_PLANS = 32  # sets of adapters side by side that are remembered


class Turn(NamedTuple):
    """What the first adapter of each run of rows adds to some matrices, or the second, and so on: the arguments of
    `Operations.low_rank_add` but for the arrays. `outs` and `spans` are numbers of outputs and of runs.
    """

    a: list[Any]
    b: list[Any]
    outs: list[int]
    spans: list[int]
    scales: list[float]
    unfinished: list[tuple[LoadedMatrix, int, int, float]]


def plan(names: Sequence[str], applied: Sequence[Applied]) -> list[Turn]:
    """What sets of adapters add to matrices of these names; one adapter after the other, for each adds to what those
    before it made.
    """
    turns = []
    for number in range(max((len(each.parts) for each in applied), default=0)):
        turn = Turn([], [], [], [], [], [])
        for span, each in enumerate(applied):
            if number >= len(each.parts):
                continue
            adapter, scale = each.parts[number]
            for out, name in enumerate(names):
                matrix = adapter.matrices.get(name)
                if matrix is None:
                    continue
                turn.a.append(matrix.a)
                turn.b.append(matrix.b)
                turn.outs.append(out)
                turn.spans.append(span)
                turn.scales.append(scale)
                if matrix.bias is not None or matrix.lengths is not None:
                    turn.unfinished.append((matrix, out, span, scale))
        if turn.a:
            turns.append(turn)
    return turns


class Additions:
    """What adapters add to some matrices of one input; remembers what it found for the sets it saw."""

    def __init__(self, operations: Operations, names: Sequence[str]) -> None:
        self.names = names
        self._operations = operations
        self._plans: dict[tuple[Applied, ...], list[Turn]] = {}

    def to(
        self, outs: Sequence[np.ndarray], x: np.ndarray, adapted: Sequence[Span],
        norm: np.ndarray | None = None, eps: float = 0.0,
    ) -> None:  # fmt: skip
        """outs [tokens, rows of each], the products of x [tokens, columns] with the matrices, behind a norm if there is
        one, become those with the changed ones.
        """
        for turn in self.turns(adapted):
            self._operations.low_rank_add(
                x, norm, eps, turn.a, turn.b, [outs[out] for out in turn.outs],
                [adapted[span].first for span in turn.spans], [adapted[span].last for span in turn.spans], turn.scales,
            )  # fmt: skip
            for matrix, out, span, scale in turn.unfinished:
                matrix.finish(outs[out][adapted[span].rows], scale)

    def turns(self, adapted: Sequence[Span]) -> list[Turn]:
        """Empty when nothing is added."""
        if not adapted:
            return []
        key = tuple(span.applied for span in adapted)
        found = self._plans.get(key)
        if found is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            found = self._plans[key] = plan(self.names, key)
        return found


class Projections:
    """Several matrices of one input, behind a norm."""

    def __init__(self, loader: Loader, norm: np.ndarray, eps: float, rows: Mapping[str, int]) -> None:
        """rows: how many each matrix has, by its name for the loader."""
        self._operations = loader.operations
        self._norm = norm
        self._eps = eps
        self.weights = [loader.weight(name, count, len(norm)) for name, count in rows.items()]
        self.additions = Additions(loader.operations, [loader.full_name(name) for name in rows])

    def __call__(self, hidden: np.ndarray, adapted: Sequence[Span]) -> list[np.ndarray]:
        """hidden [tokens, hidden_size] → [tokens, rows] of each matrix."""
        outs: list[np.ndarray] = self._operations.norm_linear(hidden, self._norm, self._eps, self.weights)
        self.additions.to(outs, hidden, adapted, self._norm, self._eps)
        return outs


class OutputProjection:
    """A matrix whose products are added to the residual."""

    def __init__(self, loader: Loader, name: str, rows: int, columns: int) -> None:
        self._operations = loader.operations
        self.weight = loader.weight(name, rows, columns)
        self.additions = Additions(loader.operations, [loader.full_name(name)])

    def add_to(self, hidden: np.ndarray, x: np.ndarray, adapted: Sequence[Span]) -> None:
        """hidden [tokens, rows] += x Wᵀ, x [tokens, columns]."""
        ops = self._operations
        if any(turn.unfinished for turn in self.additions.turns(adapted)):  # which change the sum
            out = ops.linear(x, self.weight)
            self.additions.to([out], x, adapted)
            hidden += out
            return
        ops.linear_add(x, self.weight, hidden)
        self.additions.to([hidden], x, adapted)
