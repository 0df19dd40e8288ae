"""Writes a GGUF file of a family member's true shape with random weights, for measuring speed without a download.

    python benchmarks/random_checkpoint.py Qwen3.5-0.8B Q4_K_M FOLDER [--layers N]

Tensors are those of `qwill bench --random-weights`: blocks drawn at random in their stored form, one tensor at a time,
so that a file is made at the speed of the disk. The vocabulary has the released size and consistent merges, so that
other programs load the file too. What such a model says is noise.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from qwill.fit.family import family_config
from qwill.weights.random import draw, plan

SPARE_BYTES = 2 << 30  # left free on the disk
BASE_TOKENS = 248_044
END_OF_TURN, END_OF_TEXT = "<|im_end|>", "<|endoftext|>"


def text_shape(member: str, layers: int | None = None) -> dict[str, Any]:
    """A member's text configuration without draft head, cut to its first layers when asked."""
    text = family_config(member)["text_config"] | {"mtp_num_hidden_layers": 0}
    if layers is not None:
        text["num_hidden_layers"] = layers
    return text


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
    tensors = plan(text, mix)
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
        kind = gguf.GGMLQuantizationType[tensor.type.name]
        writer.add_tensor_info(tensor.gguf, tensor.stored, np.dtype(np.float32), tensor.nbytes, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(seed)
    for tensor in tensors:
        writer.write_tensor_data(np.concatenate(draw(tensor, rng)))
    writer.close()
    os.replace(unfinished, path)


def cached(folder: Path, member: str, mix: str, layers: int | None = None) -> Path:
    """The file in the cache folder, written when it is not there yet."""
    name = f"{member}-{Path(mix).stem}" + (f"-{layers}-layers" if layers else "")
    path = folder / f"random-{name}.gguf"
    if not path.exists():
        write(path, text_shape(member, layers), mix)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("member", help="a released name, such as Qwen3.5-0.8B")
    parser.add_argument("mix", help="a recipe such as Q4_K_M, or a file with one")
    parser.add_argument("folder", type=Path, help="outside the repository")
    parser.add_argument("--layers", type=int, help="keep this many layers")
    arguments = parser.parse_args()
    print(cached(arguments.folder, arguments.member, arguments.mix, arguments.layers))


if __name__ == "__main__":
    main()
