"""Hyperparameters of a Qwen 3.5 checkpoint, read from a dictionary in the shape of its config.json."""

from dataclasses import dataclass, replace
from typing import Any

from qwill.errors import CheckpointError, InvalidArgument, UnsupportedModel
from qwill.weights.folders.head import is_tied
from qwill.weights.rope_settings import rope_settings
from qwill.weights.shapes import layer_types, positive

MODEL_TYPES = ("qwen3_5", "qwen3_5_moe", "qwen3_5_text", "qwen3_5_moe_text")
CONTEXT_WITHOUT_YARN = 262_144


@dataclass(frozen=True)
class RopeConfig:
    """Rotary embedding of the text model. `sections` counts the frequencies of the T, H and W axes."""

    theta: float
    rotary_dim: int
    sections: tuple[int, int, int]
    yarn_factor: float | None = None
    yarn_original_context: int = CONTEXT_WITHOUT_YARN
    yarn_attention_factor: float | None = None
    yarn_beta_fast: float = 32.0
    yarn_beta_slow: float = 1.0
    yarn_truncate: bool = True


@dataclass(frozen=True)
class MoeConfig:
    """Mixture of experts: `experts` of width `intermediate_size`, `top_k` of them active, beside one shared expert."""

    experts: int
    top_k: int
    intermediate_size: int
    shared_intermediate_size: int


@dataclass(frozen=True)
class TextConfig:
    """The language model. Layer types are "linear_attention" (Gated DeltaNet) and "full_attention"."""

    vocab_size: int
    hidden_size: int
    layer_types: tuple[str, ...]
    attention_heads: int
    kv_heads: int
    head_dim: int
    linear_key_heads: int
    linear_value_heads: int
    linear_key_dim: int
    linear_value_dim: int
    conv_kernel: int
    intermediate_size: int
    moe: MoeConfig | None
    rms_norm_eps: float
    rope: RopeConfig
    max_position_embeddings: int
    tie_word_embeddings: bool
    mtp_layers: int

    @property
    def layers(self) -> int:
        return len(self.layer_types)

    @property
    def linear_channels(self) -> int:
        """Channels of the causal convolution: queries, keys and values."""
        return 2 * self.linear_key_heads * self.linear_key_dim + self.linear_value_heads * self.linear_value_dim


@dataclass(frozen=True)
class VisionConfig:
    """The vision tower."""

    depth: int
    hidden_size: int
    intermediate_size: int
    heads: int
    patch_size: int
    temporal_patch_size: int
    merge_size: int
    channels: int
    positions: int
    out_hidden_size: int

    @property
    def patch_width(self) -> int:
        return self.channels * self.temporal_patch_size * self.patch_size**2


@dataclass(frozen=True)
class ModelConfig:
    """A whole checkpoint. Token ids are those of the media placeholders."""

    text: TextConfig
    vision: VisionConfig | None
    image_token_id: int
    video_token_id: int
    vision_start_token_id: int
    vision_end_token_id: int


def model_config(config: dict[str, Any], yarn: float | None = None) -> ModelConfig:
    """Reads config.json's dictionary; `yarn` replaces the checkpoint's rope scaling by that YaRN factor.

    Raises UnsupportedModel for another architecture or an option that changes the maths in a way not known here,
    CheckpointError when a required key is missing or senseless, InvalidArgument for a YaRN factor below 1.
    """
    model_type = config.get("model_type")
    if model_type not in MODEL_TYPES:
        raise UnsupportedModel(
            f"model_type {model_type!r} is not a Qwen 3.5 model; qwill runs {', '.join(MODEL_TYPES[:2])}"
        )
    vision = config.get("vision_config")
    return ModelConfig(
        text=_text_config(config, yarn),
        vision=_vision_config(vision) if vision else None,
        image_token_id=config.get("image_token_id", 248056),
        video_token_id=config.get("video_token_id", 248057),
        vision_start_token_id=config.get("vision_start_token_id", 248053),
        vision_end_token_id=config.get("vision_end_token_id", 248054),
    )


def _text_config(config: dict[str, Any], yarn: float | None) -> TextConfig:
    text = config.get("text_config", config)
    for key, expected in (("hidden_act", "silu"), ("attention_bias", False), ("attn_output_gate", True)):
        if text.get(key, expected) != expected:
            raise UnsupportedModel(f"config.json: {key} = {text[key]!r} is not supported, only {expected!r}")
    if text.get("output_gate_type") not in (None, "silu", "swish"):
        raise UnsupportedModel(f"config.json: output_gate_type = {text['output_gate_type']!r} is not supported")
    heads, kv_heads = positive(text, "num_attention_heads"), positive(text, "num_key_value_heads")
    key_heads, value_heads = positive(text, "linear_num_key_heads"), positive(text, "linear_num_value_heads")
    if heads % kv_heads or value_heads % key_heads:
        raise CheckpointError(
            f"config.json: {heads} heads over {kv_heads} key-value heads, {value_heads} value heads over"
            f" {key_heads} key heads: each must divide"
        )
    head_dim = positive(text, "head_dim", 256)
    moe = None
    if text.get("num_experts"):
        moe = MoeConfig(
            experts=positive(text, "num_experts"),
            top_k=positive(text, "num_experts_per_tok"),
            intermediate_size=positive(text, "moe_intermediate_size"),
            shared_intermediate_size=text.get("shared_expert_intermediate_size", 0),
        )
        if moe.top_k > moe.experts:
            raise CheckpointError(f"config.json: num_experts_per_tok {moe.top_k} exceeds num_experts {moe.experts}")
    max_positions = positive(text, "max_position_embeddings", CONTEXT_WITHOUT_YARN)
    rope = _rope_config(config, head_dim, yarn)
    return TextConfig(
        vocab_size=positive(text, "vocab_size"),
        hidden_size=positive(text, "hidden_size"),
        layer_types=tuple(layer_types(text)),
        attention_heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        linear_key_heads=key_heads,
        linear_value_heads=value_heads,
        linear_key_dim=positive(text, "linear_key_head_dim", 128),
        linear_value_dim=positive(text, "linear_value_head_dim", 128),
        conv_kernel=positive(text, "linear_conv_kernel_dim", 4),
        intermediate_size=0 if moe else positive(text, "intermediate_size"),
        moe=moe,
        rms_norm_eps=float(text.get("rms_norm_eps", 1e-6)),
        rope=rope,
        max_position_embeddings=max_positions
        if rope.yarn_factor is None
        else max(max_positions, int(rope.yarn_original_context * rope.yarn_factor)),
        tie_word_embeddings=is_tied(config),
        mtp_layers=text.get("mtp_num_hidden_layers", 0),
    )


def _rope_config(config: dict[str, Any], head_dim: int, wanted: float | None) -> RopeConfig:
    """`wanted`: the YaRN factor that somebody asked for."""
    settings = rope_settings(config)
    if wanted is not None and wanted < 1:
        raise InvalidArgument(f"a YaRN factor of {wanted:g} would shorten the context; use 1 to 4")
    rope = RopeConfig(
        theta=settings.theta,
        rotary_dim=int(head_dim * settings.rotary_share),
        sections=settings.sections,
        yarn_factor=wanted,
        yarn_original_context=settings.original_context,
    )
    yarn = settings.yarn
    if yarn is None:
        return rope
    factor = yarn.factor if wanted is None else wanted
    return replace(
        rope,
        yarn_factor=factor,
        yarn_attention_factor=yarn.attention(factor),
        yarn_beta_fast=yarn.beta_fast,
        yarn_beta_slow=yarn.beta_slow,
        yarn_truncate=yarn.truncate,
    )


def _vision_config(vision: dict[str, Any]) -> VisionConfig:
    if vision.get("hidden_act", "gelu_pytorch_tanh") != "gelu_pytorch_tanh":
        raise UnsupportedModel(f"config.json: vision hidden_act {vision['hidden_act']!r} is not supported")
    if vision.get("deepstack_visual_indexes"):
        raise UnsupportedModel("config.json: deepstack_visual_indexes belongs to Qwen3-VL, which qwill does not run")
    return VisionConfig(
        depth=positive(vision, "depth"),
        hidden_size=positive(vision, "hidden_size"),
        intermediate_size=positive(vision, "intermediate_size"),
        heads=positive(vision, "num_heads"),
        patch_size=positive(vision, "patch_size", 16),
        temporal_patch_size=positive(vision, "temporal_patch_size", 2),
        merge_size=positive(vision, "spatial_merge_size", 2),
        channels=positive(vision, "in_channels", 3),
        positions=positive(vision, "num_position_embeddings", 2304),
        out_hidden_size=positive(vision, "out_hidden_size"),
    )
