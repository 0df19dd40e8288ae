"""DoRA: what a matrix's rows are multiplied by, so that they get the lengths that the adapter gives them.

The length of W + s b a, squared, is a polynomial in the scale s, whose three numbers a row are found once.
"""

from dataclasses import dataclass

import numpy as np

from qwill.weights.adapters.adapter import LowRank
from qwill.weights.tensor import Tensor
from qwill.weights.values import pieces


@dataclass(frozen=True)
class Lengths:
    """magnitude [rows] f32: the lengths that rows are to have; own, mixed, added [rows] f64: |W|², W·(b a), |b a|²."""

    magnitude: np.ndarray
    own: np.ndarray
    mixed: np.ndarray
    added: np.ndarray

    def factor(self, scale: float) -> np.ndarray:
        """float32 [rows]: what the rows of W + scale b a are multiplied by."""
        squares = self.own + 2 * scale * self.mixed + scale * scale * self.added
        lengths = np.sqrt(np.maximum(squares, np.finfo(np.float64).tiny))
        return (self.magnitude / lengths).astype(np.float32)


def lengths_of(base: Tensor, matrix: LowRank, by_columns: bool = False) -> Lengths:
    """Of the rows of a matrix, or of its columns, as they are of the embeddings."""
    assert matrix.magnitude is not None
    a, b = matrix.a.astype(np.float64), matrix.b.astype(np.float64)
    own: list[np.ndarray] = []
    mixed: list[np.ndarray] = []
    for begin, values in pieces(base):
        some = b[begin : begin + len(values)]
        if by_columns:
            own.append(np.square(values, dtype=np.float64).sum(axis=0))
            mixed.append(some.T @ values)
        else:
            own.append(np.square(values, dtype=np.float64).sum(axis=1))
            mixed.append(((values @ a.T) * some).sum(axis=1))
    if by_columns:
        added = ((b.T @ b @ a) * a).sum(axis=0)
        return Lengths(matrix.magnitude, np.sum(own, axis=0), (np.sum(mixed, axis=0) * a).sum(axis=0), added)
    added = ((b @ (a @ a.T)) * b).sum(axis=1)
    return Lengths(matrix.magnitude, np.concatenate(own), np.concatenate(mixed), added)
