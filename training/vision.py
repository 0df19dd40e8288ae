"""The vision tower of Qwen 3.5, for pictures and videos of one size at a time."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from training.layers import Compiled, linear, rotate

PATCH, MERGE, TEMPORAL = 16, 2, 2
PICTURES = 4  # of one size are filled up to a multiple, as flat tokens are


@dataclass(frozen=True)
class VisionShape:
    """Sizes of the vision tower, named as in the checkpoint's `vision_config`."""

    depth: int = 4
    hidden_size: int = 160
    intermediate_size: int = 384
    num_heads: int = 5
    num_position_embeddings: int = 64
    out_hidden_size: int = 256


def patches(frames: np.ndarray) -> np.ndarray:
    """Patch vectors float32 [patches, 3 * frames * 16 * 16] of RGB uint8 [frames, height, width, 3].

    Scaled to -1…1, order (channel, frame, row, column), patches in 2×2 merge blocks. A picture is given as one frame,
    for which the tower adds up what it learned for the two frames of a video's patch.
    """
    count, height, width = frames.shape[0], frames.shape[1] // PATCH, frames.shape[2] // PATCH
    scaled = frames.astype(np.float32) / 127.5 - 1.0
    blocks = scaled.reshape(count, height // MERGE, MERGE, PATCH, width // MERGE, MERGE, PATCH, 3)
    return blocks.transpose(1, 4, 2, 5, 7, 0, 3, 6).reshape(height * width, -1)


def merge_order(grid: Tensor) -> Tensor:
    """[height, width, …] in raster order → [height * width, …] in 2×2 merge blocks."""
    height, width = grid.shape[:2]
    blocks = grid.reshape(height // MERGE, MERGE, width // MERGE, MERGE, *grid.shape[2:]).transpose(1, 2)
    return blocks.reshape(height * width, *grid.shape[2:])


class PatchEmbed(nn.Module):
    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, shape.hidden_size, (TEMPORAL, PATCH, PATCH), (TEMPORAL, PATCH, PATCH))

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels [pictures, patches, 768 or 1536] in the compute dtype → float32 [pictures, patches, size]."""
        weight = self.proj.weight
        if pixels.shape[-1] * TEMPORAL == weight[0].numel():
            weight = weight.sum(2)
        return linear(pixels, weight.flatten(1), self.proj.bias).float()


def vision_block(x: Tensor, cos: Tensor, sin: Tensor, heads: int, dtype: torch.dtype, *parameters: Tensor) -> Tensor:
    """Attention of every patch to all of its picture, then the feed-forward: x float32 [pictures, patches, size]."""
    norm1, bias1, norm2, bias2, qkv, qkv_bias, project, project_bias, up, up_bias, down, down_bias = parameters
    count, length, width = x.shape
    normed = functional.layer_norm(x, (width,), norm1, bias1, 1e-6).to(dtype)
    joined = linear(normed, qkv, qkv_bias).view(count, length, 3, heads, -1)
    query, key = (rotate(joined[:, :, part].float(), cos, sin) for part in (0, 1))
    query = (query * query.shape[-1] ** -0.5).to(dtype).transpose(1, 2)
    scores = query @ key.to(dtype).permute(0, 2, 3, 1)
    mixed = scores.float().softmax(-1).to(dtype) @ joined[:, :, 2].transpose(1, 2)
    x = x + linear(mixed.transpose(1, 2).reshape(count, length, width), project, project_bias)
    normed = functional.layer_norm(x, (width,), norm2, bias2, 1e-6).to(dtype)
    inner = functional.gelu(linear(normed, up, up_bias).float(), approximate="tanh").to(dtype)
    return x + linear(inner, down, down_bias)


compiled_block = Compiled(vision_block)


class Attention(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(size, 3 * size)
        self.proj = nn.Linear(size, size)


class FeedForward(nn.Module):
    def __init__(self, size: int, intermediate_size: int) -> None:
        super().__init__()
        self.linear_fc1 = nn.Linear(size, intermediate_size)
        self.linear_fc2 = nn.Linear(intermediate_size, size)


class Block(nn.Module):
    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.heads = shape.num_heads
        self.norm1 = nn.LayerNorm(shape.hidden_size, eps=1e-6)
        self.norm2 = nn.LayerNorm(shape.hidden_size, eps=1e-6)
        self.attn = Attention(shape.hidden_size)
        self.mlp = FeedForward(shape.hidden_size, shape.intermediate_size)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, dtype: torch.dtype) -> Tensor:
        layers = (self.norm1, self.norm2, self.attn.qkv, self.attn.proj, self.mlp.linear_fc1, self.mlp.linear_fc2)
        parameters = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
        result = compiled_block(x, cos, sin, self.heads, dtype, *parameters)
        assert isinstance(result, Tensor)
        return result


class Merger(nn.Module):
    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        merged = shape.hidden_size * MERGE**2
        self.norm = nn.LayerNorm(shape.hidden_size, eps=1e-6)
        self.linear_fc1 = nn.Linear(merged, merged)
        self.linear_fc2 = nn.Linear(merged, shape.out_hidden_size)

    def forward(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        merged = self.norm(x).to(dtype).reshape(x.shape[0], x.shape[1] // MERGE**2, -1)
        hidden = functional.gelu(linear(merged, self.linear_fc1.weight, self.linear_fc1.bias))
        return linear(hidden, self.linear_fc2.weight, self.linear_fc2.bias)


class VisionTower(nn.Module):
    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.shape = shape
        self.patch_embed = PatchEmbed(shape)
        self.pos_embed = nn.Embedding(shape.num_position_embeddings, shape.hidden_size)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.merger = Merger(shape)

    def forward(self, pixels: Tensor, height: int, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """pixels [pictures, patches, 768 or 1536] of a height × width patch grid → the tokens [pictures, patches / 4,
        out], and the patches before they are merged, float32 [pictures, patches, size]."""
        shape, count = self.shape, pixels.shape[0]
        pixels = functional.pad(pixels, (0, 0, 0, 0, 0, -count % PICTURES))
        side = int(shape.num_position_embeddings**0.5)
        table = self.pos_embed.weight.T.reshape(1, shape.hidden_size, side, side)
        table = functional.interpolate(table, (height, width), mode="bilinear", align_corners=True)
        x = self.patch_embed(pixels.to(dtype)) + merge_order(table[0].permute(1, 2, 0))
        quarter = shape.hidden_size // shape.num_heads // 4
        device = pixels.device
        frequencies = 10000.0 ** (-torch.arange(quarter, dtype=torch.float32, device=device) / quarter)
        rows, columns = torch.meshgrid(
            torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
        )
        angles = merge_order(torch.cat((rows[..., None] * frequencies, columns[..., None] * frequencies), dim=-1))
        angles = torch.cat((angles, angles), dim=-1).unsqueeze(1)
        cos, sin = angles.cos(), angles.sin()
        for block in self.blocks:
            x = block(x, cos, sin, dtype)
        return self.merger(x, dtype)[:count], x[:count]
