"""Tiny GGUF files for tests, written with the `gguf` package from a checkpoint of `checkpoints.save_hf`.

The conversion follows llama.cpp's and shares no code with qwill: names come from the `gguf` package.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from checkpoints import TinyCheckpoint, text_config, tiny_vocabulary

from qwill.text.chat_template import DEFAULT_TEMPLATE


def save_gguf(
    path: Path,
    source: TinyCheckpoint,
    *,
    types: str | Callable[[str], str] = "F32",
    head_counts: str = "scalar",
    metadata: dict[str, Any] | None = None,
    mmproj: Path | None = None,
    shard_tensors: int = 0,
    fused: bool = False,
    vocabulary: bool = True,
) -> None:
    """The same weights as a GGUF file, converted as llama.cpp converts them, and the vision tower as `mmproj`.

    `types` is the storage type of the matrices, or gives it from the GGUF name; rows that are no whole blocks stay F32.
    `head_counts`: "scalar" or "array". `metadata` overrides keys (without the architecture's prefix; None leaves one
    out). `shard_tensors` > 0 splits the file after so many tensors. `fused` stores gate and up experts in one tensor.
    """
    config = text_config(source.config)
    architecture = "qwen35moe" if "moe" in config.model_type else "qwen35"
    writer = gguf.GGUFWriter(path, architecture, split_max_tensors=shard_tensors)
    has_head = any(name.startswith("mtp.") for name in source.state)
    for key, value in (language_metadata(config, has_head, head_counts) | (metadata or {})).items():
        add_value(writer, key if key.startswith("general.") else f"{architecture}.{key}", value)
    if vocabulary:
        add_vocabulary(writer, config.vocab_size)
    for name, values in language_tensors(source, fused).items():
        kind = types if isinstance(types, str) else types(name)
        add_tensor(writer, name, values, kind)
    finish(writer)
    if mmproj is not None:
        save_mmproj(mmproj, source)


def language_metadata(config: transformers.PreTrainedConfig, has_head: bool, head_counts: str) -> dict[str, Any]:
    blocks = config.num_hidden_layers + has_head
    full = [kind == "full_attention" for kind in config.layer_types] + [True] * has_head
    rope = config.rope_parameters
    keys = {
        "block_count": blocks,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "attention.recurrent_layers": [not is_full for is_full in full],
        "rope.dimension_count": int(config.head_dim * rope["partial_rotary_factor"]),
        "rope.dimension_sections": [*rope["mrope_section"], 0],
        "rope.freq_base": float(rope["rope_theta"]),
        "full_attention_interval": 4,
        "ssm.conv_kernel": config.linear_conv_kernel_dim,
        "ssm.state_size": config.linear_key_head_dim,
        "ssm.group_count": config.linear_num_key_heads,
        "ssm.time_step_rank": config.linear_num_value_heads,
        "ssm.inner_size": config.linear_value_head_dim * config.linear_num_value_heads,
    }
    if head_counts == "array":
        for key in ("attention.head_count", "attention.head_count_kv"):
            keys[key] = [keys[key] if is_full else 0 for is_full in full]
    if has_head:
        keys["nextn_predict_layers"] = 1
    if "moe" in config.model_type:
        keys |= {
            "expert_count": config.num_experts,
            "expert_used_count": config.num_experts_per_tok,
            "expert_feed_forward_length": config.moe_intermediate_size,
            "expert_shared_feed_forward_length": config.shared_expert_intermediate_size,
        }
    else:
        keys["feed_forward_length"] = config.intermediate_size
    if rope["rope_type"] == "yarn":
        keys |= {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": float(rope["factor"]),
            "rope.scaling.original_context_length": rope["original_max_position_embeddings"],
        }
    return keys


def add_value(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    match value:
        case None:
            pass
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case list():
            writer.add_array(key, value)


def add_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    tokens, merges, types = tiny_vocabulary(size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen35")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(DEFAULT_TEMPLATE)


def add_tensor(writer: gguf.GGUFWriter, name: str, values: np.ndarray, kind: str) -> None:
    """Small tensors stay F32, as do rows that do not divide into blocks."""
    quantization = gguf.GGMLQuantizationType[kind]
    block = gguf.GGML_QUANT_SIZES[quantization][0]
    small = values.ndim == 1 or name.endswith(("_norm.weight", "ffn_gate_inp.weight", "ssm_conv1d.weight"))
    if small or kind == "F32" or values.shape[-1] % block:
        writer.add_tensor(name, np.ascontiguousarray(values))
    elif kind == "F16":
        writer.add_tensor(name, values.astype(np.float16))
    else:
        writer.add_tensor(name, gguf.quantize(np.ascontiguousarray(values), quantization), raw_dtype=quantization)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def language_tensors(source: TinyCheckpoint, fused: bool = False) -> dict[str, np.ndarray]:
    """All tensors of the language model under GGUF names, as float32."""
    config = text_config(source.config)
    layers = config.num_hidden_layers
    architecture = gguf.MODEL_ARCH.QWEN35MOE if "moe" in config.model_type else gguf.MODEL_ARCH.QWEN35
    names = gguf.get_tensor_name_map(architecture, layers + 1)
    frame = {
        "mtp.fc.weight": "eh_proj",
        "mtp.pre_fc_norm_embedding.weight": "enorm",
        "mtp.pre_fc_norm_hidden.weight": "hnorm",
        "mtp.norm.weight": "shared_head_norm",
    }
    result = {}
    for name, values in stack_experts(source.state, fused).items():
        if "visual." in name:
            continue
        if name in frame:
            result[f"blk.{layers}.nextn.{frame[name]}.weight"] = convert(name, values, config)
            continue
        plain = name.replace("language_model.", "").replace("mtp.layers.0", f"model.layers.{layers}")
        plain = plain.replace(".dt_bias", ".dt_proj.bias")
        target = names.get_name(plain, try_suffixes=(".weight", ".bias"))
        assert target is not None, name
        result[target] = convert(name, values, config)
    return result


def stack_experts(state: dict[str, torch.Tensor], fused: bool) -> dict[str, np.ndarray]:
    """float32 arrays; experts of a layer stacked as `mlp.experts.{gate,up,down}_proj.weight`, or gate and up fused."""
    result: dict[str, np.ndarray] = {}
    experts: dict[str, list[np.ndarray]] = {}
    for name, tensor in state.items():
        values = tensor.float().numpy()
        stem, found, rest = name.partition(".mlp.experts.")
        if not found:
            result[name] = values
        elif rest == "down_proj":
            experts[f"{stem}.mlp.experts.down_proj"] = list(values)
        elif rest == "gate_up_proj":
            half = values.shape[1] // 2
            experts[f"{stem}.mlp.experts.gate_proj"] = list(values[:, :half])
            experts[f"{stem}.mlp.experts.up_proj"] = list(values[:, half:])
        else:
            number, projection, _ = rest.split(".")
            numbered = experts.setdefault(f"{stem}.mlp.experts.{projection}", [])
            numbered.extend([values] * (int(number) + 1 - len(numbered)))
            numbered[int(number)] = values
    for name, matrices in experts.items():
        stem, _, projection = name.rpartition(".")
        if not fused or projection == "down_proj":
            result[f"{name}.weight"] = np.stack(matrices)
        elif projection == "gate_proj":
            pairs = zip(matrices, experts[f"{stem}.up_proj"], strict=True)
            result[f"{stem}.gate_up_proj.weight"] = np.stack([np.concatenate(pair) for pair in pairs])
    return result


def convert(name: str, values: np.ndarray, config: transformers.PreTrainedConfig) -> np.ndarray:
    """A released value as the GGUF holds it: decay, norms, conv, and V heads in tiled order."""
    if name.endswith("A_log"):
        values = -np.exp(values)
    if name.endswith(("norm.weight", "norm_embedding.weight", "norm_hidden.weight")) and "linear_attn" not in name:
        values = values + np.float32(1)
    if "conv1d" in name:
        values = values[:, 0]
    if name.endswith("shared_expert_gate.weight"):
        values = values[0]
    if "linear_attn" not in name or "linear_attn.norm" in name:
        return values
    key_rows = 2 * config.linear_num_key_heads * config.linear_key_head_dim
    order = tiled_order(config)
    rows = (order[:, None] * config.linear_value_head_dim + np.arange(config.linear_value_head_dim)).reshape(-1)
    if "in_proj_qkv" in name or "conv1d" in name:
        return np.concatenate((values[:key_rows], values[key_rows:][rows]))
    if "in_proj_z" in name:
        return values[rows]
    if "out_proj" in name:
        return values[:, rows]
    return values[order]  # in_proj_a, in_proj_b, A_log, dt_bias: one row for each V head


def tiled_order(config: transformers.PreTrainedConfig) -> np.ndarray:
    """Released number of the V head at each place of a GGUF: the first one of every K head, then the second ones."""
    keys, values = config.linear_num_key_heads, config.linear_num_value_heads
    return np.arange(values).reshape(keys, values // keys).T.reshape(-1)


def save_mmproj(path: Path, source: TinyCheckpoint, types: str = "F32", metadata: dict[str, Any] | None = None) -> None:
    """The vision tower of a checkpoint as llama.cpp's converter writes it, its blocks' matrices in `types`.

    `metadata` are keys to add or override; None leaves one out.
    """
    tower = source.config.vision_config
    writer = gguf.GGUFWriter(path, "clip")
    keys = {
        "clip.has_vision_encoder": True,
        "clip.projector_type": "qwen3vl_merger",
        "clip.use_gelu": True,
        "clip.vision.projection_dim": tower.out_hidden_size,
        "clip.vision.image_size": int(tower.num_position_embeddings**0.5) * tower.patch_size,
        "clip.vision.patch_size": tower.patch_size,
        "clip.vision.embedding_length": tower.hidden_size,
        "clip.vision.feed_forward_length": tower.intermediate_size,
        "clip.vision.block_count": tower.depth,
        "clip.vision.attention.head_count": tower.num_heads,
        "clip.vision.attention.layer_norm_epsilon": 1e-6,
        "clip.vision.spatial_merge_size": tower.spatial_merge_size,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
        "clip.vision.is_deepstack_layers": [False] * tower.depth,
    }
    for key, value in (keys | (metadata or {})).items():
        add_value(writer, key, value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, tower.depth)
    merger = {"norm": "v.post_ln", "linear_fc1": "mm.0", "linear_fc2": "mm.2"}
    for name, tensor in source.state.items():
        if not name.startswith("model.visual."):
            continue
        plain, values = name.removeprefix("model."), tensor.float().numpy()
        if plain == "visual.patch_embed.proj.weight":
            writer.add_tensor("v.patch_embd.weight", np.ascontiguousarray(values[:, :, 0]))
            writer.add_tensor("v.patch_embd.weight.1", np.ascontiguousarray(values[:, :, 1]))
        elif plain == "visual.patch_embed.proj.bias":
            writer.add_tensor("v.patch_embd.bias", values)
        elif plain.startswith("visual.merger."):
            _, _, part, ending = plain.split(".")
            writer.add_tensor(f"{merger[part]}.{ending}", values)
        else:
            kind = types if plain.startswith("visual.blocks.") else "F32"
            add_tensor(writer, names.get_name(plain, try_suffixes=(".weight", ".bias")), values, kind)
    finish(writer)


def copy_fields(reader: gguf.GGUFReader, writer: gguf.GGUFWriter, leave_out: str = "-") -> None:
    """All metadata but the architecture, which the writer has, and what begins with `leave_out`."""
    for field in reader.fields.values():
        if not field.name.startswith(("GGUF.", "general.architecture", leave_out)):
            sub_type = field.types[-1] if field.types[0] is gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type)


def save_as_float32(path: Path, source: Path, every_expert: bool = False) -> None:
    """A GGUF file with every tensor decoded; every_expert: each token goes through all of them, none is chosen."""
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(path, architecture)
    used = f"{architecture}.expert_used_count"
    copy_fields(reader, writer, used if every_expert else "-")
    if every_expert:
        writer.add_uint32(used, reader.fields[f"{architecture}.expert_count"].contents())
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type))
    finish(writer)
