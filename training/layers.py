"""The layers of Qwen 3.5, written for fast training of a very small model.

Parameter names and shapes are those of the released checkpoints, so that a state dict is the checkpoint. Products run in
the compute dtype (bfloat16 for training, which a CPU multiplies four times as fast); parameters, the residual stream
and everything that is summed over many tokens stay float32. What lies between the products is compiled, as free
functions so that all layers share one compilation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from training.delta_rule import delta_rule
from training.experts import routed_experts
from training.layout import Layout

SHORT = 256  # up to here attention is quicker as two plain products than as a fused kernel


@dataclass(frozen=True)
class TextShape:
    """Sizes of the text model, named as in the checkpoint's `text_config`."""

    vocab_size: int = 2048
    hidden_size: int = 256
    num_hidden_layers: int = 8
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 64
    linear_num_key_heads: int = 2
    linear_num_value_heads: int = 4
    linear_head_dim: int = 64
    linear_conv_kernel_dim: int = 4
    num_experts: int = 16
    num_experts_per_tok: int = 4
    moe_intermediate_size: int = 64
    shared_expert_intermediate_size: int = 64
    rope_theta: float = 10000.0
    partial_rotary_factor: float = 0.25
    mrope_section: tuple[int, int, int] = (3, 3, 2)
    rms_norm_eps: float = 1e-6

    @property
    def rotary_dim(self) -> int:
        return int(self.head_dim * self.partial_rotary_factor)


class Compiled:
    """A function that is compiled when it is first called, unless compiling was switched off for the process."""

    enabled = True

    def __init__(self, function: Callable[..., Tensor | tuple[Tensor, ...]]) -> None:
        self.function = function
        self.compiled: Callable[..., Tensor | tuple[Tensor, ...]] | None = None

    def __call__(self, *arguments: object) -> "Tensor | tuple[Tensor, ...]":
        if not Compiled.enabled:
            return self.function(*arguments)
        if self.compiled is None:
            self.compiled = torch.compile(self.function, dynamic=True)
        return self.compiled(*arguments)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias` in the dtype of x, with the float32 parameters cast to it."""
    return functional.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm in float32, whose weight is stored minus one."""
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * (1.0 + weight)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of the first `cos.shape[-1]` dims of x, halves paired (first half with second half)."""
    width = cos.shape[-1]
    first, second = x[..., : width // 2], x[..., width // 2 : width]
    rotated = torch.cat((-second, first), dim=-1)
    return torch.cat((x[..., :width] * cos + rotated * sin, x[..., width:]), dim=-1)


def mrope(positions: Tensor, shape: TextShape) -> tuple[Tensor, Tensor]:
    """cos and sin [rows, 1, rotary_dim] of positions [3, rows] (time, height, width).

    The axes take turns over the frequencies, as `mrope_section` says.
    """
    half = shape.rotary_dim // 2
    frequencies = shape.rope_theta ** (-torch.arange(half, dtype=torch.float32, device=positions.device) / half)
    axis = torch.zeros(half, dtype=torch.long, device=positions.device)
    for which in (1, 2):
        axis[which : 3 * shape.mrope_section[which] : 3] = which
    angles = positions.t().float()[..., axis] * frequencies
    angles = torch.cat((angles, angles), dim=-1).unsqueeze(1)
    return angles.cos(), angles.sin()


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


class Weight(nn.Module):
    """A module that holds nothing but `weight`, so that names come out as in the checkpoint."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(*shape))


def delta_inputs(x: Tensor, qkv: Tensor, step: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    """Queries, keys and values together, and the gates' logits float32 [rows, 2, value_heads]."""
    return linear(x, qkv), torch.stack((linear(x, step), linear(x, rate)), dim=1).float()


def gated_output(x: Tensor, output: Tensor, gate: Tensor, norm: Tensor, project: Tensor, eps: float) -> Tensor:
    """Per-head RMSNorm (weight as it is), SiLU gate and output projection; output [rows, heads, dim]."""
    output = output * torch.rsqrt(output.square().mean(-1, keepdim=True) + eps) * norm
    gated = output.flatten(1) * functional.silu(linear(x, gate).float())
    return linear(gated.to(x.dtype), project)


compiled_norm = Compiled(lambda x, weight, eps, dtype: rms_norm(x, weight, eps).to(dtype))
compiled_inputs = Compiled(delta_inputs)
compiled_output = Compiled(gated_output)


class GatedDeltaNet(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.shape = shape
        key_width = shape.linear_num_key_heads * shape.linear_head_dim
        value_width = shape.linear_num_value_heads * shape.linear_head_dim
        self.in_proj_qkv = Weight(2 * key_width + value_width, shape.hidden_size)
        self.in_proj_z = Weight(value_width, shape.hidden_size)
        self.in_proj_b = Weight(shape.linear_num_value_heads, shape.hidden_size)
        self.in_proj_a = Weight(shape.linear_num_value_heads, shape.hidden_size)
        self.conv1d = Weight(2 * key_width + value_width, 1, shape.linear_conv_kernel_dim)
        self.A_log = nn.Parameter(torch.empty(shape.linear_num_value_heads))
        self.dt_bias = nn.Parameter(torch.empty(shape.linear_num_value_heads))
        self.norm = Weight(shape.linear_head_dim)
        self.out_proj = Weight(shape.hidden_size, value_width)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """x [rows, hidden] in the compute dtype, sequences from the empty state → same shape."""
        mixed, gates = compiled_inputs(x, self.in_proj_qkv.weight, self.in_proj_b.weight, self.in_proj_a.weight)
        output = delta_rule(layout, mixed, gates, self.conv1d.weight[:, 0], self.A_log, self.dt_bias)
        output = compiled_output(
            x, output, self.in_proj_z.weight, self.norm.weight, self.out_proj.weight, self.shape.rms_norm_eps
        )
        assert isinstance(output, Tensor)
        return output


def attention_inputs(
    x: Tensor,
    project_query: Tensor,
    project_key: Tensor,
    project_value: Tensor,
    query_norm: Tensor,
    key_norm: Tensor,
    cos: Tensor,
    sin: Tensor,
    eps: float,
) -> tuple[Tensor, ...]:
    """x [rows, hidden] → query (scaled), key, value [rows, heads, head_dim] and the query heads' gate [rows, width]."""
    dim = query_norm.shape[0]
    query, gate = linear(x, project_query).view(x.shape[0], -1, 2 * dim).chunk(2, dim=-1)
    key = linear(x, project_key).view(x.shape[0], -1, dim)
    query = (rotate(rms_norm(query, query_norm, eps), cos, sin) * dim**-0.5).to(x.dtype)
    key = rotate(rms_norm(key, key_norm, eps), cos, sin).to(x.dtype)
    return query, key, linear(x, project_value).view(x.shape[0], -1, dim), gate.flatten(1)


def short_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention by two plain products, [batch, tokens, heads, head_dim]. Query heads of a group share its keys."""
    batch, tokens, heads, dim = query.shape
    groups = heads // key.shape[2]
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    scores = (query.reshape(batch, -1, groups * tokens, dim) @ key.transpose(-1, -2)).float()
    causal = torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).tril()
    scores = scores.view(batch, -1, groups, tokens, tokens).masked_fill(~causal, float("-inf"))
    shares = scores.softmax(-1).to(query.dtype).view(batch, -1, groups * tokens, tokens)
    return (shares @ value).view(batch, heads, tokens, dim).transpose(1, 2)


def attention_output(mixed: Tensor, gate: Tensor, project: Tensor) -> Tensor:
    """Sigmoid gate and output projection of mixed [rows, heads, head_dim]."""
    return linear((mixed.flatten(1).float() * gate.float().sigmoid()).to(gate.dtype), project)


compiled_attention_inputs = Compiled(attention_inputs)
compiled_short_attention = Compiled(short_attention)
compiled_attention_output = Compiled(attention_output)


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

    def forward(self, x: Tensor, layout: Layout, cos: Tensor, sin: Tensor) -> Tensor:
        """x [rows, hidden] in the compute dtype → same shape; causal, no cache."""
        query, key, value, gate = compiled_attention_inputs(
            x,
            self.q_proj.weight,
            self.k_proj.weight,
            self.v_proj.weight,
            self.q_norm.weight,
            self.k_norm.weight,
            cos,
            sin,
            self.shape.rms_norm_eps,
        )
        heads = torch.cat((query, key, value), dim=1)
        widths = (query.shape[1], key.shape[1], value.shape[1])
        mixed = []
        for bucket in layout.buckets:
            parts = bucket.padded(heads).split(widths, dim=2)
            if bucket.tokens <= SHORT and not x.is_cuda:
                part = compiled_short_attention(*parts)
            else:
                parts = tuple(part.transpose(1, 2) for part in parts)
                part = functional.scaled_dot_product_attention(*parts, is_causal=True, scale=1.0, enable_gqa=True)
                part = part.transpose(1, 2)
            assert isinstance(part, Tensor)
            mixed.append(part.flatten(0, 1))
        output = compiled_attention_output(layout.joined(mixed), gate, self.o_proj.weight)
        assert isinstance(output, Tensor)
        return output


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
    """x [rows, hidden] float32 → its norm in `dtype`, the shared expert's output, expert weights and ids [rows, chosen], balance."""
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
        """x [rows, hidden] float32, normed with `norm` → x plus the block's output, and the balance loss (1 when even)."""
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

    def forward(
        self, x: Tensor, layout: Layout, cos: Tensor, sin: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """x [rows, hidden] float32 → the same, and the load-balancing loss."""
        normed = compiled_norm(x, self.input_layernorm.weight, self.input_layernorm.eps, dtype)
        assert isinstance(normed, Tensor)
        mixer = self.self_attn(normed, layout, cos, sin) if self.full_attention else self.linear_attn(normed, layout)
        x = x + mixer
        result: tuple[Tensor, Tensor] = self.mlp(x, self.post_attention_layernorm.weight, dtype)
        return result
