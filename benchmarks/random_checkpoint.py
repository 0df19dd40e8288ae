"""Writes a GGUF file of a family member's true shape with random weights, for measuring speed without a download.

    python benchmarks/random_checkpoint.py Qwen3.5-0.8B Q4_K FOLDER [--layers N]

Blocks are drawn at random in their stored form, so that a file is made at the speed of the disk, one tensor at a time.
The values are of a trained model's size (a standard deviation near 0.02), so nothing overflows. The vocabulary has the
released size and consistent merges, so that other programs load the file too. What such a model says is noise.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from qwill.fit.family import family_config

STANDARD_DEVIATION = 0.02
SPARE_BYTES = 2 << 30  # left free on the disk
BASE_TOKENS = 248_044
END_OF_TURN, END_OF_TEXT = "<|im_end|>", "<|endoftext|>"
# Types of the matrices, and of embeddings and head, by the name of a mix. Q4_K raises the head as llama-quantize does.
MIXES = {
    "F16": ("F16", "F16"),
    "BF16": ("BF16", "BF16"),
    "Q8_0": ("Q8_0", "Q8_0"),
    "Q6_K": ("Q6_K", "Q6_K"),
    "Q4_K": ("Q4_K", "Q6_K"),
    "Q4_0": ("Q4_0", "Q6_K"),
}


@dataclass(frozen=True)
class Planned:
    """A tensor to write: name, shape (rows first), type."""

    name: str
    shape: tuple[int, ...]
    type: str

    @property
    def kind(self) -> gguf.GGMLQuantizationType:
        return gguf.GGMLQuantizationType[self.type]

    @property
    def blocks(self) -> int:
        return int(np.prod(self.shape)) // gguf.GGML_QUANT_SIZES[self.kind][0]

    @property
    def nbytes(self) -> int:
        return self.blocks * gguf.GGML_QUANT_SIZES[self.kind][1]


def text_shape(member: str, layers: int | None = None) -> dict[str, Any]:
    """A member's text configuration, cut to its first layers when asked."""
    text = dict(family_config(member)["text_config"])
    if layers is not None:
        text["num_hidden_layers"] = layers
    return text


def plan(text: dict[str, Any], mix: str) -> Iterator[Planned]:
    """All tensors of the language model, without draft head."""
    matrix, head = MIXES[mix]
    hidden, vocab = text["hidden_size"], text["vocab_size"]
    yield Planned("token_embd.weight", (vocab, hidden), head)
    if not text["tie_word_embeddings"]:
        yield Planned("output.weight", (vocab, hidden), head)
    yield Planned("output_norm.weight", (hidden,), "F32")
    for layer in range(text["num_hidden_layers"]):
        full = layer % text["full_attention_interval"] == text["full_attention_interval"] - 1
        parts = _attention(text, matrix) if full else _gated_delta(text, matrix)
        for name, shape, kind in (*parts, *_feed_forward(text, matrix)):
            yield Planned(f"blk.{layer}.{name}", shape, kind)


Parts = list[tuple[str, tuple[int, ...], str]]


def _attention(text: dict[str, Any], matrix: str) -> Parts:
    hidden, head_dim = text["hidden_size"], text["head_dim"]
    heads, kv_heads = text["num_attention_heads"], text["num_key_value_heads"]
    return [
        ("attn_norm.weight", (hidden,), "F32"),
        ("attn_q.weight", (2 * heads * head_dim, hidden), matrix),
        ("attn_k.weight", (kv_heads * head_dim, hidden), matrix),
        ("attn_v.weight", (kv_heads * head_dim, hidden), matrix),
        ("attn_q_norm.weight", (head_dim,), "F32"),
        ("attn_k_norm.weight", (head_dim,), "F32"),
        ("attn_output.weight", (hidden, heads * head_dim), matrix),
        ("post_attention_norm.weight", (hidden,), "F32"),
    ]


def _gated_delta(text: dict[str, Any], matrix: str) -> Parts:
    hidden, width = text["hidden_size"], text["linear_value_head_dim"]
    keys, values = text["linear_num_key_heads"], text["linear_num_value_heads"]
    channels = (2 * keys + values) * width
    return [
        ("attn_norm.weight", (hidden,), "F32"),
        ("attn_qkv.weight", (channels, hidden), matrix),
        ("attn_gate.weight", (values * width, hidden), matrix),
        ("ssm_alpha.weight", (values, hidden), matrix),
        ("ssm_beta.weight", (values, hidden), matrix),
        ("ssm_conv1d.weight", (channels, text["linear_conv_kernel_dim"]), "F32"),
        ("ssm_a", (values,), "F32"),
        ("ssm_dt.bias", (values,), "F32"),
        ("ssm_norm.weight", (width,), "F32"),
        ("ssm_out.weight", (hidden, values * width), matrix),
        ("post_attention_norm.weight", (hidden,), "F32"),
    ]


def _feed_forward(text: dict[str, Any], matrix: str) -> Parts:
    hidden = text["hidden_size"]
    if "num_experts" not in text:
        width = text["intermediate_size"]
        return [
            ("ffn_gate.weight", (width, hidden), matrix),
            ("ffn_up.weight", (width, hidden), matrix),
            ("ffn_down.weight", (hidden, width), matrix),
        ]
    experts, width, shared = text["num_experts"], text["moe_intermediate_size"], text["shared_expert_intermediate_size"]
    return [
        ("ffn_gate_inp.weight", (experts, hidden), "F32"),
        ("ffn_gate_exps.weight", (experts, width, hidden), matrix),
        ("ffn_up_exps.weight", (experts, width, hidden), matrix),
        ("ffn_down_exps.weight", (experts, hidden, width), matrix),
        ("ffn_gate_inp_shexp.weight", (hidden,), "F32"),
        ("ffn_gate_shexp.weight", (shared, hidden), matrix),
        ("ffn_up_shexp.weight", (shared, hidden), matrix),
        ("ffn_down_shexp.weight", (hidden, shared), matrix),
    ]


def draw(tensor: Planned, rng: np.random.Generator) -> np.ndarray:
    """Random bytes of a tensor in its stored form, [blocks, bytes a block] or values."""
    if tensor.type == "F32":
        return _draw_small(tensor, rng)
    if tensor.type in ("F16", "BF16"):
        values = rng.standard_normal(tensor.blocks, np.float32) * np.float32(STANDARD_DEVIATION)
        return values.astype(np.float16) if tensor.type == "F16" else (values.view(np.uint32) >> 16).astype(np.uint16)
    size = gguf.GGML_QUANT_SIZES[tensor.kind][1]
    blocks = np.frombuffer(rng.bytes(tensor.blocks * size), np.uint8).reshape(-1, size).copy()
    for offset, scale in SCALES[tensor.type]:
        blocks[:, offset : offset + 2] = np.array([scale], np.float16).view(np.uint8)
    return blocks


# Where a block's half-precision scales lie, and what makes random bytes elsewhere decode to the standard deviation.
# Q4_K: scale * (6 bits) * (4 bits) - minimum * (6 bits), centred when the minimum is 7.5 times the scale.
SCALES: dict[str, list[tuple[int, float]]] = {
    "Q8_0": [(0, STANDARD_DEVIATION / 73.9)],
    "Q4_0": [(0, STANDARD_DEVIATION / 4.6)],
    "Q4_K": [(0, STANDARD_DEVIATION / 255), (2, 7.5 * STANDARD_DEVIATION / 255)],
    "Q6_K": [(208, STANDARD_DEVIATION / 1366)],
}


def _draw_small(tensor: Planned, rng: np.random.Generator) -> np.ndarray:
    """Vectors and small matrices: norms near one, decays between fast and slow, the rest at the usual size."""
    if tensor.name.endswith("norm.weight"):
        return np.ones(tensor.shape, np.float32)
    if tensor.name.endswith("ssm_a"):
        return -np.exp(rng.uniform(-3, 2, tensor.shape)).astype(np.float32)
    if "conv1d" in tensor.name:
        return rng.normal(0, 0.5, tensor.shape).astype(np.float32)
    return rng.normal(0, STANDARD_DEVIATION, tensor.shape).astype(np.float32)


def vocabulary(size: int) -> tuple[list[str], list[str], list[int]]:
    """Tokens, merges and types: the bytes, all pairs of bytes, then pairs with a byte more; two end tokens; padding."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    tokens, merges = list(letters), []
    for stem in tokens:  # grows as it is read: a token's children follow when all shorter ones have theirs
        for letter in letters:
            if len(tokens) == BASE_TOKENS:
                break
            merges.append(f"{stem} {letter}")
            tokens.append(stem + letter)
        if len(tokens) == BASE_TOKENS:
            break
    special = [END_OF_TEXT, "<|im_start|>", END_OF_TURN]
    padding = [f"[PAD{i}]" for i in range(size - BASE_TOKENS - len(special))]
    return tokens + special + padding, merges, [1] * BASE_TOKENS + [3] * len(special) + [5] * len(padding)


def metadata(text: dict[str, Any], add: Callable[[str, Any], None]) -> None:
    """The hyperparameters, by their names without the architecture."""
    values, width = text["linear_num_value_heads"], text["linear_value_head_dim"]
    rope = text["rope_parameters"]
    add("block_count", text["num_hidden_layers"])
    add("context_length", text["max_position_embeddings"])
    add("embedding_length", text["hidden_size"])
    add("attention.head_count", text["num_attention_heads"])
    add("attention.head_count_kv", text["num_key_value_heads"])
    add("attention.key_length", text["head_dim"])
    add("attention.value_length", text["head_dim"])
    add("attention.layer_norm_rms_epsilon", text["rms_norm_eps"])
    add("rope.dimension_count", int(text["head_dim"] * rope["partial_rotary_factor"]))
    add("rope.dimension_sections", [*rope["mrope_section"], 0])
    add("rope.freq_base", float(rope["rope_theta"]))
    add("full_attention_interval", text["full_attention_interval"])
    add("ssm.conv_kernel", text["linear_conv_kernel_dim"])
    add("ssm.state_size", width)
    add("ssm.group_count", text["linear_num_key_heads"])
    add("ssm.time_step_rank", values)
    add("ssm.inner_size", values * width)
    if "num_experts" in text:
        add("expert_count", text["num_experts"])
        add("expert_used_count", text["num_experts_per_tok"])
        add("expert_feed_forward_length", text["moe_intermediate_size"])
        add("expert_shared_feed_forward_length", text["shared_expert_intermediate_size"])
    else:
        add("feed_forward_length", text["intermediate_size"])


def write(path: Path, text: dict[str, Any], mix: str, seed: int = 0) -> None:
    """Writes the file under another name first, so that a file of the right name is whole.

    Raises SystemExit when the disk is short of room.
    """
    tensors = list(plan(text, mix))
    total = sum(tensor.nbytes for tensor in tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if total + SPARE_BYTES > free:
        sys.exit(f"{path.parent}: {total / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free")
    unfinished = path.with_suffix(".unfinished")
    architecture = "qwen35moe" if "num_experts" in text else "qwen35"
    writer = gguf.GGUFWriter(unfinished, architecture)
    adders = {int: writer.add_uint32, float: writer.add_float32, list: writer.add_array}
    metadata(text, lambda key, value: adders[type(value)](f"{architecture}.{key}", value))
    tokens, merges, types = vocabulary(text["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen35")
    writer.add_token_list(tokens)
    writer.add_token_merges(merges)
    writer.add_token_types(types)
    writer.add_eos_token_id(tokens.index(END_OF_TURN))
    writer.add_pad_token_id(tokens.index(END_OF_TEXT))
    writer.add_add_bos_token(False)
    for tensor in tensors:
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), tensor.nbytes, tensor.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(seed)
    for tensor in tensors:
        writer.write_tensor_data(draw(tensor, rng))
    writer.close()
    os.replace(unfinished, path)


def cached(folder: Path, member: str, mix: str, layers: int | None = None) -> Path:
    """The file in the cache folder, written when it is not there yet."""
    name = f"{member}-{mix}" + (f"-{layers}-layers" if layers else "")
    path = folder / f"random-{name}.gguf"
    if not path.exists():
        write(path, text_shape(member, layers), mix)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("member", help="a released name, such as Qwen3.5-0.8B")
    parser.add_argument("mix", choices=MIXES)
    parser.add_argument("folder", type=Path, help="outside the repository")
    parser.add_argument("--layers", type=int, help="keep this many layers")
    arguments = parser.parse_args()
    print(cached(arguments.folder, arguments.member, arguments.mix, arguments.layers))


if __name__ == "__main__":
    main()
