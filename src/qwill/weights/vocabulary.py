"""The vocabulary that a GGUF file carries."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qwill.errors import CheckpointError
from qwill.weights.gguf import GgufFile, StringArray

# llama.cpp's token types: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused (padding), 6 byte
NORMAL_TOKEN, CONTROL_TOKEN, USER_DEFINED_TOKEN, UNUSED_TOKEN = 1, 3, 4, 5

_PADDING = re.compile(r"\[PAD\d+\]")


@dataclass(frozen=True)
class Vocabulary:
    """`tokenizer.ggml.*` of a GGUF file. Tokens and merges are decoded only when they are read.

    `tokens[id]` and `merges[rank]` ("left right") are in the byte-level alphabet; `token_types[id]` is llama.cpp's.
    """

    tokens: Sequence[str]
    merges: Sequence[str]
    token_types: np.ndarray
    model: str
    pre: str
    eos_token_id: int | None = None
    bos_token_id: int | None = None
    pad_token_id: int | None = None
    eot_token_id: int | None = None
    add_bos_token: bool = False

    def special_ids(self) -> dict[str, int]:
        """Ids of all tokens that are not of the normal type and not mere padding, by their text."""
        ids = np.flatnonzero((self.token_types != NORMAL_TOKEN) & (self.token_types != UNUSED_TOKEN))
        return {self.tokens[int(i)]: int(i) for i in ids}

    def give_back(self) -> None:
        """Lets the system drop the file's pages with tokens and merges, once they are in a tokenizer: 10 MB."""
        for strings in (self.tokens, self.merges):
            if isinstance(strings, StringArray):
                strings.give_back()


def read_vocabulary(file: GgufFile) -> Vocabulary:
    """Raises CheckpointError when a part is missing or the parts contradict each other."""
    tokens, merges = (_strings(file, f"tokenizer.ggml.{key}") for key in ("tokens", "merges"))
    types = file.metadata.get("tokenizer.ggml.token_type")
    if types is None:
        types = np.full(len(tokens), NORMAL_TOKEN, np.int32)
    if not isinstance(types, np.ndarray) or len(types) != len(tokens):
        raise CheckpointError(f"{file.path}: tokenizer.ggml.token_type does not have one entry for each token")

    types = _with_unused(tokens, types)

    def token_id(name: str) -> int | None:
        value = file.metadata.get(f"tokenizer.ggml.{name}")
        if value is not None and (type(value) is not int or not 0 <= value < len(tokens)):
            raise CheckpointError(f"{file.path}: tokenizer.ggml.{name} {value!r} is not in the vocabulary")
        return value

    return Vocabulary(
        tokens=tokens,
        merges=merges,
        token_types=types,
        model=_text(file, "tokenizer.ggml.model"),
        pre=_text(file, "tokenizer.ggml.pre"),
        eos_token_id=token_id("eos_token_id"),
        bos_token_id=token_id("bos_token_id"),
        pad_token_id=token_id("padding_token_id"),
        eot_token_id=token_id("eot_token_id"),
        add_bos_token=file.metadata.get("tokenizer.ggml.add_bos_token") is True,
    )


def _with_unused(tokens: StringArray, types: np.ndarray) -> np.ndarray:
    """Ollama's converter writes the padding of the vocabulary as words that users may write; they are none."""
    padding = [int(i) for i in np.flatnonzero(types == USER_DEFINED_TOKEN) if _PADDING.fullmatch(tokens[int(i)])]
    if not padding:
        return types
    types = types.copy()
    types[padding] = UNUSED_TOKEN
    return types


def _strings(file: GgufFile, key: str) -> StringArray:
    value: Any = file.metadata.get(key)
    if not isinstance(value, StringArray):
        raise CheckpointError(f"{file.path}: has no {key}; the file carries no tokenizer")
    return value


def _text(file: GgufFile, key: str) -> str:
    value = file.metadata.get(key)
    if not isinstance(value, str):
        raise CheckpointError(f"{file.path}: has no {key}; the file carries no tokenizer")
    return value
