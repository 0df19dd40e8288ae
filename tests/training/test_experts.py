"""The routed experts, compiled and portable, against a loop over tokens and their picks in float64."""

import pytest
import torch
from torch import Tensor
from training.experts import BLOCK, routed_experts, sort_routes


def looped(x: Tensor, weights: Tensor, chosen: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    width = down.shape[2]
    rows = []
    for token in range(x.shape[0]):
        total = x.new_zeros(down.shape[1])
        for weight, expert in zip(weights[token], chosen[token].tolist(), strict=True):
            both = gate_up[expert] @ x[token]
            inner = both[:width] / (1 + torch.exp(-both[:width])) * both[width:]
            total = total + weight * (down[expert] @ inner)
        rows.append(total)
    return torch.stack(rows)


def routes(random: torch.Generator, tokens: int, picks: int, experts: list[int]) -> Tensor:
    """Different experts of the list for every token."""
    order = torch.stack([torch.randperm(len(experts), generator=random)[:picks] for _ in range(tokens)])
    return torch.tensor(experts)[order]


# The error relative to the size of the numbers, or of what is summed to one where it may cancel (64 products of about
# 0.5 for a weight's gradient). float32: its rounding (6e-8) through sums of 64. bfloat16: each product's result, the
# activation and the gradients between are rounded to it, by 2^-8 at most.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize(
    ("tokens", "picks", "experts"),
    [(1, 3, [0, 2, 5]), (1, 1, [7]), (BLOCK + 9, 2, [1, 2, 3, 6]), (BLOCK, 1, [4]), (150, 4, list(range(8)))],
)
def test_forward_and_gradients(
    seed: int, dtype: torch.dtype, tolerance: float, tokens: int, picks: int, experts: list[int]
) -> None:
    random = torch.Generator().manual_seed(seed)
    hidden, width, count = 64, 32, 8
    x = torch.randn(tokens, hidden, generator=random).to(dtype)
    weights = torch.rand(tokens, picks, generator=random)
    chosen = routes(random, tokens, picks, experts)
    gate_up = torch.randn(count, 2 * width, hidden, generator=random) * hidden**-0.5
    down = torch.randn(count, hidden, width, generator=random) * width**-0.5
    into_output = torch.randn(tokens, hidden, generator=random)
    inputs = (x, weights, gate_up, down)

    def run(function, leaves: list[Tensor], gradient: Tensor) -> list[Tensor]:
        output = function(leaves[0], leaves[1], chosen, leaves[2], leaves[3])
        return [output, *torch.autograd.grad(output, leaves, gradient)]

    got = run(routed_experts, [part.clone().requires_grad_() for part in inputs], into_output)
    expected = run(looped, [part.double().requires_grad_() for part in inputs], into_output.double())
    assert [part.dtype for part in got] == [torch.float32, dtype, *[torch.float32] * 3]
    for ours, exact, summed in zip(got, expected, (0.5, 0.5, 4.0, 0.5, 0.5), strict=True):
        assert ours.shape == exact.shape
        assert (ours.double() - exact).norm() <= tolerance * max(exact.norm(), summed * exact.numel() ** 0.5)
    unused = [expert for expert in range(count) if expert not in chosen]
    for gradient in got[-2:]:
        assert (gradient[unused] == 0).all()


def test_sorted_rows_are_whole_blocks_of_one_expert(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    chosen, weights = routes(random, 83, 3, [0, 1, 2, 4, 5]), torch.rand(83, 3, generator=random) + 1
    order, back, sorted_weights, parts = sort_routes(chosen, weights, 6)
    assert torch.equal(order[back], torch.arange(83 * 3))
    assert torch.equal(sorted_weights[back], weights.flatten())
    assert int((sorted_weights > 0).sum()) == 83 * 3
    done = 0
    for expert, part in parts:
        assert part.start == done
        assert (part.stop - part.start) % BLOCK == 0
        used = sorted_weights[part] > 0
        assert (chosen.flatten()[order[part][used]] == expert).all()
        done = part.stop
    assert done == len(order)
    assert [expert for expert, _ in parts] == sorted(set(chosen.flatten().tolist()))
