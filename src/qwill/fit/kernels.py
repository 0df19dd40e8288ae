"""What qwill's kernels cost on an instruction set: kernels.toml, which `benchmarks/calibrate.py` measures."""

import tomllib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from qwill.quant.types import TensorType

ROWS = (1, 2, 4, 8, 16, 64, 512)  # of activations together, for which the costs of matrices were measured
TILE_ROWS = {"avx512_bf16": 8, "avx512": 8, "avx2": 4}  # multiplied together (csrc/generic/linear/tile_sizes.h)
# Not measured: the same algorithms over vectors of other widths.
MEASURED_AS = {"neon": "avx2", "neon_i8mm": "avx2", "scalar": "avx2"}


@dataclass(frozen=True)
class Kernels:
    """Costs are operations at the machine's rate of integer products. matrix: of each type, a cost for each of ROWS."""

    tile: int  # rows that are multiplied together
    matrix: dict[str, tuple[float, ...]]
    delta: float
    routed: float  # for each value of a token and each of its experts: what takes it there and back
    attention_one: float
    attention_many: float

    def matrix_cost(self, tensor_type: TensorType, rows: int) -> float:
        """Operations for each weight that is multiplied with `rows` rows together: whole tiles, and a smaller one of
        the rest. It takes the share of a whole tile that as many rows alone take of one.
        """
        costs, rest = self.matrix[tensor_type.name], rows % self.tile
        whole = _between(costs, rows - rest)
        if rest == 0:
            return 2 * whole
        share = _between(costs, rest) / _between(costs, self.tile)
        return 2 * (whole + share * (_between(costs, rows - rest + self.tile) - whole))

    def attention_cost(self, queries: float) -> float:
        """Operations for each multiplication and each addition, of so many queries of a sequence together."""
        return self.attention_one if queries < 2 else self.attention_many


@dataclass(frozen=True)
class ReadShares:
    """Which share of the bandwidth that a plain sum reaches the kernels read with."""

    weights: float
    states: float
    keys_and_values: float


def _between(costs: Sequence[float], rows: int) -> float:
    """The cost for a number of rows, on a line between the two of ROWS beside it; nothing for none."""
    if rows == 0:
        return 0.0
    place = max(min(bisect_right(ROWS, rows), len(ROWS) - 1), 1)
    low, high = ROWS[place - 1], ROWS[place]
    return costs[place - 1] + (costs[place] - costs[place - 1]) / (high - low) * (rows - low)


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("kernels.toml").read_text("utf-8"))


def kernels(isa: str) -> Kernels:
    """What the kernels of an instruction set cost."""
    measured = MEASURED_AS.get(isa, isa)
    own = _table()[measured]
    costs = {name: tuple(row) for name, row in own["matrix"].items()}
    attention = own["attention"]
    return Kernels(TILE_ROWS[measured], costs, own["delta"], own["routed"], attention["one"], attention["many"])


def read_shares() -> ReadShares:
    return ReadShares(**_table()["memory"])


def value_operations() -> float:
    """Operations for each token, layer and element of its hidden state that no matrix, state or key is part of."""
    return float(_table()["values"]["operations"])


def packed_bytes(tensor_type: TensorType, nbytes: int) -> int:
    """Bytes that `nbytes` of a matrix in a file take when they lie ready for the kernels."""
    bits: float | None = _table()["packed_bits"].get(tensor_type.name)
    return nbytes if bits is None else round(nbytes * bits / tensor_type.bits_per_weight)
