"""The one table of shapes: every tensor of a member from its configuration alone, before any file is there."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.quant.recipes import Recipe
from qwill.quant.types import TensorType
from qwill.weights.names import gguf_name

TEMPORAL_PATCH_SIZE = 2  # GGUF holds exactly two time slices of the patch embedding
LAYER_TYPES = ("linear_attention", "full_attention")


@dataclass(frozen=True)
class TensorShape:
    """One tensor as GGUF counts them; `name` is canonical, `gguf` the name in a GGUF file.

    `shape` is row-major, as in `weights.tensor.Tensor`; a time slice of the patch embedding is one of two tensors of
    half its columns. `stored` is the shape in a GGUF file, where it differs: the gate of the shared expert is a vector
    there, a slice of the patch embedding [outputs, channels, height, width].
    """

    name: str
    gguf: str
    shape: tuple[int, ...]
    stored: tuple[int, ...]

    @property
    def elements(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class TypedShape(TensorShape):
    """A tensor and what it is stored in."""

    type: TensorType

    @property
    def nbytes(self) -> int:
        return prod(self.shape[:-1]) * self.type.row_bytes(self.shape[-1])


def text_shapes(text: dict[str, Any]) -> list[TensorShape]:
    """All tensors of a language model and of its draft head, if it has one, from its `text_config`.

    Raises CheckpointError for a missing or senseless size, UnsupportedModel for an unknown type of layer.
    """
    layers = positive(text, "num_hidden_layers")
    shapes: list[TensorShape] = []
    for name, shape in _text(text, layers):
        stored = shape[1:] if shape[0] == 1 and name.endswith("shared_expert_gate.weight") else shape
        shapes.append(TensorShape(name, gguf_name(name, layers), shape, stored))
    return shapes


def typed_shapes(text: dict[str, Any], recipe: Recipe, importance: bool = False) -> list[TypedShape]:
    """The tensors of `text_shapes` with their types by a recipe; `importance`: whether an importance file is used.

    Raises as `text_shapes` and `Recipe.types` do.
    """
    shapes = text_shapes(text)
    blocks = text["num_hidden_layers"] + (text.get("mtp_num_hidden_layers") or 0)
    stored = [(shape.gguf, shape.stored) for shape in shapes]
    types = recipe.types(stored, blocks, text.get("num_experts") or 0, importance)
    return [TypedShape(shape.name, shape.gguf, shape.shape, shape.stored, types[shape.gguf]) for shape in shapes]


def vision_shapes(vision: dict[str, Any]) -> list[TensorShape]:
    """All tensors of a vision tower from its `vision_config`. Raises CheckpointError for a missing or senseless size,
    UnsupportedModel for a patch that spans other than two frames.
    """
    patch, hidden = positive(vision, "patch_size", 16), positive(vision, "hidden_size")
    channels = positive(vision, "in_channels", 3)
    if positive(vision, "temporal_patch_size", TEMPORAL_PATCH_SIZE) != TEMPORAL_PATCH_SIZE:
        raise UnsupportedModel(
            f"config.json: temporal_patch_size {vision['temporal_patch_size']} is not supported, only 2"
        )
    name = "visual.patch_embed.proj.weight"
    first, stored = gguf_name(name, 0), (hidden, channels, patch, patch)
    shapes = [
        TensorShape(name, slice_name, (hidden, channels * patch * patch), stored)
        for slice_name in (first, f"{first}.1")
    ]
    return shapes + [TensorShape(name, gguf_name(name, 0), shape, shape) for name, shape in _vision(vision, hidden)]


def layer_types(text: dict[str, Any]) -> list[str]:
    """What mixes the tokens of each layer, of LAYER_TYPES: as `layer_types` says, or else by the interval.

    Raises CheckpointError when their number is not that of the layers, UnsupportedModel for an unknown type.
    """
    layers, interval = positive(text, "num_hidden_layers"), positive(text, "full_attention_interval", 4)
    types = text.get("layer_types") or [LAYER_TYPES[index % interval == interval - 1] for index in range(layers)]
    unknown = set(types) - set(LAYER_TYPES)
    if unknown:
        raise UnsupportedModel(f"config.json: layer type {sorted(unknown)[0]!r} is not supported")
    if len(types) != layers:
        raise CheckpointError(f"config.json: layer_types has {len(types)} entries for {layers} layers")
    return list(types)


def positive(section: dict[str, Any], key: str, default: int | None = None) -> int:
    """A size of the configuration. Raises CheckpointError when it is missing or no positive integer."""
    value = section.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise CheckpointError(f"config.json: {key} must be a positive integer, found {value!r}")
    return value


Shapes = Iterator[tuple[str, tuple[int, ...]]]


def _text(text: dict[str, Any], layers: int) -> Shapes:
    hidden = positive(text, "hidden_size")
    table = (positive(text, "vocab_size"), hidden)
    yield "embed_tokens.weight", table
    if not text.get("tie_word_embeddings", False):
        yield "lm_head.weight", table
    yield "norm.weight", (hidden,)
    for layer, kind in enumerate(layer_types(text)):
        mixer = _attention if kind == "full_attention" else _gated_delta
        yield from _layer(f"layers.{layer}.", text, mixer(text, hidden), hidden)
    drafting = text.get("mtp_num_hidden_layers") or 0
    if drafting:
        yield "mtp.fc.weight", (hidden, 2 * hidden)
        for name in ("pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm"):
            yield f"mtp.{name}.weight", (hidden,)
    for layer in range(drafting):
        yield from _layer(f"mtp.layers.{layer}.", text, _attention(text, hidden), hidden)


def _layer(prefix: str, text: dict[str, Any], mixer: Shapes, hidden: int) -> Shapes:
    yield f"{prefix}input_layernorm.weight", (hidden,)
    yield f"{prefix}post_attention_layernorm.weight", (hidden,)
    for name, shape in mixer:
        yield prefix + name, shape
    for name, shape in _feed_forward(text, hidden):
        yield f"{prefix}mlp.{name}", shape


def _attention(text: dict[str, Any], hidden: int) -> Shapes:
    """Queries come with their gate."""
    width = positive(text, "head_dim", 256)
    heads, kv_heads = positive(text, "num_attention_heads"), positive(text, "num_key_value_heads")
    yield "self_attn.q_proj.weight", (2 * heads * width, hidden)
    yield "self_attn.k_proj.weight", (kv_heads * width, hidden)
    yield "self_attn.v_proj.weight", (kv_heads * width, hidden)
    yield "self_attn.q_norm.weight", (width,)
    yield "self_attn.k_norm.weight", (width,)
    yield "self_attn.o_proj.weight", (hidden, heads * width)


def _gated_delta(text: dict[str, Any], hidden: int) -> Shapes:
    key_width, value_width = positive(text, "linear_key_head_dim", 128), positive(text, "linear_value_head_dim", 128)
    keys, values = positive(text, "linear_num_key_heads"), positive(text, "linear_num_value_heads")
    channels = 2 * keys * key_width + values * value_width
    yield "linear_attn.in_proj_qkv.weight", (channels, hidden)
    yield "linear_attn.in_proj_z.weight", (values * value_width, hidden)
    yield "linear_attn.in_proj_b.weight", (values, hidden)
    yield "linear_attn.in_proj_a.weight", (values, hidden)
    yield "linear_attn.conv1d.weight", (channels, positive(text, "linear_conv_kernel_dim", 4))
    yield "linear_attn.A", (values,)
    yield "linear_attn.dt_bias", (values,)
    yield "linear_attn.norm.weight", (value_width,)
    yield "linear_attn.out_proj.weight", (hidden, values * value_width)


def _feed_forward(text: dict[str, Any], hidden: int) -> Shapes:
    if not text.get("num_experts"):
        yield from _swiglu("", positive(text, "intermediate_size"), hidden)
        return
    experts, width = positive(text, "num_experts"), positive(text, "moe_intermediate_size")
    yield "gate.weight", (experts, hidden)
    yield "experts.gate_proj", (experts, width, hidden)
    yield "experts.up_proj", (experts, width, hidden)
    yield "experts.down_proj", (experts, hidden, width)
    if text.get("shared_expert_intermediate_size"):
        yield from _swiglu("shared_expert.", positive(text, "shared_expert_intermediate_size"), hidden)
        yield "shared_expert_gate.weight", (1, hidden)


def _swiglu(prefix: str, width: int, hidden: int) -> Shapes:
    yield f"{prefix}gate_proj.weight", (width, hidden)
    yield f"{prefix}up_proj.weight", (width, hidden)
    yield f"{prefix}down_proj.weight", (hidden, width)


def _vision(vision: dict[str, Any], hidden: int) -> Shapes:
    """All but the patch embedding's matrix."""
    inner, merged = positive(vision, "intermediate_size"), hidden * positive(vision, "spatial_merge_size", 2) ** 2
    yield "visual.patch_embed.proj.bias", (hidden,)
    yield "visual.pos_embed.weight", (positive(vision, "num_position_embeddings", 2304), hidden)
    for block in range(positive(vision, "depth")):
        prefix = f"visual.blocks.{block}."
        yield from _with_bias(f"{prefix}norm1", (hidden,))
        yield from _with_bias(f"{prefix}norm2", (hidden,))
        yield from _with_bias(f"{prefix}attn.qkv", (3 * hidden, hidden))
        yield from _with_bias(f"{prefix}attn.proj", (hidden, hidden))
        yield from _with_bias(f"{prefix}mlp.linear_fc1", (inner, hidden))
        yield from _with_bias(f"{prefix}mlp.linear_fc2", (hidden, inner))
    yield from _with_bias("visual.merger.norm", (hidden,))
    yield from _with_bias("visual.merger.linear_fc1", (merged, merged))
    yield from _with_bias("visual.merger.linear_fc2", (positive(vision, "out_hidden_size"), merged))


def _with_bias(name: str, shape: tuple[int, ...]) -> Shapes:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]
