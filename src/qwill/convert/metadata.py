"""Metadata of the GGUF files that are made: from a folder's JSON files, or carried over from another GGUF.

Keys are those that llama.cpp's converter writes, but for `qwill.video.*` (see weights/gguf_vision.py).
"""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from qwill.convert.vocabulary import vocabulary_metadata
from qwill.errors import CheckpointError, UnsupportedModel
from qwill.quant.importance import Importance
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.gguf.config import SAMPLING_KEYS
from qwill.weights.gguf.file import GgufFile
from qwill.weights.gguf.vision import PROJECTOR, VIDEO_COUNTS, VIDEO_PREFIX
from qwill.weights.rope_settings import rope_settings
from qwill.weights.shapes import layer_types, positive

QUANTIZATION_VERSION = 2  # of ggml's block layouts, unchanged since 2023
LAYER_NORM_EPSILON = 1e-6  # of the vision tower; no configuration says it
# What describes how a source was quantized, or how its file is laid out: not carried over.
DROPPED = ("general.file_type", "general.quantization_version", "general.alignment")
DROPPED_PREFIXES = ("split.", "quantize.")
# Keys that may have a value for each block.
PER_BLOCK = (
    "attention.recurrent_layers", "attention.head_count", "attention.head_count_kv", "feed_forward_length",
    "expert_feed_forward_length",
)  # fmt: skip
_INTEGERS = ("top_k",)  # the rest of the sampling settings are float32


def language_metadata(checkpoint: Checkpoint, file_type: int | None, draft_head: bool) -> dict[str, Any]:
    """Of a text model with vocabulary and chat template; `draft_head`: its blocks are in the file, too.

    Raises CheckpointError for a configuration or tokenizer that is incomplete.
    """
    text = checkpoint.config.get("text_config", checkpoint.config)
    return (
        hyperparameters(text, positive(text, "mtp_num_hidden_layers") if draft_head else 0)
        | _general(checkpoint, "model", file_type)
        | {"general.size_label": size_label(checkpoint)}
        | _sampling(checkpoint.generation_config)
        | vocabulary_metadata(checkpoint, positive(text, "vocab_size"))
    )


def hyperparameters(text: dict[str, Any], draft_blocks: int) -> dict[str, Any]:
    """Architecture and sizes of a `text_config`, in a file with so many blocks of a draft head.

    Raises CheckpointError for a size that is missing, UnsupportedModel for what the format cannot say.
    """
    architecture = "qwen35moe" if text.get("num_experts") else "qwen35"
    keys = {f"{architecture}.{key}": value for key, value in _text(text, draft_blocks).items()}
    return {"general.architecture": architecture} | keys


def vision_metadata(checkpoint: Checkpoint, file_type: int | None) -> dict[str, Any]:
    """Of a vision tower, and how images and videos are prepared for it. Raises CheckpointError."""
    vision, images = checkpoint.config.get("vision_config"), checkpoint.image_processor
    if not isinstance(vision, dict):
        raise UnsupportedModel(f"{checkpoint.path}: has no vision_config; it is a text model without a vision tower")
    patch, depth = positive(vision, "patch_size", 16), positive(vision, "depth")
    keys: dict[str, Any] = {
        "projection_dim": positive(vision, "out_hidden_size"),
        "image_size": round(positive(vision, "num_position_embeddings", 2304) ** 0.5) * patch,
        "patch_size": patch,
        "spatial_merge_size": positive(vision, "spatial_merge_size", 2),
        "embedding_length": positive(vision, "hidden_size"),
        "feed_forward_length": positive(vision, "intermediate_size"),
        "block_count": depth,
        "attention.head_count": positive(vision, "num_heads"),
        "attention.layer_norm_epsilon": LAYER_NORM_EPSILON,
        "is_deepstack_layers": [False] * depth,
        "image_mean": [float(value) for value in images.get("image_mean", (0.5, 0.5, 0.5))],
        "image_std": [float(value) for value in images.get("image_std", (0.5, 0.5, 0.5))],
    }
    for key, side in (("image_min_pixels", "shortest_edge"), ("image_max_pixels", "longest_edge")):
        if side in (size := images.get("size") or {}):
            keys[key] = int(size[side])
    return (
        {"general.architecture": "clip"}
        | _general(checkpoint, "mmproj", file_type)
        | {"clip.has_vision_encoder": True, "clip.projector_type": PROJECTOR, "clip.use_gelu": True}
        | {f"clip.vision.{key}": value for key, value in keys.items()}
        | _video(checkpoint.video_processor)
    )


def carried_metadata(file: GgufFile, file_type: int | None, draft_head: bool) -> dict[str, Any]:
    """All keys of a GGUF file in their own types, but those that tell how it was quantized.

    Without `draft_head` its blocks are not counted any more.
    """
    kept: dict[str, Any] = {
        key: value for key, value in file.encoded.items() if key not in DROPPED and not key.startswith(DROPPED_PREFIXES)
    }
    kept |= _quantization(file_type)
    prefix, (layers, blocks) = file.architecture, block_counts(file)
    if not draft_head and layers < blocks:
        del kept[f"{prefix}.nextn_predict_layers"]
        kept[f"{prefix}.block_count"] = layers
        for key in (f"{prefix}.{name}" for name in PER_BLOCK):
            if isinstance(values := file.metadata.get(key), np.ndarray):
                kept[key] = values[:layers]
    return kept


def importance_metadata(importance: Importance) -> dict[str, Any]:
    """What llama-quantize notes of the importance file that it used."""
    return {
        "quantize.imatrix.file": Path(importance.source).name,
        "quantize.imatrix.dataset": ", ".join(importance.datasets),
        "quantize.imatrix.entries_count": len(importance.statistics),
        "quantize.imatrix.chunks_count": importance.chunk_count,
    }


def block_counts(file: GgufFile) -> tuple[int, int]:
    """Layers of a language model's file, and all its blocks, among which those of its draft head are the last.

    Raises CheckpointError when the file does not say it.
    """
    keys = [f"{file.architecture}.{key}" for key in ("block_count", "nextn_predict_layers")]
    blocks, drafting = (file.metadata.get(key, 0) for key in keys)
    if type(blocks) is not int or type(drafting) is not int or not 0 <= drafting < blocks:
        raise CheckpointError(f"{file.path}: {keys[0]} is {blocks!r}, {keys[1]} {drafting!r}; convert the model again")
    return blocks - drafting, blocks


def size_label(checkpoint: Checkpoint) -> str:
    """Experts, and the text model's parameters with one expert a layer, as file names have them: "16x3.4M"."""
    text = checkpoint.config.get("text_config", checkpoint.config)
    sizes = {tensor.name: prod(tensor.shape) for tensor in checkpoint.tensors if "visual." not in tensor.name}
    total, count = sum(sizes.values()), text.get("num_experts")
    if not count:
        return _rounded(total)
    experts = sum(size for name, size in sizes.items() if ".experts." in name)
    return f"{count}x{_rounded(total - experts + experts // count)}"


def _rounded(count: int) -> str:
    """Two digits at least: 4.5M, 27B."""
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count > size or unit == "K":
            break
    scaled = count / size
    return f"{scaled:.{1 if scaled < 9.5 else 0}f}{unit}"


def _general(checkpoint: Checkpoint, kind: str, file_type: int | None) -> dict[str, Any]:
    return {"general.type": kind, "general.name": _name(checkpoint.path)} | _quantization(file_type)


def _quantization(file_type: int | None) -> dict[str, Any]:
    """Files by recipes of one's own are of no type that has a number."""
    result = {"general.quantization_version": QUANTIZATION_VERSION}
    return result if file_type is None else result | {"general.file_type": file_type}


def _name(path: Path) -> str:
    """A folder's name; in the hub's cache the repository's (models--OWNER--NAME/snapshots/COMMIT)."""
    path = path.absolute()
    return path.parent.parent.name.rpartition("--")[2] if path.parent.name == "snapshots" else path.name


def _sampling(generation: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the model recommends; greedy sampling is a temperature of 0."""
    if generation.get("do_sample") is False:
        return {"general.sampling.temp": 0.0}
    return {
        f"general.sampling.{key}": np.int32(generation[name]) if key in _INTEGERS else float(generation[name])
        for key, name in SAMPLING_KEYS.items()
        if isinstance(generation.get(name), int | float)
    }


def _text(text: dict[str, Any], draft_blocks: int) -> dict[str, Any]:
    """Hyperparameters by their names without the architecture."""
    head_dim, kinds = positive(text, "head_dim", 256), layer_types(text)
    state, width = positive(text, "linear_key_head_dim", 128), positive(text, "linear_value_head_dim", 128)
    if state != width:
        raise UnsupportedModel(f"config.json: linear heads of {state} and {width} values; GGUF has one size for both")
    heads = positive(text, "linear_num_value_heads")
    recurrent = [kind == "linear_attention" for kind in kinds] + [False] * draft_blocks
    keys: dict[str, Any] = {
        "block_count": len(recurrent),
        "context_length": positive(text, "max_position_embeddings"),
        "embedding_length": positive(text, "hidden_size"),
        "attention.head_count": positive(text, "num_attention_heads"),
        "attention.head_count_kv": positive(text, "num_key_value_heads"),
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "attention.layer_norm_rms_epsilon": float(text.get("rms_norm_eps", 1e-6)),
        **_rope(text, head_dim),
        "attention.recurrent_layers": recurrent,
        "full_attention_interval": _interval(recurrent),
        "ssm.conv_kernel": positive(text, "linear_conv_kernel_dim", 4),
        "ssm.state_size": state,
        "ssm.group_count": positive(text, "linear_num_key_heads"),
        "ssm.time_step_rank": heads,
        "ssm.inner_size": heads * width,
    }
    if text.get("num_experts"):
        keys["expert_count"] = positive(text, "num_experts")
        keys["expert_used_count"] = positive(text, "num_experts_per_tok")
        keys["expert_feed_forward_length"] = positive(text, "moe_intermediate_size")
        keys["expert_shared_feed_forward_length"] = positive(text, "shared_expert_intermediate_size")
    else:
        keys["feed_forward_length"] = positive(text, "intermediate_size")
    return keys | ({"nextn_predict_layers": draft_blocks} if draft_blocks else {})


def _interval(recurrent: list[bool]) -> int:
    """Every how many layers one attends to all tokens."""
    return recurrent.index(False) + 1 if False in recurrent else len(recurrent) + 1


def _rope(text: dict[str, Any], head_dim: int) -> dict[str, Any]:
    rope = rope_settings(text)
    keys: dict[str, Any] = {
        "rope.dimension_count": int(head_dim * rope.rotary_share),
        "rope.dimension_sections": [*rope.sections, 0],
        "rope.freq_base": rope.theta,
    }
    if rope.yarn is None:
        return keys
    if not rope.yarn.truncate:
        raise UnsupportedModel("config.json: YaRN with truncate = false cannot be said in GGUF; leave it out")
    keys |= {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": rope.yarn.factor,
        "rope.scaling.original_context_length": rope.yarn.original_context,
        "rope.scaling.yarn_beta_fast": rope.yarn.beta_fast,
        "rope.scaling.yarn_beta_slow": rope.yarn.beta_slow,
    }
    attention = rope.yarn.attention(rope.yarn.factor)
    return keys if attention is None else keys | {"rope.scaling.yarn_attn_factor": attention}


def _video(settings: Mapping[str, Any]) -> dict[str, Any]:
    size = settings.get("size") or {}
    edges = {"min_pixels": size.get("shortest_edge"), "max_pixels": size.get("longest_edge")}
    given = {**settings, **{name: edge for name, edge in edges.items() if edge is not None}}
    keys: dict[str, Any] = {
        f"{VIDEO_PREFIX}.{name}": int(given[name]) for name in VIDEO_COUNTS if given.get(name) is not None
    }
    if given.get("fps") is not None:
        keys[f"{VIDEO_PREFIX}.fps"] = float(given["fps"])
    return keys
