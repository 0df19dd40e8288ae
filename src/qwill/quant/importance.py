"""How much each input of each matrix matters: the mean squares of what the matrices are multiplied by.

An error in a column of a matrix costs as much as that column's input is large, so encoders weigh errors by these
numbers. `importance.py` at the top gathers them; `convert/importance_file.py` reads and writes files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from qwill.errors import CheckpointError


@dataclass(frozen=True)
class Statistics:
    """Of one matrix, or of all experts of one kind in a layer.

    sums: float32 [experts or 1, columns], the squares of the inputs added up. counts: float32 [experts or 1], how many
    inputs they are of; an expert that no token went to has 0. Legacy files have all experts in one row of sums.
    """

    sums: np.ndarray
    counts: np.ndarray

    def __post_init__(self) -> None:
        assert self.sums.ndim == 2, self.sums.shape
        assert self.counts.shape == self.sums.shape[:1], (self.counts.shape, self.sums.shape)


@dataclass(frozen=True)
class Importance:
    """Statistics by GGUF name of the tensor (`blk.0.ffn_down.weight`), and where they come from.

    datasets: names of the texts. chunk_count, chunk_size: about how many pieces of how many tokens were read.
    source: the file, for messages.
    """

    statistics: Mapping[str, Statistics]
    datasets: tuple[str, ...] = ()
    chunk_count: int = 0
    chunk_size: int = 0
    source: str = field(default="importance", compare=False)

    def __contains__(self, name: str) -> bool:
        return name in self.statistics

    def mean_squares(self, name: str, columns: int, experts: int = 1) -> np.ndarray | None:
        """float32 [experts, columns], what encoders take; None when nothing is known of the tensor.

        An expert that no token went to gets the mean of the others. Raises CheckpointError when the statistics are of
        a tensor of another shape.
        """
        found = self.check(name, columns, experts)
        if found is None:
            return None
        rows, width = found.sums.shape
        if (rows, width) == (1, experts * columns):
            return (found.sums / found.counts[0]).reshape(experts, columns).astype(np.float32)
        overall = found.sums.sum(axis=0, dtype=np.float64) / found.counts.sum(dtype=np.float64)
        seen = found.counts > 0
        means = np.broadcast_to(overall.astype(np.float32), found.sums.shape).copy()
        means[seen] = found.sums[seen] / found.counts[seen, None]
        return np.broadcast_to(means, (experts, columns)).copy() if rows == 1 else means

    def check(self, name: str, columns: int, experts: int = 1) -> Statistics | None:
        """What is known of a tensor of that shape, if anything. Raises CheckpointError when it is of another shape."""
        found = self.statistics.get(name)
        if found is None or not found.counts.any():
            return None
        rows, width = found.sums.shape
        if (rows, width) != (1, experts * columns) and (width != columns or rows not in (1, experts)):
            raise CheckpointError(
                f"{self.source}: {name} has statistics of {rows} x {width} columns where the model has"
                f" {experts} x {columns}; they are of another model: gather this one's with qwill imatrix"
            )
        return found
