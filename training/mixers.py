"""The two ways in which tokens of a sequence learn of one another: gated delta rule and gated attention."""

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from training.delta_rule import delta_rule
from training.layers import Compiled, RMSNorm, TextShape, Weight, linear, rms_norm, rotate
from training.layout import Layout

SHORT = 256  # up to here attention is quicker as two plain products than as a fused kernel


def delta_inputs(x: Tensor, qkv: Tensor, step: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    """Queries, keys and values together, and the gates' logits float32 [rows, 2, value_heads]."""
    return linear(x, qkv), torch.stack((linear(x, step), linear(x, rate)), dim=1).float()


def gated_output(x: Tensor, output: Tensor, gate: Tensor, norm: Tensor, project: Tensor, eps: float) -> Tensor:
    """Per-head RMSNorm (weight as it is), SiLU gate and output projection; output [rows, heads, dim]."""
    output = output * torch.rsqrt(output.square().mean(-1, keepdim=True) + eps) * norm
    gated = output.flatten(1) * functional.silu(linear(x, gate).float())
    return linear(gated.to(x.dtype), project)


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
        read = delta_rule(layout, mixed, gates, self.conv1d.weight[:, 0], self.A_log, self.dt_bias)
        output = compiled_output(
            x, read, self.in_proj_z.weight, self.norm.weight, self.out_proj.weight, self.shape.rms_norm_eps
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
    """Causal attention by two plain products, [batch, tokens, heads, head_dim]; a group's heads share its keys."""
    batch, tokens, heads, dim = query.shape
    groups = heads // key.shape[2]
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    scores = (query.reshape(batch, -1, groups * tokens, dim) @ key.transpose(-1, -2)).float()
    causal = torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).tril()
    scores = scores.view(batch, -1, groups, tokens, tokens).masked_fill(~causal, float("-inf"))
    shares = scores.softmax(-1).to(query.dtype).view(batch, -1, groups * tokens, tokens)
    return (shares @ value).view(batch, heads, tokens, dim).transpose(1, 2)


def long_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The same by PyTorch's fused kernel."""
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=1.0, enable_gqa=True)
    return mixed.transpose(1, 2)


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
            short = bucket.tokens <= SHORT and not x.is_cuda
            seen = compiled_short_attention(*parts) if short else long_attention(*parts)
            assert isinstance(seen, Tensor)
            mixed.append(seen.flatten(0, 1))
        output = compiled_attention_output(layout.joined(mixed), gate, self.o_proj.weight)
        assert isinstance(output, Tensor)
        return output
