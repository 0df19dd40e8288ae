"""Adapters as the model computes with them: low-rank matrices beside its own, for some rows of a step."""

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from qwill.ops import Operations
from qwill.quant.types import TYPES
from qwill.weights.adapters.adapter import Adapter, LowRank
from qwill.weights.adapters.lengths import Lengths, lengths_of
from qwill.weights.folders.head import EMBEDDINGS
from qwill.weights.tensor import Tensor, TensorSet

# Matrices that are multiplied by the same, by the last part of their names.
_INPUTS = {
    "q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "in_proj_qkv": "in_proj", "in_proj_z": "in_proj",
    "in_proj_b": "in_proj", "in_proj_a": "in_proj", "gate_proj": "gate_up", "up_proj": "gate_up",
}  # fmt: skip


@dataclass(frozen=True)
class LoadedMatrix:
    """What is added to a matrix of the model: packed a [rank, columns] and b [rows, rank], of experts all of them."""

    a: Any
    b: Any
    bias: np.ndarray | None
    lengths: Lengths | None

    def finish(self, out: np.ndarray, scale: float) -> None:
        """out [tokens, rows], to which the low-rank part is added, becomes what the changed matrix gives."""
        if self.bias is not None:
            out += self.bias * np.float32(scale)
        if self.lengths is not None:
            out *= self.lengths.factor(scale)


@dataclass(frozen=True)
class LoadedRows:
    """Tokens with rows of their own: ids [tokens] int64, values [tokens, hidden] f32, and the same packed."""

    ids: np.ndarray
    values: np.ndarray
    packed: Any


class LoadedEmbeddings:
    """What is added to the embeddings: b [tokens, rank] f32, whose rows are looked up, and packed aᵀ [hidden, rank]."""

    def __init__(self, matrix: LowRank, packed: Any, lengths: Lengths | None) -> None:
        self._b = matrix.b
        self._packed = packed
        self._lengths = lengths

    def add(self, operations: Operations, ids: np.ndarray, out: np.ndarray, scale: float) -> None:
        """out [ids, hidden] becomes what the changed table gives."""
        operations.linear_add(self._b[ids] * np.float32(scale), self._packed, out)
        if self._lengths is not None:
            out *= self._lengths.factor(scale)


class LoadedAdapter:
    """An adapter packed for the kernels. `matrices` and `rows` by the canonical names of what they change."""

    def __init__(self, adapter: Adapter, operations: Operations, base: TensorSet) -> None:
        """base: the tensors of the model, whose lengths DoRA needs. Raises CheckpointError for a value that is not
        finite.
        """
        self.digest = adapter.digest
        self.nbytes = adapter.nbytes
        planned: list[tuple[Any, Tensor]] = []

        def pack(name: str, values: np.ndarray, source: str) -> Any:
            stored = np.ascontiguousarray(values, np.float32)
            parts = stored.reshape(stored.shape[0] if stored.ndim == 3 else 1, -1).view(np.uint8)
            tensor = Tensor(name, stored.shape, TYPES["F32"], tuple(parts), source)
            planned.append((operations.plan(tensor), tensor))
            return planned[-1][0]

        def lengths(name: str, matrix: LowRank) -> Lengths | None:
            if matrix.magnitude is None:
                return None
            return lengths_of(base.peek(name if name in base else EMBEDDINGS), matrix, by_columns=name == EMBEDDINGS)

        self.embeddings: LoadedEmbeddings | None = None
        if (table := adapter.low_rank.get(EMBEDDINGS)) is not None:
            packed = pack(EMBEDDINGS, table.a.T, table.source)
            self.embeddings = LoadedEmbeddings(table, packed, lengths(EMBEDDINGS, table))
        merged = {EMBEDDINGS, *(name for name in adapter.low_rank if name.startswith("visual."))}
        self.matrices: dict[str, LoadedMatrix] = {}
        for names in _in_order_of_use(name for name in adapter.low_rank if name not in merged):
            matrices = [adapter.low_rank[name] for name in names]
            a = [pack(name, matrix.a, matrix.source) for name, matrix in zip(names, matrices, strict=True)]
            b = [pack(name, matrix.b, matrix.source) for name, matrix in zip(names, matrices, strict=True)]
            for name, matrix, its_a, its_b in zip(names, matrices, a, b, strict=True):
                self.matrices[name] = LoadedMatrix(its_a, its_b, matrix.bias, lengths(name, matrix))
        self.rows = {
            name: LoadedRows(rows.ids, rows.values, pack(name, rows.values, rows.source))
            for name, rows in adapter.rows.items()
        }
        operations.pack_planned(planned)


def _in_order_of_use(names: Iterable[str]) -> list[list[str]]:
    """Matrices of one input together, one layer after the other: what is read in a row is to lie in a row."""

    def stage(name: str) -> tuple[int, str, str]:
        number = name.split(".")[1]
        block, _, last = name.removesuffix(".weight").rpartition(".")
        return int(number) if number.isdigit() else -1, block, _INPUTS.get(last, last)

    together: dict[tuple[int, str, str], list[str]] = {}
    for name in names:
        together.setdefault(stage(name), []).append(name)
    return [together[key] for key in sorted(together)]


@dataclass(frozen=True, eq=False)
class Applied:
    """The adapters that a request is computed with, one after the other, each with its scale; none by default."""

    parts: tuple[tuple[LoadedAdapter, float], ...] = ()

    @cached_property
    def digest(self) -> bytes:
        """Stands for all that they change, empty for nothing: what one set has computed is of no use to another."""
        if not self.parts:
            return b""
        digest = hashlib.blake2b(digest_size=16)
        for adapter, scale in self.parts:
            digest.update(adapter.digest + struct.pack("<d", scale))
        return digest.digest()

    def changes(self, names: Sequence[str]) -> bool:
        """Whether one of them changes one of these matrices."""
        return any(name in adapter.matrices for adapter, _ in self.parts for name in names)


NOTHING = Applied()


class Span(NamedTuple):
    """Rows `first` to `last` - 1 of a step, which are computed with adapters."""

    first: int
    last: int
    applied: Applied

    @property
    def rows(self) -> slice:
        return slice(self.first, self.last)
