"""The vocabulary that a GGUF file carries."""

import re
from typing import Any

import numpy as np

from qwill.errors import CheckpointError
from qwill.weights.gguf.file import GgufFile
from qwill.weights.string_array import StringArray
from qwill.weights.vocabulary import NORMAL_TOKEN, UNUSED_TOKEN, USER_DEFINED_TOKEN, Vocabulary

_PADDING = re.compile(r"\[PAD\d+\]")


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
