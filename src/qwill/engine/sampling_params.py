"""What a request asks of the sampler."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from qwill.errors import CheckpointError, InvalidArgument

# The released default of the largest member, for checkpoints without a generation_config.
DEFAULTS: dict[str, float | int] = {
    "temperature": 0.6,
    "top_p": 0.95,
    "top_k": 20,
    "min_p": 0.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
}
MAX_LOGPROBS = 100
MAX_BIAS = 100
STRUCTURES = ("json_schema", "regex", "grammar")


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are chosen and when an answer ends. None of the first seven means: as the checkpoint says (`resolve`).

    - temperature: 0 takes the likeliest token; above 0 divides the logits
    - top_k: keep the k likeliest tokens; 0 keeps all
    - top_p: keep the likeliest tokens until their probabilities sum to this; 0 keeps one
    - min_p: drop tokens less likely than this share of the likeliest
    - presence_penalty: subtracted from the logits of tokens that the answer already has
    - frequency_penalty: subtracted once for each time that the answer has them
    - repetition_penalty: divides positive logits, multiplies negative ones, of tokens in prompt or answer
    - seed: the same seed draws the same tokens; None takes a new one for each request
    - max_tokens: None is as many as the context holds; 0, with prompt_logprobs alone, only reads the prompt
    - min_tokens: how many tokens come at least before one that ends the answer
    - stop: texts that end the answer and are not part of it, in its content: not in reasoning or calls
    - stop_token_ids: tokens that end it, beside the model's own; their text is part of it unless they are special
    - ignore_eos: go on after the model's own end-of-turn tokens, for measurements
    - logprobs: how many of the likeliest tokens to report for each position; 0 the drawn one alone; None nothing
    - prompt_logprobs: the same of the prompt's tokens, all of which are computed then, whatever the prefix cache has
    - max_thinking_tokens: the most tokens of reasoning, which is then closed so that the answer follows; None: no limit
    - loop_detection: end an answer that goes on repeating itself, with the finish_reason "loop" (engine/loops.py)
    - json_schema: what the answer after the reasoning is to fit, as a mapping or as JSON; {} stands for any object
    - strict_schema: refuse a json_schema of which something cannot be held to, where that is left out otherwise
    - regex: what it is to match as a whole, in the syntax of Rust's regex crate without look-around
    - grammar: what it is to follow, in Lark as llguidance reads it. Only one of the three
    - logit_bias: what to add to the logits of token ids, from -100 (never) to 100

    Raises InvalidArgument, which names the field and its range.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    max_thinking_tokens: int | None = None
    loop_detection: bool = False
    json_schema: Mapping[str, Any] | str | None = None
    strict_schema: bool = False
    regex: str | None = None
    grammar: str | None = None
    logit_bias: Mapping[int, float] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        elif isinstance(self.stop, list):
            object.__setattr__(self, "stop", tuple(self.stop))
        if not isinstance(self.stop, tuple) or not all(isinstance(text, str) and text for text in self.stop):
            raise InvalidArgument(f"stop must be texts of at least one character, not {self.stop!r}")
        self._number("temperature", 0, sys.float_info.max, "a number of at least 0")
        self._number("top_p", 0, 1, "from 0 to 1")
        self._number("min_p", 0, 1, "from 0 to 1")
        self._number("presence_penalty", -2, 2, "from -2 to 2")
        self._number("frequency_penalty", -2, 2, "from -2 to 2")
        self._number("repetition_penalty", 0.01, 100, "from 0.01 to 100")
        self._number("top_k", 0, 2**31 - 1, "a whole number of at least 0 (0 keeps every token)", whole=True)
        if self.prompt_logprobs is None or self.max_tokens != 0:
            self._number("max_tokens", 1, 2**31 - 1, "a whole number of at least 1", whole=True)
        self._number("min_tokens", 0, self.max_tokens or 2**31 - 1, "from 0 to max_tokens", whole=True)
        self._check_ends()
        self._number("seed", -(2**63), 2**64 - 1, "a whole number of 64 bits", whole=True)
        for name in ("logprobs", "prompt_logprobs"):
            self._number(name, 0, MAX_LOGPROBS, f"a whole number from 0 to {MAX_LOGPROBS}", whole=True)
        self._number("max_thinking_tokens", 0, 2**31 - 1, "a whole number of at least 0", whole=True)
        for name in ("loop_detection", "strict_schema"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidArgument(f"{name} must be true or false, not {getattr(self, name)!r}")
        self._check_structure()
        if self.logit_bias is not None:
            object.__setattr__(self, "logit_bias", _biases(self.logit_bias))

    @property
    def structure(self) -> str | None:
        """Which of json_schema, regex and grammar is given."""
        return next((name for name in STRUCTURES if getattr(self, name) is not None), None)

    def resolve(self, generation_config: dict[str, Any]) -> "SamplingParams":
        """These parameters with every None of the first seven filled: from the checkpoint's generation_config, else
        `DEFAULTS`.

        A generation_config with `do_sample` false means temperature 0. Raises CheckpointError when it holds a value out
        of range.
        """
        missing: dict[str, Any] = {}
        for name, fallback in DEFAULTS.items():
            if getattr(self, name) is None:
                value = generation_config.get(name)
                missing[name] = fallback if value is None else value
        if "temperature" in missing and generation_config.get("do_sample") is False:
            missing["temperature"] = 0.0
        try:
            return replace(self, **missing)
        except InvalidArgument as error:
            raise CheckpointError(f"generation_config: {error}") from error

    def _check_ends(self) -> None:
        """Makes a tuple of the tokens that end the answer."""
        try:
            object.__setattr__(self, "stop_token_ids", tuple(self.stop_token_ids))
        except TypeError as error:
            raise InvalidArgument(f"stop_token_ids must be token ids, not {self.stop_token_ids!r}") from error
        for token in self.stop_token_ids:
            if not isinstance(token, int) or isinstance(token, bool) or not 0 <= token < 2**31:
                raise InvalidArgument(f"stop_token_ids must be token ids, not {token!r}")

    def _check_structure(self) -> None:
        given = [name for name in STRUCTURES if getattr(self, name) is not None]
        if len(given) > 1:
            raise InvalidArgument(f"an answer has one structure; give either {' or '.join(given)}")
        for name in ("regex", "grammar"):
            text = getattr(self, name)
            if text is not None and not (isinstance(text, str) and text.strip()):
                raise InvalidArgument(f"{name} must be a text of at least one character, not {text!r}")
        if self.json_schema is not None:
            object.__setattr__(self, "json_schema", _plain_schema(self.json_schema))

    def _number(self, name: str, low: float, high: float, meaning: str, whole: bool = False) -> None:
        value = getattr(self, name)
        if value is None:
            return
        kind = int if whole else (int, float)
        sound = isinstance(value, kind) and not isinstance(value, bool) and low <= value <= high
        if not sound:
            raise InvalidArgument(f"{name} must be {meaning}, not {value!r}")


def _biases(given: Any) -> dict[int, float]:
    """Token ids and what is added to their logits. Ids may be texts, as keys of JSON objects are."""
    try:
        biases = {int(token): float(value) for token, value in given.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidArgument(f"logit_bias must give a number for each token id, not {given!r}") from error
    for token, value in biases.items():
        if token < 0 or not -MAX_BIAS <= value <= MAX_BIAS:
            raise InvalidArgument(f"logit_bias of token {token} must be from -{MAX_BIAS} to {MAX_BIAS}, not {value!r}")
    return biases


def _plain_schema(schema: Mapping[str, Any] | str) -> dict[str, Any]:
    """A copy of the schema, whatever it was made of."""
    try:
        text = schema if isinstance(schema, str) else json.dumps(dict(schema), allow_nan=False)
        plain = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"json_schema must be a JSON object ({error})") from error
    if not isinstance(plain, dict):
        raise InvalidArgument(f"json_schema must be a JSON object, not {text}")
    return plain
