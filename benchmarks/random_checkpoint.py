"""Writes a GGUF file of a family member's true shape with random weights, for measuring speed without a download.

    python benchmarks/random_checkpoint.py Qwen3.5-0.8B Q4_K_M FOLDER [--layers N]

Tensors are those of `qwill bench --random-weights`: blocks drawn at random in their stored form, one tensor at a time,
so that a file is made at the speed of the disk. The vocabulary has the released size and consistent merges, so that
other programs load the file too. What such a model says is noise.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from qwill.convert.gguf_writer import GgufWriter, TensorInfo
from qwill.convert.metadata import hyperparameters
from qwill.convert.vocabulary import MODEL, PRE_TOKENIZER
from qwill.fit.family import family_config
from qwill.weights.random import draw, plan

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


def write(path: Path, text: dict[str, Any], mix: str, seed: int = 0) -> None:
    """Writes the file, whole or not at all. Raises UserError when the disk is short of room."""
    tensors = plan(text, mix)
    tokens, merges, types = vocabulary(text["vocab_size"])
    metadata = hyperparameters(text, 0) | {
        "tokenizer.ggml.model": MODEL,
        "tokenizer.ggml.pre": PRE_TOKENIZER,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.eos_token_id": tokens.index(END_OF_TURN),
        "tokenizer.ggml.padding_token_id": tokens.index(END_OF_TEXT),
        "tokenizer.ggml.add_bos_token": False,
    }
    infos = [TensorInfo(tensor.gguf, tensor.stored, tensor.type) for tensor in tensors]
    rng = np.random.default_rng(seed)
    with GgufWriter(path, metadata, infos) as writer:
        for tensor in tensors:
            for part in draw(tensor, rng):
                writer.write(part)


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
