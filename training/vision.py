"""The vision tower of Qwen 3.5, for batches of pictures of one size."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from training.layers import linear, rotate

PATCH, MERGE, TEMPORAL = 16, 2, 2


@dataclass(frozen=True)
class VisionShape:
    """Sizes of the vision tower, named as in the checkpoint's `vision_config`."""

    depth: int = 3
    hidden_size: int = 128
    intermediate_size: int = 256
    num_heads: int = 4
    num_position_embeddings: int = 64
    out_hidden_size: int = 256


def patches(picture: np.ndarray) -> np.ndarray:
    """Patch vectors float32 [patches, 3 * 2 * 16 * 16] of an RGB picture uint8 [height, width, 3] (multiples of 32).

    Scaled to -1…1, order (channel, frame, row, column) with the picture as both frames, patches in 2×2 merge blocks.
    """
    height, width = picture.shape[0] // PATCH, picture.shape[1] // PATCH
    scaled = picture.astype(np.float32) / 127.5 - 1.0
    blocks = scaled.reshape(height // MERGE, MERGE, PATCH, width // MERGE, MERGE, PATCH, 3)
    blocks = blocks.transpose(0, 3, 1, 4, 6, 2, 5)[..., None, :, :]
    return np.broadcast_to(blocks, (*blocks.shape[:5], TEMPORAL, PATCH, PATCH)).reshape(height * width, -1)


def merge_order(grid: Tensor) -> Tensor:
    """[height, width, …] in raster order → [height * width, …] in 2×2 merge blocks."""
    height, width = grid.shape[:2]
    blocks = grid.reshape(height // MERGE, MERGE, width // MERGE, MERGE, *grid.shape[2:]).transpose(1, 2)
    return blocks.reshape(height * width, *grid.shape[2:])


class PatchEmbed(nn.Module):
    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, shape.hidden_size, (TEMPORAL, PATCH, PATCH), (TEMPORAL, PATCH, PATCH))


class Attention(nn.Module):
    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(size, 3 * size)
        self.proj = nn.Linear(size, size)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Every patch of a picture attends to all of it; x [pictures, patches, size]."""
        count, length, width = x.shape
        joined = linear(x, self.qkv.weight, self.qkv.bias).view(count, length, 3, self.heads, -1)
        query, key = (rotate(joined[:, :, part].float(), cos, sin).to(x.dtype).transpose(1, 2) for part in (0, 1))
        mixed = functional.scaled_dot_product_attention(query, key, joined[:, :, 2].transpose(1, 2))
        return linear(mixed.transpose(1, 2).reshape(count, length, width), self.proj.weight, self.proj.bias)


class FeedForward(nn.Module):
    def __init__(self, size: int, intermediate_size: int) -> None:
        super().__init__()
        self.linear_fc1 = nn.Linear(size, intermediate_size)
        self.linear_fc2 = nn.Linear(intermediate_size, size)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.gelu(linear(x, self.linear_fc1.weight, self.linear_fc1.bias), approximate="tanh")
        return linear(hidden, self.linear_fc2.weight, self.linear_fc2.bias)


class Block(nn.Module):
    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.hidden_size, eps=1e-6)
        self.norm2 = nn.LayerNorm(shape.hidden_size, eps=1e-6)
        self.attn = Attention(shape.hidden_size, shape.num_heads)
        self.mlp = FeedForward(shape.hidden_size, shape.intermediate_size)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, dtype: torch.dtype) -> Tensor:
        x = x + self.attn(self.norm1(x).to(dtype), cos, sin)
        return x + self.mlp(self.norm2(x).to(dtype))


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

    def forward(self, pixels: Tensor, height: int, width: int, dtype: torch.dtype) -> Tensor:
        """pixels [pictures, patches, 1536] of a height × width patch grid → [pictures, patches / 4, out]."""
        shape = self.shape
        side = int(shape.num_position_embeddings**0.5)
        table = self.pos_embed.weight.T.reshape(1, shape.hidden_size, side, side)
        table = functional.interpolate(table, (height, width), mode="bilinear", align_corners=True)
        projection = self.patch_embed.proj
        x = linear(pixels.to(dtype), projection.weight.flatten(1), projection.bias).float()
        x = x + merge_order(table[0].permute(1, 2, 0))
        quarter = shape.hidden_size // shape.num_heads // 4
        frequencies = 10000.0 ** (-torch.arange(quarter, dtype=torch.float32) / quarter)
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        angles = merge_order(torch.cat((rows[..., None] * frequencies, columns[..., None] * frequencies), dim=-1))
        angles = torch.cat((angles, angles), dim=-1).unsqueeze(1)
        for block in self.blocks:
            x = block(x, angles.cos(), angles.sin(), dtype)
        return self.merger(x, dtype)
