"""The layers of Qwen 3.5, written for fast training of a very small model on short sequences.

Parameter names and shapes are those of the released checkpoints, so that a state dict is the checkpoint. Two exact
shortcuts make it quick on a CPU: every expert is computed for every token as one wide product (cheap when experts are
tiny), and the gated delta rule solves one triangular system over the whole sequence (sequences start from an empty
state and stay under a few hundred tokens). Products run in the dtype of their input (bfloat16 for training);
parameters and the residual stream stay float32.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn


@dataclass(frozen=True)
class TextShape:
    """Sizes of the text model, named as in the checkpoint's `text_config`."""

    vocab_size: int = 1024
    hidden_size: int = 256
    num_hidden_layers: int = 8
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 64
    linear_num_key_heads: int = 2
    linear_num_value_heads: int = 4
    linear_head_dim: int = 32
    linear_conv_kernel_dim: int = 4
    num_experts: int = 16
    num_experts_per_tok: int = 2
    moe_intermediate_size: int = 32
    shared_expert_intermediate_size: int = 64
    rope_theta: float = 10000.0
    partial_rotary_factor: float = 0.25
    mrope_section: tuple[int, int, int] = (3, 3, 2)
    rms_norm_eps: float = 1e-6

    @property
    def rotary_dim(self) -> int:
        return int(self.head_dim * self.partial_rotary_factor)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias` in the dtype of x, with the float32 parameters cast to it."""
    return functional.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of the first `cos.shape[-1]` dims of x, halves paired (first half with second half)."""
    width = cos.shape[-1]
    first, second = x[..., : width // 2], x[..., width // 2 : width]
    rotated = torch.cat((-second, first), dim=-1)
    return torch.cat((x[..., :width] * cos + rotated * sin, x[..., width:]), dim=-1)


def mrope(positions: Tensor, shape: TextShape) -> tuple[Tensor, Tensor]:
    """cos and sin [batch, tokens, 1, rotary_dim] of positions [3, batch, tokens] (time, height, width).

    The axes take turns over the frequencies, as `mrope_section` says.
    """
    half = shape.rotary_dim // 2
    frequencies = shape.rope_theta ** (-torch.arange(half, dtype=torch.float32) / half)
    axis = torch.zeros(half, dtype=torch.long)
    for which in (1, 2):
        axis[which : 3 * shape.mrope_section[which] : 3] = which
    angles = positions.permute(1, 2, 0).float()[..., axis] * frequencies
    angles = torch.cat((angles, angles), dim=-1).unsqueeze(2)
    return angles.cos(), angles.sin()


class RMSNorm(nn.Module):
    """RMSNorm whose weight is stored minus one. Computed in float32, returned in `dtype`."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))
        self.eps = eps

    def forward(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return functional.rms_norm(x.float(), self.weight.shape, 1.0 + self.weight, self.eps).to(dtype)


class Weight(nn.Module):
    """A module that holds nothing but `weight`, so that names come out as in the checkpoint."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(*shape))


class GatedDeltaNet(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.shape = shape
        key_width = shape.linear_num_key_heads * shape.linear_head_dim
        value_width = shape.linear_num_value_heads * shape.linear_head_dim
        self.widths = (key_width, key_width, value_width)
        self.in_proj_qkv = Weight(2 * key_width + value_width, shape.hidden_size)
        self.in_proj_z = Weight(value_width, shape.hidden_size)
        self.in_proj_b = Weight(shape.linear_num_value_heads, shape.hidden_size)
        self.in_proj_a = Weight(shape.linear_num_value_heads, shape.hidden_size)
        self.conv1d = Weight(2 * key_width + value_width, 1, shape.linear_conv_kernel_dim)
        self.A_log = nn.Parameter(torch.empty(shape.linear_num_value_heads))
        self.dt_bias = nn.Parameter(torch.empty(shape.linear_num_value_heads))
        self.norm = Weight(shape.linear_head_dim)
        self.out_proj = Weight(shape.hidden_size, value_width)

    def forward(self, x: Tensor) -> Tensor:
        """x [batch, tokens, hidden], sequences from the empty state → same shape."""
        batch, tokens, _ = x.shape
        shape = self.shape
        mixed = linear(x, self.in_proj_qkv.weight)
        kernel = self.conv1d.weight.to(x.dtype)
        padded = functional.pad(mixed, (0, 0, kernel.shape[-1] - 1, 0))
        mixed = torch.stack([padded[:, i : i + tokens] * kernel[:, 0, i] for i in range(kernel.shape[-1])]).sum(0)
        query, key, value = functional.silu(mixed).float().split(self.widths, dim=-1)
        query, key, value = (
            part.view(batch, tokens, -1, shape.linear_head_dim).transpose(1, 2) for part in (query, key, value)
        )
        query = query * torch.rsqrt(query.square().sum(-1, keepdim=True) + 1e-6) * shape.linear_head_dim**-0.5
        key = key * torch.rsqrt(key.square().sum(-1, keepdim=True) + 1e-6)
        beta = linear(x, self.in_proj_b.weight).float().sigmoid().transpose(1, 2)
        steps = functional.softplus(linear(x, self.in_proj_a.weight).float() + self.dt_bias)
        log_decay = (-self.A_log.exp() * steps).transpose(1, 2).cumsum(-1)
        output = delta_rule(query, key, value, log_decay, beta)
        output = functional.rms_norm(
            output.transpose(1, 2), (shape.linear_head_dim,), self.norm.weight, shape.rms_norm_eps
        )
        gate = functional.silu(linear(x, self.in_proj_z.weight))
        return linear(output.reshape(batch, tokens, -1).to(x.dtype) * gate, self.out_proj.weight)


def delta_rule(query: Tensor, key: Tensor, value: Tensor, log_decay: Tensor, beta: Tensor) -> Tensor:
    """The gated delta rule from an empty state, in closed form.

    query, key [batch, key_heads, tokens, d], value [batch, value_heads, tokens, d], cumulative log decay G and beta
    [batch, value_heads, tokens]. With D_ij = exp(G_i - G_j) for j ≤ i, the writes u solve
    u_i + beta_i Σ_{j<i} D_ij (k_i·k_j) u_j = beta_i v_i, and o_i = Σ_{j≤i} D_ij (q_i·k_j) u_j.
    """
    tokens = key.shape[2]
    groups = value.shape[1] // key.shape[1]
    causal = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    difference = log_decay.unsqueeze(-1) - log_decay.unsqueeze(-2)
    decay = difference.masked_fill(~causal, float("-inf")).exp()
    overlap = (key @ key.transpose(-1, -2)).repeat_interleave(groups, dim=1)
    system = overlap * decay * beta.unsqueeze(-1)
    writes = torch.linalg.solve_triangular(system, value * beta.unsqueeze(-1), upper=False, unitriangular=True)
    scores = (query @ key.transpose(-1, -2)).repeat_interleave(groups, dim=1) * decay
    return scores @ writes


class GatedAttention(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.shape = shape
        query_width = shape.num_attention_heads * shape.head_dim
        key_width = shape.num_key_value_heads * shape.head_dim
        self.q_proj = Weight(2 * query_width, shape.hidden_size)
        self.k_proj = Weight(key_width, shape.hidden_size)
        self.v_proj = Weight(key_width, shape.hidden_size)
        self.o_proj = Weight(shape.hidden_size, query_width)
        self.q_norm = RMSNorm(shape.head_dim, shape.rms_norm_eps)
        self.k_norm = RMSNorm(shape.head_dim, shape.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x [batch, tokens, hidden] → same shape; causal, no cache."""
        batch, tokens, _ = x.shape
        head_dim = self.shape.head_dim
        query, gate = linear(x, self.q_proj.weight).view(batch, tokens, -1, 2 * head_dim).chunk(2, dim=-1)
        key = linear(x, self.k_proj.weight).view(batch, tokens, -1, head_dim)
        value = linear(x, self.v_proj.weight).view(batch, tokens, -1, head_dim)
        query = rotate(self.q_norm(query, torch.float32), cos, sin).to(x.dtype)
        key = rotate(self.k_norm(key, torch.float32), cos, sin).to(x.dtype)
        output = functional.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), is_causal=True, enable_gqa=True
        )
        output = output.transpose(1, 2).reshape(batch, tokens, -1) * gate.reshape(batch, tokens, -1).sigmoid()
        return linear(output, self.o_proj.weight)


class SharedExpert(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.gate_proj = Weight(shape.shared_expert_intermediate_size, shape.hidden_size)
        self.up_proj = Weight(shape.shared_expert_intermediate_size, shape.hidden_size)
        self.down_proj = Weight(shape.hidden_size, shape.shared_expert_intermediate_size)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.silu(linear(x, self.gate_proj.weight)) * linear(x, self.up_proj.weight)
        return linear(hidden, self.down_proj.weight)


class Experts(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        experts, width, hidden = shape.num_experts, shape.moe_intermediate_size, shape.hidden_size
        self.gate_up_proj = nn.Parameter(torch.empty(experts, 2 * width, hidden))
        self.down_proj = nn.Parameter(torch.empty(experts, hidden, width))

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """x [rows, hidden], weights [rows, experts] with zeros for those not chosen → [rows, hidden]."""
        experts, hidden, width = self.down_proj.shape
        both = linear(x, self.gate_up_proj.reshape(-1, hidden)).view(-1, experts, 2, width)
        inner = functional.silu(both[:, :, 0]) * both[:, :, 1] * weights.unsqueeze(-1)
        return linear(inner.reshape(-1, experts * width), self.down_proj.transpose(0, 1).reshape(hidden, -1))


class MixtureOfExperts(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.shape = shape
        self.gate = Weight(shape.num_experts, shape.hidden_size)
        self.experts = Experts(shape)
        self.shared_expert = SharedExpert(shape)
        self.shared_expert_gate = Weight(1, shape.hidden_size)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [batch, tokens, hidden] → the block's output and the load-balancing loss (1 when the load is even)."""
        rows = x.reshape(-1, x.shape[-1])
        probabilities = linear(rows, self.gate.weight).float().softmax(-1)
        top, chosen = probabilities.topk(self.shape.num_experts_per_tok, dim=-1)
        weights = torch.zeros_like(probabilities).scatter(1, chosen, top / top.sum(-1, keepdim=True))
        share = (weights > 0).float().mean(0) / self.shape.num_experts_per_tok
        balance = self.shape.num_experts * (share * probabilities.mean(0)).sum()
        shared = linear(rows, self.shared_expert_gate.weight).sigmoid() * self.shared_expert(rows)
        return (self.experts(rows, weights.to(x.dtype)) + shared).view_as(x), balance


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

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """x [batch, tokens, hidden] float32 → the same, and the load-balancing loss."""
        normed = self.input_layernorm(x, dtype)
        x = x + (self.self_attn(normed, cos, sin) if self.full_attention else self.linear_attn(normed))
        output, balance = self.mlp(self.post_attention_layernorm(x, dtype))
        return x + output, balance
