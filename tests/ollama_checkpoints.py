"""Tiny files in the layout of Ollama's converter until May 2026, written with the `gguf` package from a checkpoint of
`checkpoints.save_hf`: text model, draft head and vision tower in one. Shares no code with qwill.
"""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from checkpoints import TinyCheckpoint, text_config, tiny_vocabulary
from gguf_checkpoints import add_tensor, add_value, convert, finish, stack_experts

# In the order in which they are tried at each place of a name, as Go's strings.NewReplacer does.
RENAMED = (
    ("lm_head", "output"), ("model.language_model.embed_tokens", "token_embd"),
    ("model.language_model.norm", "output_norm"), ("model.language_model.layers", "blk"),
    ("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("model.layers", "blk"),
    ("model.visual", "v"), ("patch_embed.proj", "patch_embed"), ("blocks", "blk"), ("attn.qkv", "attn_qkv"),
    ("attn.proj", "attn_out"), ("input_layernorm", "attn_norm"), ("post_attention_layernorm", "post_attention_norm"),
    ("self_attn.q_proj", "attn_q"), ("self_attn.q_norm", "attn_q_norm"), ("self_attn.k_proj", "attn_k"),
    ("self_attn.k_norm", "attn_k_norm"), ("self_attn.v_proj", "attn_v"), ("self_attn.o_proj", "attn_output"),
    ("linear_attn.in_proj_qkv", "attn_qkv"), ("linear_attn.in_proj_z", "attn_gate"),
    ("linear_attn.in_proj_a", "ssm_alpha"), ("linear_attn.in_proj_b", "ssm_beta"), ("linear_attn.conv1d", "ssm_conv1d"),
    ("linear_attn.dt_bias", "ssm_dt"), ("linear_attn.A_log", "ssm_a"), ("linear_attn.norm", "ssm_norm"),
    ("linear_attn.out_proj", "ssm_out"), ("mlp.gate.weight", "ffn_gate_inp.weight"),
    ("mlp.shared_expert.down_proj", "ffn_down_shexp"), ("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
    ("mlp.shared_expert.up_proj", "ffn_up_shexp"), ("mlp.shared_expert_gate", "ffn_gate_inp_shexp"),
    ("mlp.down_proj", "ffn_down"), ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"),
    ("mlp.experts.gate_proj", "ffn_gate_exps"), ("mlp.experts.up_proj", "ffn_up_exps"),
    ("mlp.experts.down_proj", "ffn_down_exps"),
)  # fmt: skip


def save_ollama(
    path: Path,
    source: TinyCheckpoint,
    *,
    types: str = "F16",
    added: bool = True,
    metadata: dict[str, Any] | None = None,
    single_experts: bool = True,
) -> None:
    """`types` of the matrices of text model and draft head; those of the tower are F16.

    `added`: whether norms of the draft head's layer have their 1. `single_experts`: the draft head's lie one by one.
    `metadata`: keys without the architecture's prefix to add or override; None leaves one out.
    """
    config = text_config(source.config)
    architecture = "qwen35moe" if "moe" in config.model_type else "qwen35"
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in (keys_of(source) | (metadata or {})).items():
        add_value(writer, key if key.startswith("general.") else f"{architecture}.{key}", value)
    add_ollama_vocabulary(writer, config.vocab_size)
    for name, values in stack_experts(source.state, fused=False).items():
        for new_name, new_values, kind in converted(name, values, source, added, single_experts):
            add_tensor(writer, new_name, np.ascontiguousarray(new_values), kind or types)
    finish(writer)


def keys_of(source: TinyCheckpoint) -> dict[str, Any]:
    config = text_config(source.config)
    rope = config.rope_parameters
    keys: dict[str, Any] = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": getattr(config, "intermediate_size", 0) or 0,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": [
            config.num_key_value_heads if kind == "full_attention" else 0 for kind in config.layer_types
        ],
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": float(rope["rope_theta"]),
        "rope.dimension_count": int(config.head_dim * rope["partial_rotary_factor"]),
        "mrope_sections": rope["mrope_section"],
        "rope.mrope_section": rope["mrope_section"],
        "rope.dimension_sections": rope["mrope_section"],
        "rope.mrope_interleaved": True,
        "ssm.inner_size": config.linear_value_head_dim * config.linear_num_value_heads,
        "ssm.state_size": config.linear_key_head_dim,
        "ssm.group_count": config.linear_num_key_heads,
        "ssm.time_step_rank": config.linear_num_value_heads,
        "ssm.conv_kernel": config.linear_conv_kernel_dim,
        "ssm.v_head_reordered": True,
    }
    if "moe" in config.model_type:
        keys |= {
            "expert_count": config.num_experts,
            "expert_used_count": config.num_experts_per_tok,
            "expert_feed_forward_length": config.moe_intermediate_size,
            "expert_shared_feed_forward_length": config.shared_expert_intermediate_size,
        }
    tower = getattr(source.config, "vision_config", None)
    if tower is not None:
        keys |= {
            "vision.block_count": tower.depth,
            "vision.embedding_length": tower.hidden_size,
            "vision.attention.head_count": tower.num_heads,
            "vision.num_channels": tower.in_channels,
            "vision.patch_size": tower.patch_size,
            "vision.spatial_merge_size": tower.spatial_merge_size,
            "vision.temporal_patch_size": tower.temporal_patch_size,
            "vision.shortest_edge": 4096,
            "vision.longest_edge": 65536,
            "vision.image_mean": [0.5, 0.25, 0.5],
            "vision.image_std": [0.5, 0.5, 0.75],
            "image_token_id": source.config.image_token_id,
        }
    return keys


def converted(
    name: str, values: np.ndarray, source: TinyCheckpoint, added: bool, single_experts: bool
) -> list[tuple[str, np.ndarray, str | None]]:
    """What is written of a tensor of the release: names, values, and the type where it is not the model's."""
    new_name = renamed(name)
    if ".visual." in name:
        return tower_tensors(new_name, values)
    if name.startswith("mtp.") and ".mlp.experts." in name and single_experts:
        stem, _, projection = name.removesuffix(".weight").rpartition(".")
        return [(f"{stem}.{number}.{projection}.weight", expert, None) for number, expert in enumerate(values)]
    config = text_config(source.config)
    shifted = convert(name, values, config)
    if (name.startswith("mtp.") and name.endswith("norm.weight")) or name.startswith("mtp.pre_fc_norm"):
        shifted = values + np.float32(1) if new_name.endswith("_norm.weight") and added else values
    if name.endswith("shared_expert_gate.weight"):
        return [(new_name, values, "F16")]  # [1, columns]
    return [(new_name, shifted, None)]


def renamed(name: str) -> str:
    result, place = "", 0
    while place < len(name):
        old, new = next((pair for pair in RENAMED if name.startswith(pair[0], place)), (name[place], name[place]))
        result, place = result + new, place + len(old)
    return result


def tower_tensors(name: str, values: np.ndarray) -> list[tuple[str, np.ndarray, str | None]]:
    if "attn_qkv" in name:
        return [
            (name.replace("qkv", letter), third, "F16")
            for letter, third in zip("qkv", np.split(values, 3), strict=True)
        ]
    if name == "v.patch_embed.weight":
        return [(name, values.reshape(-1, *values.shape[2:]), "F16")]
    return [(name, values, "F16")]


def add_ollama_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    """Padding is of the type of words that users define."""
    tokens, merges, types = tiny_vocabulary(size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen35")
    writer.add_token_list(tokens)
    writer.add_token_types([4 if kind == 5 else kind for kind in types])
    writer.add_token_scores([0.0] * size)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_array("tokenizer.ggml.eos_token_ids", [tokens.index("<|im_end|>"), tokens.index("<|endoftext|>")])
