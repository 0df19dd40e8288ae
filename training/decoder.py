"""A decoder layer: delta rule or attention, then the mixture of experts."""

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from training.experts import routed_experts
from training.layers import Compiled, RMSNorm, TextShape, Weight, linear, rms_norm
from training.layout import Layout
from training.mixers import GatedAttention, GatedDeltaNet


class SharedExpert(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.gate_proj = Weight(shape.shared_expert_intermediate_size, shape.hidden_size)
        self.up_proj = Weight(shape.shared_expert_intermediate_size, shape.hidden_size)
        self.down_proj = Weight(shape.hidden_size, shape.shared_expert_intermediate_size)


class Experts(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        experts, width, hidden = shape.num_experts, shape.moe_intermediate_size, shape.hidden_size
        self.gate_up_proj = nn.Parameter(torch.empty(experts, 2 * width, hidden))
        self.down_proj = nn.Parameter(torch.empty(experts, hidden, width))


def shared_and_routes(
    x: Tensor,
    norm: Tensor,
    router: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
    shared_gate: Tensor,
    chosen_count: int,
    eps: float,
    dtype: torch.dtype,
) -> tuple[Tensor, ...]:
    """x [rows, hidden] float32 → its norm in `dtype`, the shared expert's output, the chosen experts' weights and ids
    [rows, chosen], balance."""
    rows = rms_norm(x, norm, eps).to(dtype)
    probabilities = linear(rows, router).float().softmax(-1)
    top, chosen = probabilities.topk(chosen_count, dim=-1)
    experts = router.shape[0]
    share = functional.one_hot(chosen, experts).sum(1).float().mean(0) / chosen_count
    balance = experts * (share * probabilities.mean(0)).sum()
    inner = functional.silu(linear(rows, gate).float()) * linear(rows, up).float()
    shared = linear(inner.to(dtype), down) * linear(rows, shared_gate).float().sigmoid()
    return rows, shared, top / top.sum(-1, keepdim=True), chosen, balance


compiled_shared_and_routes = Compiled(shared_and_routes)


class MixtureOfExperts(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.shape = shape
        self.gate = Weight(shape.num_experts, shape.hidden_size)
        self.experts = Experts(shape)
        self.shared_expert = SharedExpert(shape)
        self.shared_expert_gate = Weight(1, shape.hidden_size)

    def forward(self, x: Tensor, norm: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """x [rows, hidden] float32, normed with `norm` → x plus the block's output, and the balance loss (1: even)."""
        rows, shared, weights, chosen, balance = compiled_shared_and_routes(
            x,
            norm,
            self.gate.weight,
            self.shared_expert.gate_proj.weight,
            self.shared_expert.up_proj.weight,
            self.shared_expert.down_proj.weight,
            self.shared_expert_gate.weight,
            self.shape.num_experts_per_tok,
            self.shape.rms_norm_eps,
            dtype,
        )
        routed = routed_experts(rows, weights, chosen, self.experts.gate_up_proj, self.experts.down_proj)
        return x + routed + shared, balance


compiled_norm = Compiled(lambda x, weight, eps, dtype: rms_norm(x, weight, eps).to(dtype))


class DecoderLayer(nn.Module):
    def __init__(self, shape: TextShape, full_attention: bool) -> None:
        super().__init__()
        if full_attention:
            self.self_attn = GatedAttention(shape)
        else:
            self.linear_attn = GatedDeltaNet(shape)
        self.full_attention = full_attention
        self.mlp = MixtureOfExperts(shape)
        self.input_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)

    def forward(self, x: Tensor, layout: Layout, cos: Tensor, sin: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """x [rows, hidden] float32 → the same, and the load-balancing loss."""
        normed = compiled_norm(x, self.input_layernorm.weight, self.input_layernorm.eps, dtype)
        assert isinstance(normed, Tensor)
        mixer = self.self_attn(normed, layout, cos, sin) if self.full_attention else self.linear_attn(normed, layout)
        x = x + mixer
        result: tuple[Tensor, Tensor] = self.mlp(x, self.post_attention_layernorm.weight, dtype)
        return result
