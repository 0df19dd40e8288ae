"""The routed experts: each computes only the tokens that chose it, forwards and backwards."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor

from training.layout import gathered
from training.native import call, native

BLOCK = 64  # each expert's rows are filled up to a multiple: matrix libraries prepare a kernel for every size they meet


class Routes(NamedTuple):
    """Rows sorted by expert: which (token, pick) each is (fillers are the first one, with weight 0), where each
    (token, pick) went, and the rows of every expert that has some."""

    order: Tensor
    back: Tensor
    weights: Tensor
    parts: list[tuple[int, slice]]


def sort_routes(chosen: Tensor, weights: Tensor, experts: int) -> Routes:
    """chosen and weights [n, k]."""
    flat = chosen.flatten()
    picked = flat.argsort(stable=True)
    counts = torch.bincount(flat, minlength=experts)
    filled = (counts + BLOCK - 1) // BLOCK * BLOCK
    ends = filled.cumsum(0)
    shift = (ends - filled) - (counts.cumsum(0) - counts)
    places = torch.arange(flat.shape[0], device=flat.device) + shift[flat[picked]]
    stops: list[int] = ends.tolist()
    order = picked.new_zeros(stops[-1])
    order[places] = picked
    back = torch.empty_like(picked)
    back[picked] = places
    sorted_weights = weights.new_zeros(stops[-1])
    sorted_weights[places] = weights.flatten()[picked]
    starts = [0, *stops[:-1]]
    parts = [(e, slice(a, b)) for e, (a, b) in enumerate(zip(starts, stops, strict=True)) if b > a]
    return Routes(order, back, sorted_weights, parts)


class RoutedExperts(torch.autograd.Function):
    """Gate, up, SiLU, down and the weighted sum; rows are sorted by expert, with one product per expert and matrix."""

    @staticmethod
    def forward(context: Any, x: Tensor, weights: Tensor, chosen: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        """x [n, hidden] in the compute dtype, weights (float32) and chosen experts [n, k], gate_up [experts, 2 * width,
        hidden], down [experts, hidden, width] → float32 [n, hidden]."""
        order, back, sorted_weights, parts = sort_routes(chosen, weights, gate_up.shape[0])
        gate_up, down = gate_up.to(x.dtype), down.to(x.dtype)
        rows = gathered(x, order, chosen.shape[1])
        both = rows.new_empty(rows.shape[0], gate_up.shape[1])
        for expert, part in parts:
            torch.mm(rows[part], gate_up[expert].t(), out=both[part])
        weighted = activated(both, sorted_weights)
        output = torch.empty_like(rows)
        for expert, part in parts:
            torch.mm(weighted[part], down[expert].t(), out=output[part])
        context.save_for_backward(rows, sorted_weights, gate_up, down, both, order, back)
        context.parts, context.picks = parts, chosen.shape[1]
        return gathered_sum(output, back, chosen.shape[1])

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, weights, gate_up, down, both, order, back = context.saved_tensors
        gradient = gathered(gradient.to(rows.dtype), order, context.picks)
        into_weighted = rows.new_empty(rows.shape[0], down.shape[2])
        for expert, part in context.parts:
            torch.mm(gradient[part], down[expert], out=into_weighted[part])
        weighted, into_both, into_weights = activation_gradients(both, weights, into_weighted)
        into_down, into_gate_up, into_rows = torch.zeros_like(down), torch.zeros_like(gate_up), torch.empty_like(rows)
        for expert, part in context.parts:
            torch.mm(gradient[part].t(), weighted[part], out=into_down[expert])
            torch.mm(into_both[part], gate_up[expert], out=into_rows[part])
            torch.mm(into_both[part].t(), rows[part], out=into_gate_up[expert])
        return (
            gathered_sum(into_rows, back, context.picks).to(rows.dtype),
            into_weights[back].view(-1, context.picks),
            None,
            into_gate_up.float(),
            into_down.float(),
        )


def gathered_sum(x: Tensor, back: Tensor, picks: int) -> Tensor:
    """The sum of the rows back[i * picks + j] of x over j, float32, for every i."""
    if not native(x):
        return x.index_select(0, back).view(-1, picks, x.shape[1]).sum(1, dtype=torch.float32)
    result = torch.empty(back.shape[0] // picks, x.shape[1])
    call("experts", "gather_sum", (result.shape[0], x.shape[1], picks), back, x, result)
    return result


def activated(both: Tensor, weights: Tensor) -> Tensor:
    """silu(gate) * up * weight of both [rows, 2 * width], gate first."""
    width = both.shape[1] // 2
    if not native(both):
        return functional.silu(both[:, :width]) * both[:, width:] * weights.unsqueeze(1).to(both.dtype)
    result = both.new_empty(both.shape[0], width)
    call("experts", "activate", (both.shape[0], width), both, weights, result)
    return result


def activation_gradients(both: Tensor, weights: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`activated` once more, and the gradients of both and of the weights from that of its result."""
    width = both.shape[1] // 2
    if not native(both):
        with torch.enable_grad():
            leaves = [both.detach().requires_grad_(), weights.detach().requires_grad_()]
            result = activated(*leaves)
            into_both, into_weights = torch.autograd.grad(result, leaves, gradient)
            return result.detach(), into_both, into_weights
    result, into_both, into_weights = torch.empty_like(gradient), torch.empty_like(both), torch.empty_like(weights)
    sizes = (both.shape[0], width)
    call("experts", "activate_back", sizes, both, weights, gradient, result, into_both, into_weights)
    return result, into_both, into_weights


def routed_experts(x: Tensor, weights: Tensor, chosen: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """The experts' weighted sum, float32; arguments as in `RoutedExperts.forward`."""
    output = RoutedExperts.apply(x, weights, chosen, gate_up, down)
    assert isinstance(output, Tensor)
    return output
