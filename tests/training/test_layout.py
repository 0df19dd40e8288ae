"""Sequences among flat rows: every row comes to its place and back."""

import pytest
import torch
from training.layout import ROWS, Layout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "lengths", [[1], [5, 31, 32, 33, 40, 200, 210, 650], [7] * 90, [ROWS - 1, ROWS], [64, ROWS - 64]]
)
def test_buckets_hold_the_sequences_and_give_them_back(seed: int, lengths: list[int], dtype: torch.dtype) -> None:
    layout = Layout(lengths, bucket_tokens=512)
    assert layout.rows % ROWS == 0
    assert 0 <= layout.rows - sum(lengths) < ROWS
    x = torch.randn(layout.rows, 2, 3, generator=torch.Generator().manual_seed(seed)).to(dtype).requires_grad_()
    views = [bucket.padded(x) for bucket in layout.buckets]
    for view in views:
        assert view.shape[0] == 1 or view.shape[0] * view.shape[1] <= 512
    sequences = [sequence for view in views for sequence in view]
    for sequence, length, start in zip(sequences, lengths, layout.starts.tolist(), strict=False):
        assert torch.equal(sequence[:length], x[start : start + length])
        assert (sequence[length:] == 0).all()
    assert len(sequences) == len(lengths)

    joined = layout.joined([view.flatten(0, 1) for view in views])
    assert torch.equal(joined[: sum(lengths)], x[: sum(lengths)])
    assert (joined[sum(lengths) :] == 0).all()
    gradient = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    (into_x,) = torch.autograd.grad(joined, x, gradient)
    assert torch.equal(into_x[: sum(lengths)], gradient[: sum(lengths)])
    assert (into_x[sum(lengths) :] == 0).all()
