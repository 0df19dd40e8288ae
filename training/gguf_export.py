"""Writes an exported model as llama.cpp's pair of files: `python -m training.gguf_export FOLDER DESTINATION`.

`demo.gguf` holds the text model, the draft head, the tokenizer and the chat template; `mmproj-demo.gguf` the vision
tower. qwill itself reads the folder, so names and values are already the canonical ones of `qwill.weights.tensor`, most
of which GGUF shares; what is left is the tiled order of V heads and a few shapes. Keys are those that llama.cpp's
converter writes, but for `qwill.*` (see `qwill.weights.gguf_config`).
"""

import argparse
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from qwill.model.vision import NORM_EPS
from qwill.quant.codecs import decode
from qwill.weights.gguf_config import VIDEO_COUNTS, VIDEO_PREFIX
from qwill.weights.load import Checkpoint, open_checkpoint
from qwill.weights.names import gguf_name
from qwill.weights.tensor import Tensor

MODEL_NAME, MMPROJ_NAME = "demo.gguf", "mmproj-demo.gguf"
ARCHITECTURE = "qwen35moe"
FILE_TYPES = {
    "F32": gguf.LlamaFileType.ALL_F32,
    "F16": gguf.LlamaFileType.MOSTLY_F16,
    "BF16": gguf.LlamaFileType.MOSTLY_BF16,
    "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}
# Small tensors that llama.cpp wants in F32 although they have two dimensions.
ALWAYS_F32 = ("mlp.gate.weight", "conv1d.weight", "visual.pos_embed.weight")


def export_gguf(folder: Path, destination: Path, text_type: str = "Q8_0", vision_type: str = "F16") -> None:
    """The pair of files in `destination`, matrices in the given types (keys of FILE_TYPES).

    F16 is exact for a tower trained in bfloat16: its eight bits fit into F16's eleven, and weights beyond F16's range
    do not occur. Raises gguf.QuantError when a matrix's rows are no whole blocks.
    """
    checkpoint = open_checkpoint(folder)
    destination.mkdir(parents=True, exist_ok=True)
    write_model(destination / MODEL_NAME, checkpoint, text_type)
    write_mmproj(destination / MMPROJ_NAME, checkpoint, vision_type)


def write_model(path: Path, checkpoint: Checkpoint, kind: str) -> None:
    """The text model, its draft head and its vocabulary."""
    text = checkpoint.config["text_config"]
    with_head = "mtp.fc.weight" in checkpoint.tensors
    writer = gguf.GGUFWriter(path.with_suffix(".partial"), ARCHITECTURE)
    describe(writer, gguf.GGUFType.MODEL, kind)
    writer.add_size_label(size_label(checkpoint))
    if checkpoint.generation_config.get("do_sample") is False:
        writer.add_sampling_temp(0.0)
    add_text_config(writer, text, with_head)
    add_vocabulary(writer, checkpoint)
    for tensor in checkpoint.tensors:
        if not tensor.name.startswith("visual."):
            values = tile_v_heads(tensor.name, float_values(tensor), text)
            add_tensor(writer, gguf_name(tensor.name, text["num_hidden_layers"]), tensor.name, values, kind)
    finish(writer, path)


def write_mmproj(path: Path, checkpoint: Checkpoint, kind: str) -> None:
    """The vision tower, and how images and videos are prepared for it. Patches are rows of 16, too short for blocks."""
    vision = checkpoint.config["vision_config"]
    writer = gguf.GGUFWriter(path.with_suffix(".partial"), "clip")
    describe(writer, gguf.GGUFType.MMPROJ, kind)
    add_vision_config(writer, vision, checkpoint)
    for tensor in checkpoint.tensors:
        if tensor.name == "visual.patch_embed.proj.weight":
            for name, values in patch_slices(float_values(tensor), vision):
                add_tensor(writer, name, tensor.name, values, "F16" if kind == "Q8_0" else kind)
        elif tensor.name.startswith("visual."):
            add_tensor(writer, gguf_name(tensor.name, 0), tensor.name, float_values(tensor), kind)
    finish(writer, path)


def describe(writer: gguf.GGUFWriter, what: str, kind: str) -> None:
    writer.add_type(what)
    writer.add_name("qwill's demonstration model")
    writer.add_license("apache-2.0")
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(FILE_TYPES[kind])


def size_label(checkpoint: Checkpoint) -> str:
    """Experts, and the text model's parameters with one expert a layer, as file names have them: "16x3.4M"."""
    sizes = {tensor.name: math.prod(tensor.shape) for tensor in checkpoint.tensors if "visual." not in tensor.name}
    experts = sum(size for name, size in sizes.items() if ".experts." in name)
    count = checkpoint.config["text_config"]["num_experts"]
    total = sum(sizes.values())
    return gguf.size_label(total, total - experts, experts // count, count)


def add_text_config(writer: gguf.GGUFWriter, text: dict[str, Any], with_head: bool) -> None:
    layers, rope = text["num_hidden_layers"], text["rope_parameters"]
    assert rope["rope_type"] == "default", "YaRN belongs to the command line, not into the demonstration model"
    assert text["linear_key_head_dim"] == text["linear_value_head_dim"], "the format has one size for both"
    writer.add_block_count(layers + with_head)
    writer.add_context_length(text["max_position_embeddings"])
    writer.add_embedding_length(text["hidden_size"])
    writer.add_head_count(text["num_attention_heads"])
    writer.add_head_count_kv(text["num_key_value_heads"])
    writer.add_key_length(text["head_dim"])
    writer.add_value_length(text["head_dim"])
    writer.add_layer_norm_rms_eps(text["rms_norm_eps"])
    writer.add_rope_dimension_count(int(text["head_dim"] * rope["partial_rotary_factor"]))
    writer.add_rope_dimension_sections([*rope["mrope_section"], 0])
    writer.add_rope_freq_base(rope["rope_theta"])
    recurrent = [kind == "linear_attention" for kind in text["layer_types"]] + [False] * with_head
    writer.add_array(f"{ARCHITECTURE}.attention.recurrent_layers", recurrent)
    writer.add_full_attention_interval(recurrent.index(False) + 1)
    writer.add_expert_count(text["num_experts"])
    writer.add_expert_used_count(text["num_experts_per_tok"])
    writer.add_expert_feed_forward_length(text["moe_intermediate_size"])
    writer.add_expert_shared_feed_forward_length(text["shared_expert_intermediate_size"])
    writer.add_ssm_conv_kernel(text["linear_conv_kernel_dim"])
    writer.add_ssm_state_size(text["linear_key_head_dim"])
    writer.add_ssm_group_count(text["linear_num_key_heads"])
    writer.add_ssm_time_step_rank(text["linear_num_value_heads"])
    writer.add_ssm_inner_size(text["linear_value_head_dim"] * text["linear_num_value_heads"])
    if with_head:
        writer.add_nextn_predict_layers(1)


def add_vocabulary(writer: gguf.GGUFWriter, checkpoint: Checkpoint) -> None:
    """Tokens by id, merges, types, where to stop, and the chat template. Rows of the embedding without a token are
    padding.
    """
    assert checkpoint.tokenizer_json is not None
    assert checkpoint.chat_template is not None
    tokenizer = json.loads(checkpoint.tokenizer_json.read_text(encoding="utf-8"))
    text = checkpoint.config["text_config"]
    tokens = [f"[PAD{number}]" for number in range(text["vocab_size"])]
    kinds = [gguf.TokenType.UNUSED] * len(tokens)
    for token, number in tokenizer["model"]["vocab"].items():
        tokens[number], kinds[number] = token, gguf.TokenType.NORMAL
    for added in tokenizer["added_tokens"]:
        number, token = added["id"], added["content"]
        control = added["special"] or (token.startswith("<|") and token.endswith("|>"))
        tokens[number], kinds[number] = token, gguf.TokenType.CONTROL if control else gguf.TokenType.USER_DEFINED
    merges = tokenizer["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen35")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_eos_token_id(text["eos_token_id"])
    writer.add_pad_token_id(text["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(checkpoint.chat_template)


def add_vision_config(writer: gguf.GGUFWriter, vision: dict[str, Any], checkpoint: Checkpoint) -> None:
    images, videos = checkpoint.image_processor, checkpoint.video_processor
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(gguf.VisionProjectorType.QWEN3VL)
    writer.add_vision_use_gelu(True)
    writer.add_vision_projection_dim(vision["out_hidden_size"])
    writer.add_vision_image_size(round(vision["num_position_embeddings"] ** 0.5) * vision["patch_size"])
    writer.add_vision_patch_size(vision["patch_size"])
    writer.add_vision_spatial_merge_size(vision["spatial_merge_size"])
    writer.add_vision_embedding_length(vision["hidden_size"])
    writer.add_vision_feed_forward_length(vision["intermediate_size"])
    writer.add_vision_block_count(vision["depth"])
    writer.add_vision_head_count(vision["num_heads"])
    writer.add_vision_attention_layernorm_eps(NORM_EPS)
    writer.add_vision_is_deepstack_layers([False] * vision["depth"])
    writer.add_vision_image_mean(images["image_mean"])
    writer.add_vision_image_std(images["image_std"])
    writer.add_vision_min_pixels(images["size"]["shortest_edge"])
    writer.add_vision_max_pixels(images["size"]["longest_edge"])
    settings = videos | {"min_pixels": videos["size"]["shortest_edge"], "max_pixels": videos["size"]["longest_edge"]}
    for name in VIDEO_COUNTS:
        writer.add_uint32(f"{VIDEO_PREFIX}.{name}", settings[name])
    writer.add_float32(f"{VIDEO_PREFIX}.fps", settings["fps"])


def float_values(tensor: Tensor) -> np.ndarray:
    """The tensor as a float32 array of its shape."""
    stored = np.concatenate([np.ascontiguousarray(part).reshape(-1).view(np.uint8) for part in tensor.parts])
    return decode(tensor.type, stored, tensor.shape)


def tile_v_heads(name: str, values: np.ndarray, text: dict[str, Any], back: bool = False) -> np.ndarray:
    """Grouped V heads [k head, its v heads] in GGUF's order, where the v heads of one k head stand K apart.

    `back`: the other way round.

    Rows of projections to V heads and of the conv's V channels move, columns of the projection from them, and the
    entries of what has one value a head.
    """
    key_heads, heads, size = (text[f"linear_{part}"] for part in ("num_key_heads", "num_value_heads", "value_head_dim"))
    order = np.arange(heads).reshape(key_heads, heads // key_heads).T.reshape(-1)
    order = np.argsort(order) if back else order
    rows = (order[:, None] * size + np.arange(size)).reshape(-1)
    match name.partition("linear_attn.")[2]:
        case "in_proj_qkv.weight" | "conv1d.weight":
            queries_and_keys = len(values) - len(rows)
            return np.concatenate((values[:queries_and_keys], values[queries_and_keys:][rows]))
        case "in_proj_z.weight":
            return values[rows]
        case "out_proj.weight":
            return values[:, rows]
        case "in_proj_a.weight" | "in_proj_b.weight" | "A" | "dt_bias":
            return values[order]
    return values


def patch_slices(values: np.ndarray, vision: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """The flat patch embedding as one convolution [out, channels, height, width] for each of the two frames."""
    side = vision["patch_size"]
    frames = values.reshape(len(values), vision["in_channels"], vision["temporal_patch_size"], side, side)
    first = gguf_name("visual.patch_embed.proj.weight", 0)
    for frame, name in enumerate((first, f"{first}.1")):
        yield name, frames[:, :, frame]


def add_tensor(writer: gguf.GGUFWriter, name: str, canonical: str, values: np.ndarray, kind: str) -> None:
    """One tensor; vectors and what llama.cpp computes with in F32 stay in it."""
    if canonical.endswith("shared_expert_gate.weight"):
        values = values[0]
    if values.ndim == 1 or canonical.endswith(ALWAYS_F32):
        kind = "F32"
    quantization = gguf.GGMLQuantizationType[kind]
    stored = gguf.quantize(np.ascontiguousarray(values), quantization)
    writer.add_tensor(name, stored, raw_dtype=quantization)


def finish(writer: gguf.GGUFWriter, path: Path) -> None:
    """Writes what was collected: whole or not at all."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(path.with_suffix(".partial"), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="what training.export wrote")
    parser.add_argument("destination", type=Path)
    parser.add_argument("--type", default="Q8_0", choices=FILE_TYPES, help="of the text model's matrices")
    parser.add_argument("--vision-type", default="F16", choices=FILE_TYPES, help="of the vision tower's")
    options = parser.parse_args()
    export_gguf(options.folder, options.destination, options.type, options.vision_type)


if __name__ == "__main__":
    main()
