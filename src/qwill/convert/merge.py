"""Adapters merged into what is converted: values of the source, in float32, with the adapters' changes added."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import prod
from pathlib import Path

import numpy as np

from qwill.convert.source import SourceTensor
from qwill.errors import UnsupportedModel
from qwill.quant.types import TensorType
from qwill.weights.adapters.adapter import Adapter, LowRank, TokenRows
from qwill.weights.adapters.lengths import lengths_of
from qwill.weights.adapters.load import open_adapter
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.folders.head import EMBEDDINGS, HEAD

log = logging.getLogger("qwill")
GATE_UP = "gate_up_proj"


@dataclass(frozen=True)
class Change:
    """What one adapter does to a tensor, in the order of its rows and columns.

    First rows of tokens are set, then scale * b a is added, then rows are multiplied by `row_factors` and columns by
    `column_factors` (DoRA).
    """

    scale: float
    low_rank: LowRank | None = None
    tokens: TokenRows | None = None
    row_factors: np.ndarray | None = None
    column_factors: np.ndarray | None = None

    def apply(self, values: np.ndarray, part: int, begin: int) -> None:
        """Changes values [rows, columns] f32, rows from `begin` on of a part, in place."""
        end = begin + len(values)
        if self.tokens is not None:
            inside = (self.tokens.ids >= begin) & (self.tokens.ids < end)
            values[self.tokens.ids[inside] - begin] = self.tokens.values[inside]
        if self.low_rank is not None:
            a, b = self.low_rank.a, self.low_rank.b
            if a.ndim == 3:
                a, b = a[part], b[part]
            added = self.scale * (b[begin:end].astype(np.float64) @ a)
            np.add(values, added, out=values, casting="same_kind")  # rounded once
        if self.row_factors is not None:
            values *= self.row_factors[begin:end, None]
        if self.column_factors is not None:
            values *= self.column_factors


@dataclass(frozen=True)
class MergedTensor(SourceTensor):
    """A tensor with the changes of adapters."""

    changes: tuple[Change, ...] = ()

    def values(self, part: int, begin: int, end: int) -> np.ndarray:
        """See `SourceTensor.values`."""
        values = super().values(part, begin, end)
        for change in self.changes:
            change.apply(values, part, begin)
        if not np.isfinite(values).all():
            raise self._not_finite(part, f"rows {begin} to {end - 1}", "no numbers once the adapters are merged")
        return values

    def can_copy(self, target: TensorType) -> bool:
        """Its stored bytes are those of before the changes."""
        return False


def open_adapters(given: Sequence[tuple[Path, float]], checkpoint: Checkpoint) -> list[tuple[Adapter, float]]:
    """Adapters with their scales. Raises as `open_adapter` does, and UnsupportedModel for biases, which no file has."""
    opened = [(open_adapter(path, checkpoint), scale) for path, scale in given]
    for adapter, _ in opened:
        for name, matrix in adapter.low_rank.items():
            if matrix.bias is not None:
                raise UnsupportedModel(
                    f"{matrix.source}: adds a bias to {name}, and models of the family have none; run it with --lora"
                )
    return opened


def merged(
    tensors: Sequence[SourceTensor], adapters: Sequence[tuple[Adapter, float]], checkpoint: Checkpoint
) -> list[SourceTensor]:
    """The tensors with what the adapters change of them. A head that was tied to the embeddings is added where either
    is changed.
    """
    touched = {name for adapter, _ in adapters for name in (*adapter.low_rank, *adapter.rows)}
    if touched & {EMBEDDINGS, HEAD}:
        tensors = _with_head(tensors)
    result: list[SourceTensor] = []
    for tensor in tensors:
        changes = [_change(tensor, adapter, scale, checkpoint) for adapter, scale in adapters]
        wanted = tuple(change for change in changes if change is not None)
        result.append(_with_changes(tensor, wanted) if wanted else tensor)
    _tell_of_the_rest(touched, result)
    return result


def with_own(tensors: Sequence[SourceTensor], adapters: Sequence[tuple[Adapter, float]]) -> list[SourceTensor]:
    """The tensors of a GGUF file, with those that adapters put in their place. Raises UnsupportedModel where a table
    has grown: its tokens stand in the file.
    """
    own = {name: tensor for adapter, _ in adapters for name, tensor in adapter.replaced.items()}
    tensors = list(tensors)
    if EMBEDDINGS in own and HEAD not in own:
        tensors = _with_head(tensors)  # trained embeddings are no longer tied to it
    result = []
    for tensor in tensors:
        other = own.pop(tensor.canonical, None)
        if other is not None and prod(other.shape) != prod(tensor.shape):
            raise UnsupportedModel(
                f"{other.source}: has other tokens than the GGUF file; merge the adapter into the model's folder"
            )
        if other is not None:
            tensor = replace(
                tensor,
                type=other.type,
                parts=other.parts,
                source=other.source,
                width=other.shape[-1],
                scales=other.scales,
            )
        result.append(tensor)
    if own:
        some = next(iter(own.values()))
        raise UnsupportedModel(
            f"{some.source}: has no place in the GGUF file; merge the adapter into the model's folder"
        )
    return result


def adapter_files(path: Path) -> list[Path]:
    """All that is read of an adapter."""
    return sorted(path.glob("adapter_*")) if path.is_dir() else [path]


def _with_head(tensors: Sequence[SourceTensor]) -> list[SourceTensor]:
    """With the embeddings as the head, too, where there is none."""
    result = list(tensors)
    if not any(tensor.canonical == HEAD for tensor in tensors):
        for place, tensor in enumerate(tensors):
            if tensor.canonical == EMBEDDINGS:
                result.insert(place + 1, replace(tensor, name="output.weight", canonical=HEAD))
    return result


def _with_changes(tensor: SourceTensor, changes: tuple[Change, ...]) -> MergedTensor:
    own = {field.name: getattr(tensor, field.name) for field in fields(SourceTensor)}
    return MergedTensor(**own, changes=changes)


def _change(tensor: SourceTensor, adapter: Adapter, scale: float, checkpoint: Checkpoint) -> Change | None:
    name = tensor.canonical
    low_rank, tokens = adapter.low_rank.get(name), adapter.rows.get(name)
    if name.endswith(GATE_UP):
        low_rank = _together(*(adapter.low_rank.get(name.replace(GATE_UP, half)) for half in ("gate_proj", "up_proj")))
    if low_rank is None and tokens is None:
        return None
    row_factors = column_factors = None
    if low_rank is not None and low_rank.magnitude is not None:
        base = checkpoint.tensors.peek(name if name in checkpoint.tensors else EMBEDDINGS)
        factors = lengths_of(base, low_rank, by_columns=name == EMBEDDINGS).factor(scale)
        if name == EMBEDDINGS:
            column_factors = factors
        else:
            row_factors = factors if tensor.row_order is None else factors[tensor.row_order]
    if low_rank is not None:
        low_rank = low_rank.ordered(tensor.row_order, tensor.column_order)
    return Change(scale, low_rank, tokens, row_factors, column_factors)


def _together(gate: LowRank | None, up: LowRank | None) -> LowRank | None:
    """Of experts whose gate rows stand above their up rows in one tensor."""
    some = gate or up
    if some is None:
        return None
    experts, rows, _ = some.b.shape
    pieces = [each or LowRank(some.a[:, :0], some.b[:, :, :0], some.source) for each in (gate, up)]
    ranks = [piece.rank for piece in pieces]
    b = np.zeros((experts, 2 * rows, sum(ranks)), np.float32)
    b[:, :rows, : ranks[0]], b[:, rows:, ranks[0] :] = pieces[0].b, pieces[1].b
    return LowRank(np.concatenate([piece.a for piece in pieces], axis=1), b, some.source)


def _tell_of_the_rest(touched: set[str], made: Sequence[SourceTensor]) -> None:
    vision = any(name.startswith("visual.") for name in touched)
    if vision and not any(tensor.canonical.startswith("visual.") for tensor in made):
        log.warning("the adapters change the vision tower, too; make its file with --mmproj and the same --lora")
