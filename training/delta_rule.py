"""Convolution, normalisation and the gated delta rule: a compiled kernel for the CPU, plain PyTorch elsewhere."""

from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from training.layout import Layout
from training.native import call, native

HEAD_DIM, KEPT_EVERY = 64, 32  # fixed in the kernel
CHUNK = 32  # tokens that the portable form solves together


class DeltaRule(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, starts: Tensor, mixed: Tensor, gates: Tensor, kernel: Tensor, log_rate: Tensor, bias: Tensor
    ) -> Tensor:
        rows, channels = mixed.shape
        value_heads = log_rate.shape[0]
        sizes = (starts.shape[0] - 1, (channels // HEAD_DIM - value_heads) // 2, value_heads)
        inputs = [starts, mixed.contiguous(), gates.contiguous(), kernel.contiguous(), log_rate, bias]
        output, writes = (torch.empty(rows, value_heads, HEAD_DIM) for _ in range(2))
        output[int(starts[-1]) :] = 0.0
        chunks = int(((starts.diff() + KEPT_EVERY - 1) // KEPT_EVERY).sum())
        kept = torch.empty(chunks, value_heads, HEAD_DIM**2)
        call("delta_rule", "delta_forward", sizes, *inputs, output, writes, kept)
        context.save_for_backward(*inputs, writes, kept)
        context.sizes = sizes
        return output

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs = context.saved_tensors
        starts, mixed, gates, kernel, log_rate, bias, _, _ = inputs
        into_mixed, into_gates = torch.empty_like(mixed), torch.empty_like(gates)
        for empty in (into_mixed, into_gates):
            empty[int(starts[-1]) :] = 0.0
        into_kernel = torch.zeros(kernel.shape[1], kernel.shape[0])
        into_rate, into_bias = torch.zeros_like(log_rate), torch.zeros_like(bias)
        results = (into_mixed, into_gates, into_kernel, into_rate, into_bias)
        call("delta_rule", "delta_backward", context.sizes, *inputs, gradient.contiguous(), *results)
        return None, into_mixed, into_gates, into_kernel.t(), into_rate, into_bias


def portable_delta_rule(mixed: Tensor, gates: Tensor, kernel: Tensor, log_rate: Tensor, bias: Tensor) -> Tensor:
    """The same in plain operations, CHUNK tokens at a time, for devices that the kernel does not know.

    With G the cumulative log decay inside a chunk, D_ij = exp(G_i - G_j), and T the inverse of the unit lower
    triangular I + beta_i D_ij (k_i·k_j): U = T beta V and W = T beta exp(G) K, so that a chunk that starts from the
    state S writes U - W S (Yang and others, Gated Delta Networks, 2024).
    """
    batch, length, channels = mixed.shape
    value_heads, dim = log_rate.shape[0], HEAD_DIM
    key_heads = (channels // dim - value_heads) // 2
    groups, missing = value_heads // key_heads, -length % CHUNK
    mixed, gates = functional.pad(mixed, (0, 0, 0, missing)), functional.pad(gates, (0, 0, 0, 0, 0, missing))
    tokens, chunks = length + missing, (length + missing) // CHUNK
    padded = functional.pad(mixed.float(), (0, 0, kernel.shape[1] - 1, 0))
    summed = torch.stack([padded[:, i : i + tokens] * kernel[:, i] for i in range(kernel.shape[1])]).sum(0)
    width = key_heads * dim
    query, key, value = (
        part.view(batch, chunks, CHUNK, -1, dim).permute(1, 0, 3, 2, 4)
        for part in functional.silu(summed).split((width, width, value_heads * dim), dim=-1)
    )
    query = query * torch.rsqrt(query.square().sum(-1, keepdim=True) + 1e-6) * dim**-0.5
    key = key * torch.rsqrt(key.square().sum(-1, keepdim=True) + 1e-6)
    query, key = (part.repeat_interleave(groups, dim=2) for part in (query, key))
    both = gates.view(batch, chunks, CHUNK, 2, value_heads).permute(3, 1, 0, 4, 2)
    beta = both[0].sigmoid().unsqueeze(-1)
    total = (-log_rate.exp()[:, None] * functional.softplus(both[1] + bias[:, None])).cumsum(-1)
    causal = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=mixed.device).tril()
    pair = (total.unsqueeze(-1) - total.unsqueeze(-2)).masked_fill(~causal, float("-inf")).exp()
    grown = total.exp().unsqueeze(-1)
    system = key @ key.transpose(-1, -2) * pair * beta
    known = torch.cat((value, key * grown), dim=-1) * beta
    solved = torch.linalg.solve_triangular(system, known, upper=False, unitriangular=True)
    writes, erase = solved.split(dim, dim=-1)
    scores, query = query @ key.transpose(-1, -2) * pair, query * grown
    last = total[..., -1:].unsqueeze(-1)
    key = key * (last - total.unsqueeze(-1)).exp()
    state = torch.zeros(batch, value_heads, dim, dim, device=mixed.device)
    outputs = []
    for i in range(chunks):
        update = writes[i] - erase[i] @ state
        outputs.append(query[i] @ state + scores[i] @ update)
        state = last[i].exp() * state + key[i].transpose(-1, -2) @ update
    return torch.stack(outputs).permute(1, 0, 3, 2, 4).reshape(batch, tokens, value_heads, dim)[:, :length]


def delta_rule(layout: Layout, mixed: Tensor, gates: Tensor, kernel: Tensor, log_rate: Tensor, bias: Tensor) -> Tensor:
    """Short convolution, SiLU, normalised queries and keys, gated delta rule; every sequence from an empty state.

    mixed [rows, (2 * key_heads + value_heads) * 64] (queries, keys, values), gates float32 [rows, 2, value_heads]
    (beta's and the step's logits), kernel [channels, 4], log_rate and bias [value_heads] → float32 [rows, value_heads,
    64], zeros in rows of no sequence.
    """
    if native(mixed):
        output = DeltaRule.apply(layout.starts, mixed, gates, kernel, log_rate, bias)
        assert isinstance(output, Tensor)
        return output
    outputs = []
    for bucket in layout.buckets:
        output = portable_delta_rule(bucket.padded(mixed), bucket.padded(gates), kernel, log_rate, bias)
        outputs.append(output.flatten(0, 1))
    return layout.joined(outputs)
