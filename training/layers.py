"""What the layers of Qwen 3.5 are made of, written for fast training of a very small model.

Parameter names and shapes are those of the released checkpoints, so that a state dict is the checkpoint. Products run
in the compute dtype (bfloat16 for training, which a CPU multiplies four times as fast); parameters, the residual stream
and everything that is summed over many tokens stay float32. What lies between the products is compiled, as free
functions so that all layers share one compilation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn


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
