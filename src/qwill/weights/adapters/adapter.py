"""What all readers of adapters give: an `Adapter`, by the model's canonical names and in the order of its V heads."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from qwill.weights.tensor import Tensor


@dataclass(frozen=True)
class LowRank:
    """What is added to a matrix: W + b a, in float32.

    a [rank, columns], b [rows, rank]; of experts both have the number of experts in front. b has the adapter's own
    factor, alpha / rank, in it. bias [rows]: added to the products, with that factor. magnitude [rows] (DoRA): the
    length that every row of the sum gets; of the embeddings [columns], the length of every column.
    """

    a: np.ndarray
    b: np.ndarray
    source: str
    bias: np.ndarray | None = None
    magnitude: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the matrix that it is made for."""
        return (*self.b.shape[:-1], self.a.shape[-1])

    @property
    def rank(self) -> int:
        return int(self.a.shape[-2])

    @property
    def arrays(self) -> list[np.ndarray]:
        return [array for array in (self.a, self.b, self.bias, self.magnitude) if array is not None]

    def ordered(self, rows: np.ndarray | None, columns: np.ndarray | None) -> "LowRank":
        """For a matrix whose rows and columns stand in another order; None where it is the same."""
        result = self
        if columns is not None:
            result = replace(result, a=np.ascontiguousarray(result.a[..., columns]))
        if rows is not None:
            result = replace(
                result,
                b=np.ascontiguousarray(result.b[..., rows, :]),
                bias=None if result.bias is None else result.bias[rows],
                magnitude=None if result.magnitude is None else result.magnitude[rows],
            )
        return result


@dataclass(frozen=True)
class TokenRows:
    """Rows of the embeddings or the head for some tokens: ids [tokens] int64, values [tokens, hidden] f32."""

    ids: np.ndarray
    values: np.ndarray
    source: str


@dataclass(frozen=True)
class Adapter:
    """Everything an adapter's files say, by canonical name.

    `low_rank`: what is added to matrices. `rows`: tokens with rows of their own. `replaced`: whole tensors in place of
    the model's. `base`: the model that it was made from, by its own words, or "". `tokenizer_json` is given where a
    vocabulary has grown.
    """

    path: Path
    low_rank: Mapping[str, LowRank]
    rows: Mapping[str, TokenRows] = field(default_factory=dict)
    replaced: Mapping[str, Tensor] = field(default_factory=dict)
    base: str = ""
    tokenizer_json: Path | None = None

    @property
    def digest(self) -> bytes:
        """Stands for all values."""
        digest = hashlib.blake2b(digest_size=16)
        for name, array in self._arrays():
            digest.update(f"{name}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return digest.digest()

    @property
    def nbytes(self) -> int:
        """Bytes of all values in memory."""
        return sum(array.nbytes for _, array in self._arrays())

    def _arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        for name, low_rank in sorted(self.low_rank.items()):
            yield from ((name, array) for array in low_rank.arrays)
        for name, rows in sorted(self.rows.items()):
            yield from ((name, array) for array in (rows.ids, rows.values))
        for name, tensor in sorted(self.replaced.items()):
            yield from ((name, part) for part in tensor.parts)
