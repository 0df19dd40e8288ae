"""A member of the family with random weights: every tensor in its true shape and stored type, and no file.

Tensors are drawn one by one as they are taken, so a model is built with the memory of its packed weights and one tensor
more. What such a model says is noise; its speed is that of a real one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from qwill.quant.types import TYPES, TensorType
from qwill.weights.load import Checkpoint
from qwill.weights.random_blocks import random_blocks
from qwill.weights.tensor import Tensor, TensorSet


@dataclass(frozen=True)
class Mix:
    """Types of the matrices, of the head and of embeddings that are also the head.

    `more`: of the value projections and ffn_down in the layers that llama-quantize gives more bits. `experts`: of the
    routed experts. Both are as the other matrices where they are empty.
    """

    matrix: str
    head: str
    more: str = ""
    experts: str = ""


# The head as llama-quantize has it.
MIXES = {
    "F16": Mix("F16", "F16"),
    "BF16": Mix("BF16", "BF16"),
    "Q8_0": Mix("Q8_0", "Q8_0"),
    "Q6_K": Mix("Q6_K", "Q6_K"),
    "Q5_K": Mix("Q5_K", "Q6_K"),
    "Q5_K_M": Mix("Q5_K", "Q6_K", more="Q6_K"),
    "Q4_K": Mix("Q4_K", "Q6_K"),
    "Q4_K_M": Mix("Q4_K", "Q6_K", more="Q6_K"),
    "Q4_0": Mix("Q4_0", "Q6_K"),
    "IQ4_XS": Mix("IQ4_XS", "Q6_K"),
    "IQ4_NL": Mix("IQ4_NL", "Q6_K"),
    "MXFP4": Mix("MXFP4", "Q8_0"),
    "MXFP4_MOE": Mix("Q8_0", "Q8_0", experts="MXFP4"),
}
DEFAULT_MIX = "Q4_K_M"


@dataclass(frozen=True)
class Planned:
    """A tensor to draw: canonical name, shape as in `Tensor`, type."""

    name: str
    shape: tuple[int, ...]
    type: TensorType

    @property
    def nbytes(self) -> int:
        return prod(self.shape[:-1]) * self.type.row_bytes(self.shape[-1])


def plan(text: dict[str, Any], mix: str) -> Iterator[Planned]:
    """All tensors of a language model and of its draft head, if it has one, from its `text_config`."""
    types, layers = MIXES[mix], text["num_hidden_layers"]
    table = (text["vocab_size"], text["hidden_size"])
    tied = text["tie_word_embeddings"]
    yield Planned("embed_tokens.weight", table, TYPES[types.head if tied else types.matrix])
    if not tied:
        yield Planned("lm_head.weight", table, TYPES[types.head])
    yield Planned("norm.weight", (text["hidden_size"],), TYPES["F32"])
    for layer in range(layers):
        kinds = replace(types, more=types.more if types.more and _gets_more_bits(layer, layers) else types.matrix)
        full = layer % text["full_attention_interval"] == text["full_attention_interval"] - 1
        mixer = _attention(text, kinds) if full else _gated_delta(text, kinds)
        for name, shape, kind in (*mixer, *_feed_forward(text, kinds)):
            yield Planned(f"layers.{layer}.{name}", shape, TYPES[kind])
    if text.get("mtp_num_hidden_layers"):
        kinds = replace(types, more=types.matrix)
        yield Planned("mtp.fc.weight", (text["hidden_size"], 2 * text["hidden_size"]), TYPES[types.matrix])
        for name in ("pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm"):
            yield Planned(f"mtp.{name}.weight", (text["hidden_size"],), TYPES["F32"])
        for name, shape, kind in (*_attention(text, kinds), *_feed_forward(text, kinds)):
            yield Planned(f"mtp.layers.0.{name}", shape, TYPES[kind])


def draw(tensor: Planned, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Random bytes of a tensor in its stored form, one part for each expert: norms 1, decays between fast and slow."""
    ending = tensor.name.rpartition("layers.")[2]
    if ending.endswith("norm.weight"):
        values = np.ones(tensor.shape, np.float32)
    elif ending.endswith("linear_attn.A"):
        values = -np.exp(rng.uniform(-3, 2, tensor.shape)).astype(np.float32)
    elif ending.endswith("conv1d.weight"):
        values = rng.normal(0, 0.5, tensor.shape).astype(np.float32)
    else:
        experts = tensor.shape[0] if len(tensor.shape) == 3 else 1
        return tuple(random_blocks(tensor.type, prod(tensor.shape) // experts, rng) for _ in range(experts))
    return (values.reshape(-1).view(np.uint8),)


class RandomTensors(TensorSet):
    """Tensors whose bytes are drawn when they are taken; until then they take no memory."""

    def __init__(self, tensors: Iterator[Planned], source: str, seed: int = 0) -> None:
        self._plan = {tensor.name: tensor for tensor in tensors}
        self._rng = np.random.Generator(np.random.SFC64(seed))
        super().__init__({name: _without_bytes(tensor, source) for name, tensor in self._plan.items()}, source)

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor with freshly drawn bytes. Raises as `TensorSet.take` does."""
        return replace(super().take(name, shape), parts=draw(self._plan[name], self._rng))


def random_checkpoint(
    member: str, config: dict[str, Any], mix: str, layers: int | None = None, draft_head: bool = False
) -> Checkpoint:
    """The language model of `config` (in the shape of a released config.json), or its first `layers` layers, in memory.

    It has neither tokenizer nor vision tower, and a draft head only if asked for.
    """
    text = dict(config["text_config"])
    if not draft_head:
        text["mtp_num_hidden_layers"] = 0
    if layers is not None:
        text["num_hidden_layers"] = layers
    return Checkpoint(
        path=Path(f"{member}-{mix}"),
        format="random",
        config={"model_type": config["model_type"], "text_config": text}
        | {"tie_word_embeddings": text["tie_word_embeddings"]},
        tensors=RandomTensors(plan(text, mix), member),
        v_heads_tiled=True,
        tokenizer_json=None,
        vocabulary=None,
        chat_template=None,
        generation_config={},
        image_processor={},
        video_processor={},
    )


def _gets_more_bits(layer: int, layers: int) -> bool:
    """The first and the last eighth, and every third layer between: llama-quantize's rule for its _M mixes."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _without_bytes(tensor: Planned, source: str) -> Tensor:
    experts = tensor.shape[0] if len(tensor.shape) == 3 else 1
    nothing = np.broadcast_to(np.uint8(0), tensor.nbytes // experts)
    return Tensor(tensor.name, tensor.shape, tensor.type, (nothing,) * experts, source)


Parts = list[tuple[str, tuple[int, ...], str]]


def _attention(text: dict[str, Any], mix: Mix) -> Parts:
    hidden, head_dim = text["hidden_size"], text["head_dim"]
    heads, kv_heads = text["num_attention_heads"], text["num_key_value_heads"]
    return [
        ("input_layernorm.weight", (hidden,), "F32"),
        ("self_attn.q_proj.weight", (2 * heads * head_dim, hidden), mix.matrix),
        ("self_attn.k_proj.weight", (kv_heads * head_dim, hidden), mix.matrix),
        ("self_attn.v_proj.weight", (kv_heads * head_dim, hidden), mix.more),
        ("self_attn.q_norm.weight", (head_dim,), "F32"),
        ("self_attn.k_norm.weight", (head_dim,), "F32"),
        ("self_attn.o_proj.weight", (hidden, heads * head_dim), mix.matrix),
        ("post_attention_layernorm.weight", (hidden,), "F32"),
    ]


def _gated_delta(text: dict[str, Any], mix: Mix) -> Parts:
    hidden, key_dim, value_dim = text["hidden_size"], text["linear_key_head_dim"], text["linear_value_head_dim"]
    keys, values = text["linear_num_key_heads"], text["linear_num_value_heads"]
    channels = 2 * keys * key_dim + values * value_dim
    return [
        ("input_layernorm.weight", (hidden,), "F32"),
        ("linear_attn.in_proj_qkv.weight", (channels, hidden), mix.more),
        ("linear_attn.in_proj_z.weight", (values * value_dim, hidden), mix.matrix),
        ("linear_attn.in_proj_a.weight", (values, hidden), mix.matrix),
        ("linear_attn.in_proj_b.weight", (values, hidden), mix.matrix),
        ("linear_attn.conv1d.weight", (channels, text["linear_conv_kernel_dim"]), "F32"),
        ("linear_attn.A", (values,), "F32"),
        ("linear_attn.dt_bias", (values,), "F32"),
        ("linear_attn.norm.weight", (value_dim,), "F32"),
        ("linear_attn.out_proj.weight", (hidden, values * value_dim), mix.matrix),
        ("post_attention_layernorm.weight", (hidden,), "F32"),
    ]


def _feed_forward(text: dict[str, Any], mix: Mix) -> Parts:
    hidden = text["hidden_size"]
    if "num_experts" not in text:
        width = text["intermediate_size"]
        return [
            ("mlp.gate_proj.weight", (width, hidden), mix.matrix),
            ("mlp.up_proj.weight", (width, hidden), mix.matrix),
            ("mlp.down_proj.weight", (hidden, width), mix.more),
        ]
    experts, width, shared = text["num_experts"], text["moe_intermediate_size"], text["shared_expert_intermediate_size"]
    routed = mix.experts or mix.matrix
    return [
        ("mlp.gate.weight", (experts, hidden), "F32"),
        ("mlp.experts.gate_proj", (experts, width, hidden), routed),
        ("mlp.experts.up_proj", (experts, width, hidden), routed),
        ("mlp.experts.down_proj", (experts, hidden, width), mix.experts or mix.more),
        ("mlp.shared_expert_gate.weight", (1, hidden), "F32"),
        ("mlp.shared_expert.gate_proj.weight", (shared, hidden), mix.matrix),
        ("mlp.shared_expert.up_proj.weight", (shared, hidden), mix.matrix),
        ("mlp.shared_expert.down_proj.weight", (hidden, shared), mix.more),
    ]
