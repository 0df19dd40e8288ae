"""Writes a folder of a family member's true shape with random weights: as mlx-lm does in 4 bits, or in FP8 by rows.

    python benchmarks/random_folder.py Qwen3.5-0.8B mlx-4bit FOLDER [--layers N]

`mlx-4bit`: affine groups of 64, routers and shared gates in 8 bits; `fp8-rows`: compressed-tensors' FP8_DYNAMIC, with
embeddings, head and small projections in BF16. The vocabulary is that of random_checkpoint.py. What such a model says
is noise.
"""

import argparse
import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from random_checkpoint import END_OF_TURN, text_shape, vocabulary

from qwill.convert.safetensors_writer import FolderWriter, StoredTensor
from qwill.convert.vocabulary import PRE_TOKENIZER
from qwill.fit.family import family_config
from qwill.quant.types import TYPES
from qwill.text.tokenizer import SPLIT_PATTERNS
from qwill.weights.random_blocks import random_blocks
from qwill.weights.shapes import TensorShape, text_shapes

SHARD_BYTES = 5_000_000_000
PIECE = 1 << 24  # elements drawn together
GROUP = 64
KEPT_FROM_FP8 = ("embed_tokens", "lm_head", "in_proj_a", "in_proj_b", "mlp.gate.weight", "shared_expert_gate")
FP8 = {
    "quant_method": "compressed-tensors",
    "format": "float-quantized",
    "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}},
}

rng = np.random.default_rng(0)
Piece = tuple[StoredTensor, Iterator[np.ndarray]]


def small(shape: TensorShape) -> np.ndarray:
    """float32 values of a norm, a decay (as released: its logarithm) or a convolution."""
    if shape.name.endswith("linear_attn.A"):
        return rng.uniform(-3, 2, shape.shape).astype(np.float32)
    if shape.name.endswith("conv1d.weight"):
        return rng.normal(0, 0.5, shape.shape).astype(np.float32)
    return np.full(shape.shape, 0.0 if shape.name.endswith("dt_bias") else 1.0, np.float32)


def is_small(shape: TensorShape) -> bool:
    return len(shape.shape) == 1 or shape.name.endswith("conv1d.weight")


def bf16(values: np.ndarray) -> np.ndarray:
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def random_bytes(count: int) -> Iterator[np.ndarray]:
    for begin in range(0, count, PIECE):
        yield rng.integers(0, 256, min(PIECE, count - begin), np.uint8)


def filled(count: int, number: float, dtype: str) -> Iterator[np.ndarray]:
    value = np.full(1, number, np.float32)
    value = bf16(value) if dtype == "BF16" else value
    for begin in range(0, count, PIECE):
        yield np.repeat(value, min(PIECE, count - begin))


def matrix_bf16(name: str, shape: tuple[int, ...], deviation: float) -> Piece:
    def draw() -> Iterator[np.ndarray]:
        for begin in range(0, prod(shape), PIECE):
            yield random_blocks(TYPES["BF16"], min(PIECE, prod(shape) - begin), rng, deviation)

    return StoredTensor(name, "BF16", shape), draw()


def mlx_tensors(shapes: list[TensorShape]) -> Iterator[Piece]:
    for shape in shapes:
        top = "" if shape.name.startswith("lm_head") else "model."
        name = "language_model." + top + shape.name.replace("mlp.experts.", "mlp.switch_mlp.")
        if is_small(shape):
            stored = StoredTensor(name.replace("linear_attn.A", "linear_attn.A_log"), "F32", shape.shape)
            if name.endswith("conv1d.weight"):
                stored = StoredTensor(name, "F32", (*shape.shape, 1))
            yield stored, iter([small(shape)])
            continue
        bits = 8 if shape.name.endswith(("mlp.gate.weight", "shared_expert_gate.weight")) else 4
        *rows, columns = shape.shape
        module = name.removesuffix(".weight")
        words, groups = (*rows, columns * bits // 32), (*rows, columns // GROUP)
        yield StoredTensor(f"{module}.weight", "U32", words), random_bytes(4 * prod(words))
        deviation = 16.0 if "embed_tokens" in name else 0.02
        scale = deviation / (4.61 if bits == 4 else 73.9)
        yield StoredTensor(f"{module}.scales", "BF16", groups), filled(prod(groups), scale, "BF16")
        bias = -scale * ((1 << bits) - 1) / 2
        yield StoredTensor(f"{module}.biases", "BF16", groups), filled(prod(groups), bias, "BF16")


def fp8_tensors(shapes: list[TensorShape]) -> Iterator[Piece]:
    for shape in shapes:
        name = shape.name if shape.name.startswith("lm_head") else f"model.language_model.{shape.name}"
        if is_small(shape):
            values = small(shape) - (1.0 if "norm.weight" in name and "linear_attn" not in name else 0.0)
            size = (shape.shape[0], 1, shape.shape[1]) if name.endswith("conv1d.weight") else shape.shape
            stored = StoredTensor(name.replace("linear_attn.A", "linear_attn.A_log"), "F32", size)
            yield stored, iter([values.astype(np.float32)])
        elif any(part in name for part in KEPT_FROM_FP8):
            yield matrix_bf16(name, shape.shape, 16.0 if "embed_tokens" in name else 0.02)
        else:
            numbers = (data & 0xF7 for data in random_bytes(prod(shape.shape)))  # none of them NaN
            yield StoredTensor(name, "F8_E4M3", shape.shape), numbers
            rows = (shape.shape[0], 1)
            yield StoredTensor(f"{name}_scale", "F32", rows), filled(rows[0], 0.0002, "F32")


def tokenizer(size: int) -> bytes:
    tokens, merges, types = vocabulary(size)
    special = [
        {"id": number, "content": token, "special": True, "normalized": False, "single_word": False, "lstrip": False,
         "rstrip": False}
        for number, (token, kind) in enumerate(zip(tokens, types, strict=True)) if kind == 3
    ]  # fmt: skip
    plain = {token: number for number, (token, kind) in enumerate(zip(tokens, types, strict=True)) if kind == 1}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {
        "type": "Split",
        "pattern": {"Regex": SPLIT_PATTERNS[PRE_TOKENIZER]},
        "behavior": "Isolated",
        "invert": False,
    }
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": special,
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
            "decoder": byte_level,
            "model": {"type": "BPE", "vocab": plain, "merges": merges},
        }
    ).encode()


def write(folder: Path, member: str, form: str, layers: int | None) -> None:
    """Writes the folder, whole or not at all. Raises UserError when the disk is short of room."""
    text = text_shape(member, layers)
    released = family_config(member)
    config: dict[str, Any] = {key: released[key] for key in ("architectures", "model_type", "tie_word_embeddings")}
    config["text_config"] = text | {"eos_token_id": vocabulary(text["vocab_size"])[0].index(END_OF_TURN)}
    shapes = text_shapes(text)
    if form == "mlx-4bit":
        config["quantization"] = config["quantization_config"] = {"group_size": GROUP, "bits": 4, "mode": "affine"}
        pieces = list(mlx_tensors(shapes))
    else:
        config["quantization_config"] = FP8
        pieces = list(fp8_tensors(shapes))
    folder.mkdir(parents=True, exist_ok=True)
    files = {"config.json": json.dumps(config).encode(), "tokenizer.json": tokenizer(text["vocab_size"])}
    with FolderWriter(folder, [stored for stored, _ in pieces], files, SHARD_BYTES) as writer:
        for _, data in pieces:
            for piece in data:
                writer.write(piece)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("member", help="a released name, such as Qwen3.5-0.8B")
    parser.add_argument("form", choices=("mlx-4bit", "fp8-rows"))
    parser.add_argument("folder", type=Path, help="outside the repository; a folder of its own is made there")
    parser.add_argument("--layers", type=int, help="keep this many layers")
    arguments = parser.parse_args()
    layers = f"-{arguments.layers}-layers" if arguments.layers else ""
    folder = arguments.folder / f"random-{arguments.member}-{arguments.form}{layers}"
    write(folder, arguments.member, arguments.form, arguments.layers)
    print(folder)


if __name__ == "__main__":
    main()
