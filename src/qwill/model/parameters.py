"""How many parameters a configuration has, and what its caches take, counted from the shapes."""

from dataclasses import dataclass

from qwill.model.config import ModelConfig, TextConfig, VisionConfig
from qwill.quant.types import TYPES, TensorType


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of each part. `active_text`: those of the text model that one token uses, its experts' share."""

    text: int
    vision: int
    mtp: int
    active_text: int

    @property
    def total(self) -> int:
        return self.text + self.vision + self.mtp


def parameter_count(config: ModelConfig) -> ParameterCount:
    """Counts every tensor of a released checkpoint once; a tied head is no tensor."""
    text = config.text
    hidden = text.hidden_size
    total = hidden + text.vocab_size * hidden * (1 if text.tie_word_embeddings else 2)
    for layer_type in text.layer_types:
        mixer = _attention(text) if layer_type == "full_attention" else _gated_delta(text)
        total += mixer + _feed_forward(text) + 2 * hidden
    draft_layer = _attention(text) + _feed_forward(text) + 2 * hidden
    idle = 0
    if text.moe is not None:
        idle = text.layers * (text.moe.experts - text.moe.top_k) * 3 * hidden * text.moe.intermediate_size
    return ParameterCount(
        text=total,
        vision=_vision(config.vision) if config.vision else 0,
        mtp=2 * hidden**2 + 3 * hidden + text.mtp_layers * draft_layer if text.mtp_layers else 0,
        active_text=total - idle,
    )


def kv_bytes_per_token(config: TextConfig, kv_type: TensorType = TYPES["F16"]) -> int:
    """Keys and values that one token of context takes in all layers of the text model, without the draft head's."""
    return 2 * config.layer_types.count("full_attention") * config.kv_heads * kv_type.row_bytes(config.head_dim)


def state_bytes(config: TextConfig) -> int:
    """Recurrent state of one sequence, whatever its length: matrices and last convolution inputs, float32."""
    matrix = config.linear_value_heads * config.linear_key_dim * config.linear_value_dim
    inputs = (config.conv_kernel - 1) * config.linear_channels
    return 4 * config.layer_types.count("linear_attention") * (matrix + inputs)


def _attention(text: TextConfig) -> int:
    """Query and gate, key, value, output, and the two norms of a head."""
    heads = 2 * text.attention_heads + 2 * text.kv_heads + text.attention_heads
    return text.hidden_size * heads * text.head_dim + 2 * text.head_dim


def _gated_delta(text: TextConfig) -> int:
    values = text.linear_value_heads * text.linear_value_dim
    projections = text.linear_channels + 2 * values + 2 * text.linear_value_heads  # qkv; z and output; a and b
    vectors = 2 * text.linear_value_heads + text.linear_value_dim  # decay and dt_bias; norm
    return text.hidden_size * projections + text.conv_kernel * text.linear_channels + vectors


def _feed_forward(text: TextConfig) -> int:
    hidden, moe = text.hidden_size, text.moe
    if moe is None:
        return 3 * hidden * text.intermediate_size
    shared = 3 * hidden * moe.shared_intermediate_size + hidden if moe.shared_intermediate_size else 0
    return hidden * moe.experts + 3 * hidden * moe.experts * moe.intermediate_size + shared


def _vision(vision: VisionConfig) -> int:
    hidden, inner = vision.hidden_size, vision.intermediate_size
    merged = hidden * vision.merge_size**2
    norms = 2 * 2 * hidden
    block = (
        norms + _linear(hidden, 3 * hidden) + _linear(hidden, hidden) + _linear(hidden, inner) + _linear(inner, hidden)
    )
    embedding = _linear(vision.patch_width, hidden) + vision.positions * hidden
    merger = 2 * hidden + _linear(merged, merged) + _linear(merged, vision.out_hidden_size)
    return embedding + vision.depth * block + merger


def _linear(columns: int, rows: int) -> int:
    """A matrix with its bias."""
    return columns * rows + rows
