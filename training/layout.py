"""Where sequences of different lengths lie among flat rows, so that nothing is computed for padding."""

import itertools
from typing import Any

import torch
from torch import Tensor

from training.native import call, native

ROWS = 512  # rows are filled up to a multiple: matrix libraries prepare a kernel for every size they meet


def gathered(x: Tensor, index: Tensor, picks: int = 1) -> Tensor:
    """Row index[i] // picks of x [rows, width] for every i; zeros where the index is negative."""
    if native(x):
        result = x.new_empty(index.shape[0], x.shape[1])
        call("experts", "gather_rows", (index.shape[0], x.shape[1], picks), index, x.contiguous(), result)
        return result
    found = x.index_select(0, index.clamp(min=0) // picks)
    return found.masked_fill((index < 0).unsqueeze(1), 0.0)


class Move(torch.autograd.Function):
    """Rows to other places, each to one at most: `there` says where every new row comes from, `back` the way home."""

    @staticmethod
    def forward(context: Any, x: Tensor, there: Tensor, back: Tensor) -> Tensor:
        context.save_for_backward(back)
        return gathered(x, there)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (back,) = context.saved_tensors
        return gathered(gradient, back), None, None


def move(x: Tensor, there: Tensor, back: Tensor) -> Tensor:
    """x [rows, …] with its rows moved; any trailing shape."""
    result = Move.apply(x.flatten(1), there, back)
    assert isinstance(result, Tensor)
    return result.view(-1, *x.shape[1:])


class Bucket:
    """Neighbouring sequences of similar length, which can be seen as [count, tokens, …] with padding at the right."""

    def __init__(self, starts: list[int], rows: int, device: torch.device) -> None:
        """starts: the first row of every sequence, and the end of the last; rows: of the flat tensor."""
        lengths = [end - start for start, end in itertools.pairwise(starts)]
        self.count, self.tokens = len(lengths), -(-max(lengths) // 32) * 32
        there = torch.full((self.count, self.tokens), -1, dtype=torch.long)
        for place, (start, length) in enumerate(zip(starts[:-1], lengths, strict=True)):
            there[place, :length] = torch.arange(start, start + length)
        there = there.flatten()
        back = torch.full((rows,), -1, dtype=torch.long)
        back[there[there >= 0]] = torch.nonzero(there >= 0).flatten()
        self.there, self.back = there.to(device), back.to(device)

    def padded(self, x: Tensor) -> Tensor:
        """[rows, …] → [count, tokens, …]."""
        return move(x, self.there, self.back).view(self.count, self.tokens, *x.shape[1:])


class Layout:
    """Sequences one after the other in `rows` rows, the last of which belong to none.

    starts int64 [sequences + 1]: the first row of every sequence, and the end of the last.
    """

    def __init__(self, lengths: list[int], bucket_tokens: int = 2048, device: torch.device | None = None) -> None:
        """lengths: of the sequences, ascending; bucket_tokens: most of a bucket, its padding included."""
        self.lengths = lengths
        self.starts = torch.tensor([0, *lengths]).cumsum(0)
        starts: list[int] = self.starts.tolist()
        self.rows = -(-starts[-1] // ROWS) * ROWS
        device = device or torch.device("cpu")
        self.buckets: list[Bucket] = []
        first = 0
        for last in range(1, len(lengths) + 1):
            full = last == len(lengths) or (last + 1 - first) * (-(-lengths[last] // 32) * 32) > bucket_tokens
            if full or lengths[last] > 1.5 * lengths[first] + 32:
                self.buckets.append(Bucket(starts[first : last + 1], self.rows, device))
                first = last
        joined = torch.full((self.rows,), -1, dtype=torch.long, device=device)
        place = 0
        for bucket in self.buckets:
            joined = torch.where(bucket.back >= 0, bucket.back + place, joined)
            place += bucket.count * bucket.tokens
        self.join = joined
        self.split = torch.cat([bucket.there for bucket in self.buckets])
        self.starts = self.starts.to(device)

    def joined(self, parts: list[Tensor]) -> Tensor:
        """The buckets' results, each flattened to [count * tokens, …] → [rows, …], zeros in rows of no sequence."""
        return move(torch.cat(parts), self.join, self.split)
