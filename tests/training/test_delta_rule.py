"""The gated delta rule, compiled and portable, against a loop over tokens in float64."""

import itertools

import pytest
import torch
from torch import Tensor
from training.delta_rule import DeltaRule, delta_rule
from training.layout import Layout
from training.native import compiler

DIM = 64  # of a head


def looped(mixed: Tensor, gates: Tensor, kernel: Tensor, log_rate: Tensor, bias: Tensor) -> Tensor:
    """One sequence [tokens, channels] → [tokens, value_heads, 64], as the paper writes the rule."""
    tokens, channels = mixed.shape
    value_heads = len(log_rate)
    key_heads = (channels // DIM - value_heads) // 2
    convolved = torch.zeros_like(mixed)
    for back in range(4):
        convolved = convolved + torch.cat((mixed.new_zeros(back, channels), mixed))[:tokens] * kernel[:, 3 - back]
    heads = (convolved / (1 + torch.exp(-convolved))).view(tokens, -1, DIM)
    outputs = []
    for head in range(value_heads):
        key_head = head * key_heads // value_heads
        query, key = heads[:, key_head], heads[:, key_heads + key_head]
        query = query / (query.square().sum(1, keepdim=True) + 1e-6).sqrt() / DIM**0.5
        key = key / (key.square().sum(1, keepdim=True) + 1e-6).sqrt()
        value = heads[:, 2 * key_heads + head]
        beta = 1 / (1 + torch.exp(-gates[:, 0, head]))
        decay = torch.exp(-torch.exp(log_rate[head]) * torch.log(1 + torch.exp(gates[:, 1, head] + bias[head])))
        state = mixed.new_zeros(DIM, DIM)
        for t in range(tokens):
            state = decay[t] * state
            state = state + torch.outer(key[t], beta[t] * (value[t] - key[t] @ state))
            outputs.append(query[t] @ state)
    return torch.stack(outputs).view(value_heads, tokens, DIM).transpose(0, 1)


def assert_close(got: Tensor, expected: Tensor, tolerance: float, floor: float = 0.0) -> None:
    assert got.shape == expected.shape
    assert got.isfinite().all()
    assert (got.double() - expected).norm() <= tolerance * expected.norm() + floor


# bfloat16 runs in the compiled kernel, float32 in the portable form. Both compute in float32 and read the same numbers,
# so that results differ from float64 by its rounding (6e-8), grown by 70 steps of sums over 64: mostly 1e-6, but
# more than 2e-5 in one of a hundred draws, where terms cancel. A wrong formula is off by a share of the whole.
# The kernel's gradient of the bfloat16 input is rounded to it (by 2^-8 of each number at most).
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.bfloat16, 2**-8), (torch.float32, 1e-4)])
@pytest.mark.parametrize(
    ("lengths", "key_heads", "value_heads"), [([1, 31, 32, 33, 70], 2, 4), ([5], 1, 1), ([64, 64], 1, 3)]
)
def test_forward_and_gradients(
    seed: int, dtype: torch.dtype, rounding: float, lengths: list[int], key_heads: int, value_heads: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    layout = Layout(lengths, bucket_tokens=128)
    used, channels = sum(lengths), (2 * key_heads + value_heads) * DIM

    def fresh(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    mixed = fresh(layout.rows, channels).to(dtype)
    # Rates as in training, from states that last to states that fade at once.
    inputs = [mixed, fresh(layout.rows, 2, value_heads), fresh(channels, 4), fresh(value_heads), fresh(value_heads) - 2]
    inputs[0][used:] = torch.nan  # rows of no sequence are not read
    inputs[1][used:] = torch.nan
    into_output = fresh(layout.rows, value_heads, DIM)
    leaves = [part.clone().requires_grad_() for part in inputs]
    output = delta_rule(layout, *leaves)
    assert output.dtype == torch.float32
    assert (output[used:] == 0).all()
    gradients = torch.autograd.grad(output, leaves, into_output)

    exact = [part.double().requires_grad_() for part in inputs]
    starts = layout.starts.tolist()
    parts = [looped(exact[0][a:b], exact[1][a:b], *exact[2:]) for a, b in itertools.pairwise(starts)]
    expected = torch.cat(parts)
    assert_close(output[:used], expected, 1e-4)
    expected_gradients = torch.autograd.grad(expected, exact, into_output[:used].double())
    for index, (got, wanted) in enumerate(zip(gradients, expected_gradients, strict=True)):
        assert (got[used:] == 0).all() or index > 1
        rows = slice(used if index < 2 else None)
        # A head's own values are a sum over its tokens, of terms like the gates' gradients, which may nearly cancel.
        floor = 2e-5 * float(expected_gradients[1].norm()) if index > 2 else 0.0
        assert_close(got[rows], wanted[rows], rounding if index == 0 else 2e-5, floor)


@pytest.mark.skipif(compiler() is None, reason="there is no C++ compiler for the kernel")
def test_bfloat16_runs_in_the_compiled_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(DeltaRule, "apply", lambda *arguments: calls.append(arguments) or torch.zeros(1))
    delta_rule(Layout([2]), torch.zeros(512, 3 * DIM, dtype=torch.bfloat16), *(torch.zeros(1) for _ in range(4)))
    assert len(calls) == 1
