"""The vocabulary that a GGUF file carries, from a folder's tokenizer.json."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from qwill.text.tokenizer import Tokenizer
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.json_file import read_json
from qwill.weights.vocabulary import CONTROL_TOKEN, NORMAL_TOKEN, UNUSED_TOKEN, USER_DEFINED_TOKEN

MODEL, PRE_TOKENIZER = "gpt2", "qwen35"


def vocabulary_metadata(checkpoint: Checkpoint, size: int) -> dict[str, Any]:
    """Tokens by id, merges, types, where to stop, and the chat template, under `tokenizer.`.

    `size`: rows of the embedding; those without a token are padding. A folder without tokenizer.json gives nothing.
    Raises CheckpointError when the tokenizer is none that a model runs with, or has more tokens than that.
    """
    if checkpoint.tokenizer_json is None:
        return {}
    Tokenizer.from_file(checkpoint.tokenizer_json).check_rows(size, checkpoint.tokenizer_json)
    tokenizer = read_json(checkpoint.tokenizer_json)
    tokens, kinds = _tokens(tokenizer, size)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    keys: dict[str, Any] = {
        "model": MODEL,
        "pre": PRE_TOKENIZER,
        "tokens": tokens,
        "token_type": np.array(kinds, np.int32),
        "merges": merges,
    }
    for name, role in (("eos_token_id", "eos_token"), ("padding_token_id", "pad_token")):
        if (number := _special_id(checkpoint, role, tokens)) is not None:
            keys[name] = number
    result = {f"tokenizer.ggml.{key}": value for key, value in (keys | {"add_bos_token": False}).items()}
    if checkpoint.chat_template is not None:
        result["tokenizer.chat_template"] = checkpoint.chat_template
    return result


def _tokens(tokenizer: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """By id. What looks like a control token is one to llama.cpp, also where the tokenizer calls it ordinary."""
    tokens, kinds = [f"[PAD{number}]" for number in range(size)], [UNUSED_TOKEN] * size
    for token, number in tokenizer["model"]["vocab"].items():
        tokens[number], kinds[number] = token, NORMAL_TOKEN
    for added in tokenizer.get("added_tokens") or []:
        number, token = added["id"], added["content"]
        control = added.get("special") or (token.startswith("<|") and token.endswith("|>"))
        tokens[number], kinds[number] = token, CONTROL_TOKEN if control else USER_DEFINED_TOKEN
    return tokens, kinds


def _special_id(checkpoint: Checkpoint, role: str, tokens: list[str]) -> int | None:
    """Which token ends an answer or fills up: as the tokenizer says, else as it is generated with, else the model's."""
    settings = checkpoint.path / "tokenizer_config.json"
    named = read_json(settings).get(role) if settings.is_file() else None
    content = named.get("content") if isinstance(named, dict) else named
    text = checkpoint.config.get("text_config", checkpoint.config)
    given = (section.get(f"{role}_id") for section in (checkpoint.generation_config, text, checkpoint.config))
    numbers = [tokens.index(content)] if content in tokens else [n for value in given for n in _listed(value)]
    return next((number for number in numbers if 0 <= number < len(tokens)), None)


def _listed(value: Any) -> Iterable[int]:
    """The ids in a setting that is one, several or none."""
    values = value if isinstance(value, list) else [value]
    return [number for number in values if type(number) is int]
