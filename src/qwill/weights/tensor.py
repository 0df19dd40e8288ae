"""A tensor as it lies in a file, and the set of all tensors of a checkpoint under canonical names.

Canonical names are the released names without `model.language_model.` and `model.` prefixes; `weights/names.py` maps
both file formats to them. Values are the same for both formats:

    embed_tokens.weight                                   [vocab, hidden]
    lm_head.weight                                        [vocab, hidden], absent when tied to embed_tokens
    norm.weight                                           [hidden]
    layers.N.input_layernorm.weight, post_attention_layernorm.weight                    [hidden]
    layers.N.linear_attn.in_proj_qkv / in_proj_z / in_proj_b / in_proj_a / out_proj .weight
    layers.N.linear_attn.conv1d.weight                    [channels, kernel]
    layers.N.linear_attn.A                                [v_heads], = -exp(A_log)
    layers.N.linear_attn.dt_bias                          [v_heads]
    layers.N.linear_attn.norm.weight                      [v_head_dim]
    layers.N.self_attn.q_proj / k_proj / v_proj / o_proj / q_norm / k_norm .weight
    layers.N.mlp.gate_proj / up_proj / down_proj .weight  (dense)
    layers.N.mlp.gate.weight                              [experts, hidden], the router
    layers.N.mlp.experts.gate_proj / up_proj              [experts, intermediate, hidden]
    layers.N.mlp.experts.down_proj                        [experts, hidden, intermediate]
    layers.N.mlp.shared_expert.gate_proj / up_proj / down_proj .weight
    layers.N.mlp.shared_expert_gate.weight                [1, hidden]
    visual.patch_embed.proj.weight                        [vision_hidden, channels * 2 * patch * patch], C first
    visual.patch_embed.proj.bias                          [vision_hidden]
    visual.pos_embed.weight                               [positions, vision_hidden]
    visual.blocks.N.{norm1, norm2, attn.qkv, attn.proj, mlp.linear_fc1, mlp.linear_fc2}.{weight, bias}
    visual.merger.{norm, linear_fc1, linear_fc2}.{weight, bias}
    mtp.fc.weight, mtp.pre_fc_norm_embedding.weight, mtp.pre_fc_norm_hidden.weight, mtp.norm.weight, mtp.layers.0.*

Every RMSNorm weight except `linear_attn.norm` already has its 1 added (`x̂ * w`). One-dimensional tensors, the conv and
`shared_expert_gate` are F32. V heads may come tiled (GGUF): then v head j reads k head j % K instead of j // (V / K);
the checkpoint's `v_heads_tiled` says which.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from qwill.errors import CheckpointError
from qwill.quant.types import TYPES, TensorType
from qwill.weights.lazy import LazyParts


@dataclass(frozen=True)
class Tensor:
    """Bytes of one tensor, still in the file.

    `shape` is row-major ([rows, columns], or [experts, rows, columns]). `parts` are contiguous uint8 views, one per
    expert for three-dimensional tensors, otherwise one; LazyParts where the file has them in another layout. `scales`
    holds, per part, the float32 factors that its values have beside their blocks: of each block of 128 x 128 (FP8 and
    NVFP4; in NVFP4 all of a part are the same), or [rows, 1], of each row (`row_scaled` tells them apart).
    `source` names the file and the name in it, for error messages.
    """

    name: str
    shape: tuple[int, ...]
    type: TensorType
    parts: Sequence[np.ndarray]
    source: str
    scales: tuple[np.ndarray, ...] | None = None

    def __post_init__(self) -> None:
        experts = self.shape[0] if len(self.shape) == 3 else 1
        assert len(self.parts) == experts, (self.name, len(self.parts), self.shape)
        if not isinstance(self.parts, LazyParts):
            expected = self.nbytes // experts
            assert all(part.nbytes == expected for part in self.parts), (self.name, self.shape, self.type.name)

    @property
    def nbytes(self) -> int:
        return prod(self.shape[:-1]) * self.type.row_bytes(self.shape[-1])

    @property
    def stored(self) -> Sequence[np.ndarray]:
        """Arrays of the file that the values come from; those that `parts` are, unless they are made of them."""
        return self.parts.stored if isinstance(self.parts, LazyParts) else self.parts

    def in_memory(self) -> "Tensor":
        """The same with all parts made; the tensor itself where they lie in the file."""
        return replace(self, parts=self.parts.made()) if isinstance(self.parts, LazyParts) else self

    def float32(self) -> np.ndarray:
        """A small F32 tensor as an array of its shape. Raises CheckpointError when it is of another type."""
        if self.type is not TYPES["F32"]:
            raise CheckpointError(f"{self.source}: {self.name} is {self.type.name}, expected F32")
        if len(self.parts) == 1:
            return self.parts[0].view(np.float32).reshape(self.shape)
        return np.stack([part.view(np.float32).reshape(self.shape[1:]) for part in self.parts])


SCALE_BLOCK = 128


def row_scaled(scales: np.ndarray, rows: int) -> bool:
    """Whether the scales of a part are those of its rows. Of one row in one block they are both."""
    return scales.shape == (rows, 1)


def spread_scales(scales: np.ndarray, shape: tuple[int, ...], numbers: np.ndarray | None = None) -> np.ndarray:
    """What the values of some rows of a part [rows, columns] are multiplied by: float32 [rows, columns] or [rows, 1].

    `numbers` are those of the rows; None: all.
    """
    rows, columns = shape
    numbers = np.arange(rows) if numbers is None else numbers
    if row_scaled(scales, rows):
        return scales[numbers]
    return np.repeat(scales, SCALE_BLOCK, axis=1)[numbers // SCALE_BLOCK, :columns]


class TensorSet:
    """Tensors by canonical name. Each must be taken exactly once; `finish` names what is left over."""

    def __init__(self, tensors: dict[str, Tensor], source: str) -> None:
        self.source = source
        self._tensors = tensors
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._tensors.values())

    def __len__(self) -> int:
        return len(self._tensors)

    def peek(self, name: str) -> Tensor:
        """The tensor, without counting it as used. Raises CheckpointError when it is missing."""
        if name not in self._tensors:
            raise CheckpointError(f"{self.source}: tensor {name} is missing; the file is incomplete, download it again")
        return self._tensors[name]

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor of that name and shape, once. Raises CheckpointError when it is missing or of another shape."""
        tensor = self.peek(name)
        if tensor.shape != shape:
            raise CheckpointError(
                f"{tensor.source}: {name} has shape {list(tensor.shape)}, the configuration says {list(shape)}"
            )
        assert name not in self._taken, f"{name} taken twice"
        self._taken.add(name)
        return tensor

    def finish(self) -> None:
        """Raises CheckpointError when a tensor was never taken."""
        extra = sorted(set(self._tensors) - self._taken)
        if extra:
            more = f" and {len(extra) - 1} more" if len(extra) > 1 else ""
            raise CheckpointError(f"{self.source}: tensor {extra[0]}{more} belongs to no part of this model")
