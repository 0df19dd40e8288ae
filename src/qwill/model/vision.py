"""The vision tower: patches to embeddings that take the places of image and video placeholders."""

import numpy as np

from qwill.model.config import VisionConfig
from qwill.model.loader import Loader
from qwill.model.rope import vision_rope

NORM_EPS = 1e-6


class VisionTower:
    """Bidirectional transformer over the patches of one frame, then a merger of each 2 x 2 patches into one token."""

    def __init__(self, loader: Loader, config: VisionConfig) -> None:
        hidden, merged = config.hidden_size, config.hidden_size * config.merge_size**2
        self.config = config
        self._operations = loader.operations
        embed = loader.scope("patch_embed.proj")
        self._patch_weight = embed.weight("weight", hidden, config.patch_width)
        self._patch_bias = embed.vector("bias", hidden)
        positions = loader.operations.embedding(
            loader.table("pos_embed.weight", config.positions, hidden), np.arange(config.positions, dtype=np.int32)
        )
        side = round(config.positions**0.5)
        self._position_grid = positions.reshape(side, side, hidden)
        self._blocks = [VisionBlock(loader.scope(f"blocks.{index}"), config) for index in range(config.depth)]
        merger = loader.scope("merger")
        self._merger_norm = _norm_weights(merger, "norm", hidden)
        self._merger_in = _projection(merger, "linear_fc1", merged, merged)
        self._merger_out = _projection(merger, "linear_fc2", config.out_hidden_size, merged)

    def forward(self, pixels: np.ndarray, grid: tuple[int, int, int]) -> np.ndarray:
        """Embeddings [t * h * w / merge², out_hidden_size] f32 of one image or video.

        pixels [t * h * w, patch_width] f32 in merge-block order; grid (t, h, w) in patches. Frames see only themselves.
        """
        ops = self._operations
        frames, height, width = grid
        rows, columns = merge_block_order(height, width, self.config.merge_size)
        hidden = ops.linear(pixels, self._patch_weight, self._patch_bias)
        positions = interpolate_positions(self._position_grid, height, width)[rows, columns]
        hidden = (hidden.reshape(frames, height * width, -1) + positions).reshape(hidden.shape)
        head_dim = self.config.hidden_size // self.config.heads
        cos, sin = (np.tile(x, (frames, 1)) for x in vision_rope(rows, columns, head_dim))
        starts = np.arange(frames + 1, dtype=np.int32) * (height * width)
        for block in self._blocks:
            block.add_to(hidden, cos, sin, starts)
        normed = ops.layer_norm(hidden, *self._merger_norm, NORM_EPS)
        merged = normed.reshape(-1, self.config.hidden_size * self.config.merge_size**2)
        return ops.linear(ops.linear(merged, *self._merger_in, "gelu"), *self._merger_out)


class VisionBlock:
    """LayerNorm, attention inside each frame, LayerNorm, GELU feed-forward."""

    def __init__(self, loader: Loader, config: VisionConfig) -> None:
        hidden = config.hidden_size
        self._operations = loader.operations
        self._heads = config.heads
        self._norm1 = _norm_weights(loader, "norm1", hidden)
        self._qkv = _projection(loader, "attn.qkv", 3 * hidden, hidden)
        self._rounded = self._qkv[0].type == "BF16"  # what is trained in BF16 is computed in it
        self._attention_out, self._attention_out_bias = _projection(loader, "attn.proj", hidden, hidden)
        self._norm2 = _norm_weights(loader, "norm2", hidden)
        self._up = _projection(loader, "mlp.linear_fc1", config.intermediate_size, hidden)
        self._down, self._down_bias = _projection(loader, "mlp.linear_fc2", hidden, config.intermediate_size)

    def add_to(self, hidden: np.ndarray, cos: np.ndarray, sin: np.ndarray, starts: np.ndarray) -> None:
        """hidden [patches, hidden_size] is changed in place."""
        ops = self._operations
        qkv = ops.linear(ops.layer_norm(hidden, *self._norm1, NORM_EPS), *self._qkv)
        mixed = ops.vision_attention(qkv, cos, sin, starts, self._heads, self._rounded)
        ops.linear_add(mixed, self._attention_out, hidden, self._attention_out_bias)
        up = ops.linear(ops.layer_norm(hidden, *self._norm2, NORM_EPS), *self._up, "gelu_tanh")
        ops.linear_add(up, self._down, hidden, self._down_bias)


def merge_block_order(height: int, width: int, merge: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each patch of a frame, [height * width] each: merge x merge blocks one after the other."""
    index = np.arange(height * width).reshape(height // merge, width // merge, merge, merge)
    rows = np.arange(height).reshape(height // merge, 1, merge, 1)
    columns = np.arange(width).reshape(1, width // merge, 1, merge)
    return tuple(np.broadcast_to(axis, index.shape).reshape(-1) for axis in (rows, columns))  # type: ignore[return-value]


def interpolate_positions(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """The learned grid [side, side, hidden] resampled to [height, width, hidden]: bilinear, corners aligned."""
    side = len(grid)
    row_position, column_position = (np.linspace(0, side - 1, count, dtype=np.float32) for count in (height, width))
    row, column = row_position.astype(np.int32), column_position.astype(np.int32)
    next_row, next_column = np.minimum(row + 1, side - 1), np.minimum(column + 1, side - 1)
    row_weight = (row_position - row.astype(np.float32))[:, None, None]
    column_weight = (column_position - column.astype(np.float32))[None, :, None]
    top = grid[row][:, column] * (1 - column_weight) + grid[row][:, next_column] * column_weight
    bottom = grid[next_row][:, column] * (1 - column_weight) + grid[next_row][:, next_column] * column_weight
    return top * (1 - row_weight) + bottom * row_weight


def _norm_weights(loader: Loader, name: str, width: int) -> tuple[np.ndarray, np.ndarray]:
    return loader.vector(f"{name}.weight", width), loader.vector(f"{name}.bias", width)


def _projection(loader: Loader, name: str, rows: int, cols: int) -> tuple:
    return loader.weight(f"{name}.weight", rows, cols), loader.vector(f"{name}.bias", rows)
