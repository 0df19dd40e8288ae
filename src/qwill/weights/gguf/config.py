"""GGUF metadata in the shape of a released `config.json`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.weights.gguf.file import GgufFile
from qwill.weights.gguf.metadata import MetadataReader
from qwill.weights.vocabulary import Vocabulary

MODEL_TYPES = {"qwen35": "qwen3_5", "qwen35moe": "qwen3_5_moe"}
MEDIA_TOKENS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
STOP_TOKENS = ("<|im_end|>", "<|endoftext|>")
SAMPLING_KEYS = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}
DEFAULT_SECTIONS = (11, 11, 10)  # llama.cpp's converter writes these when a checkpoint says nothing
MAX_LAYERS = 1000  # no damaged count may build a long list


def language_config(file: GgufFile, vocabulary: Vocabulary | None) -> dict[str, Any]:
    """`config.json` of a text-only model from the metadata of a `qwen35` or `qwen35moe` file.

    Raises CheckpointError for a missing key.
    """
    architecture = file.architecture
    reader = MetadataReader(file, architecture)
    tied = "output.weight" not in file.tensors
    model_type = MODEL_TYPES[architecture]
    text = _text_config(reader, tied, model_type)
    text["eos_token_id"] = vocabulary.eos_token_id if vocabulary else None
    special = vocabulary.special_ids() if vocabulary else {}
    return {
        "model_type": model_type,
        "tie_word_embeddings": tied,
        "text_config": text,
        **{key: special[token] for key, token in MEDIA_TOKENS.items() if token in special},
    }


def _text_config(reader: MetadataReader, tied: bool, model_type: str) -> dict[str, Any]:
    blocks, drafting = reader.integer("block_count"), reader.integer("nextn_predict_layers", 0, minimum=0)
    layers = blocks - drafting
    if not 0 < layers <= MAX_LAYERS:
        raise reader.wrong("block_count", blocks)
    layer_types = _layer_types(reader, layers)
    attention = [i for i, kind in enumerate(layer_types) if kind == "full_attention"] or [0]
    head_dim = reader.integer("attention.key_length")
    if reader.integer("attention.value_length", head_dim) != head_dim:
        raise UnsupportedModel(f"{reader.file.path}: keys and values of different length are not supported")
    value_heads = reader.integer("ssm.time_step_rank")
    inner = reader.integer("ssm.inner_size")
    if inner % value_heads:
        raise reader.wrong("ssm.time_step_rank", value_heads)
    embedding = reader.file.tensors.get("token_embd.weight")
    if embedding is None:
        raise CheckpointError(f"{reader.file.path}: tensor token_embd.weight is missing; the file is incomplete")
    text: dict[str, Any] = {
        "model_type": f"{model_type}_text",
        "vocab_size": embedding.shape[0],
        "hidden_size": reader.integer("embedding_length"),
        "num_hidden_layers": layers,
        "layer_types": layer_types,
        "num_attention_heads": reader.per_layer("attention.head_count", attention),
        "num_key_value_heads": reader.per_layer("attention.head_count_kv", attention),
        "head_dim": head_dim,
        "hidden_act": "silu",
        "attention_bias": False,
        "attn_output_gate": True,
        "rms_norm_eps": reader.number("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": reader.integer("context_length"),
        "linear_conv_kernel_dim": reader.integer("ssm.conv_kernel"),
        "linear_key_head_dim": reader.integer("ssm.state_size"),
        "linear_value_head_dim": inner // value_heads,
        "linear_num_key_heads": reader.integer("ssm.group_count"),
        "linear_num_value_heads": value_heads,
        "mtp_num_hidden_layers": drafting,
        "tie_word_embeddings": tied,
        "rope_parameters": _rope_parameters(reader, head_dim),
    }
    if reader.prefix == "qwen35moe":
        every = list(range(layers))
        text["num_experts"] = reader.integer("expert_count")
        text["num_experts_per_tok"] = reader.integer("expert_used_count")
        text["moe_intermediate_size"] = reader.per_layer("expert_feed_forward_length", every)
        text["shared_expert_intermediate_size"] = reader.integer("expert_shared_feed_forward_length")
    else:
        text["intermediate_size"] = reader.per_layer("feed_forward_length", list(range(layers)))
    return text


def _layer_types(reader: MetadataReader, layers: int) -> list[str]:
    recurrent, heads = reader.raw("attention.recurrent_layers"), reader.raw("attention.head_count_kv")
    if recurrent is None and isinstance(heads, np.ndarray) and len(heads) >= layers and not heads[:layers].all():
        recurrent = heads == 0  # as Ollama's converter says it
    elif recurrent is None:
        interval = reader.integer("full_attention_interval", 4)
        recurrent = [(i + 1) % interval != 0 for i in range(layers)]
    elif not isinstance(recurrent, np.ndarray) or len(recurrent) < layers:
        raise reader.wrong("attention.recurrent_layers", recurrent)
    return ["linear_attention" if recurrent[i] else "full_attention" for i in range(layers)]


def _rope_parameters(reader: MetadataReader, head_dim: int) -> dict[str, Any]:
    sections = reader.raw("rope.dimension_sections")
    if sections is None:
        sections = np.array(DEFAULT_SECTIONS)
    if not isinstance(sections, np.ndarray) or sections.dtype.kind not in "iu" or len(sections) < 3:
        raise reader.wrong("rope.dimension_sections", sections)
    rope: dict[str, Any] = {
        "rope_type": "default",
        "rope_theta": reader.number("rope.freq_base"),
        "partial_rotary_factor": reader.integer("rope.dimension_count") / head_dim,
        "mrope_section": [int(size) for size in sections[:3]],
        "mrope_interleaved": True,
    }
    kind = reader.raw("rope.scaling.type") or "none"
    factor = reader.number("rope.scaling.factor", 1.0)
    if kind == "none" or (kind == "linear" and factor in (0.0, 1.0)):
        return rope
    if kind != "yarn":
        raise UnsupportedModel(f"{reader.file.path}: rope scaling {kind!r} is not supported, only yarn")
    for key, neutral in (("attn_factor", 1.0), ("yarn_ext_factor", 1.0), ("yarn_log_multiplier", 0.0)):
        if reader.number(f"rope.scaling.{key}", neutral) != neutral:
            raise UnsupportedModel(f"{reader.file.path}: {reader.prefix}.rope.scaling.{key} is not supported")
    rope["rope_type"] = "yarn"
    rope["factor"] = factor
    rope["original_max_position_embeddings"] = reader.integer("rope.scaling.original_context_length")
    for key, name in (("attn_factor", "attention_factor"), ("beta_fast", "beta_fast"), ("beta_slow", "beta_slow")):
        if reader.raw(f"rope.scaling.yarn_{key}") is not None:
            rope[name] = reader.number(f"rope.scaling.yarn_{key}")
    return rope


def generation_config(metadata: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    """`generation_config.json` from a GGUF: where to stop, and the sampling settings that the file recommends."""
    special = vocabulary.special_ids()
    stops = [vocabulary.eos_token_id, vocabulary.eot_token_id, *(special.get(token) for token in STOP_TOKENS)]
    result: dict[str, Any] = {"eos_token_id": list(dict.fromkeys(stop for stop in stops if stop is not None))}
    if vocabulary.pad_token_id is not None:
        result["pad_token_id"] = vocabulary.pad_token_id
    for key, name in SAMPLING_KEYS.items():
        value = metadata.get(f"general.sampling.{key}")
        if type(value) in (int, float):
            result[name] = value if type(value) is int else float(str(np.float32(value)))
    if "temperature" in result:
        result["do_sample"] = result["temperature"] > 0
    return result


def chat_template(metadata: Mapping[str, Any]) -> str | None:
    """The chat template that a GGUF carries."""
    template = metadata.get("tokenizer.chat_template")
    return template if isinstance(template, str) else None
