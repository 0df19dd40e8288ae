"""Answers that follow a JSON schema, a regular expression or a grammar, by masks that llguidance computes."""

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import llguidance
import numpy as np

from qwill.engine.sampling_params import SamplingParams
from qwill.errors import InvalidArgument
from qwill.text.lark import full_match, regex_terminal
from qwill.text.schemas.grammar import json_grammar
from qwill.text.schemas.patterns import usable
from qwill.text.schemas.sound import sound
from qwill.text.tokenizer import Tokenizer

Grammar = dict[str, Any]  # one of llguidance's: json_schema or lark_grammar
_WIDEST = 10_000  # places of a grammar where an answer may be at once: room for objects of some thousand properties
_MOST_ITEMS = 200_000  # that are looked at for a mask, which takes ten milliseconds
_LONGEST = 400  # characters of a complaint, which may quote all of an expression


PLACE = "response_format"  # of a request's schema, with which the names of its parts begin


def structure_of(params: SamplingParams) -> tuple[Grammar | None, tuple[str, ...]]:
    """The grammar that a request asks for, None when its answer is free, and names of what it does not hold to.

    Raises InvalidArgument for a schema with types or references that are none, or that nothing fits, and with
    `strict_schema` for one that cannot be held to.
    """
    if params.json_schema is not None:
        assert isinstance(params.json_schema, Mapping)
        return _schema_grammar(params.json_schema or {"type": "object"}, params.strict_schema)
    if params.regex is not None:
        return {"lark_grammar": f"start: {regex_terminal(full_match(params.regex))}"}, ()
    return None if params.grammar is None else {"lark_grammar": params.grammar}, ()


def _schema_grammar(schema: Mapping[str, Any], strict: bool) -> tuple[Grammar, tuple[str, ...]]:
    found = sound({key: value for key, value in schema.items() if key != "x-guidance"}, PLACE)
    if found.mistakes:
        raise InvalidArgument(f"json_schema cannot be used: {found.mistakes[0]}")
    if strict and found.lost:
        raise InvalidArgument(
            f"json_schema is strict, and {', '.join(found.lost)} cannot be held to; leave that out, or strict"
        )
    if found.schema is None:
        raise InvalidArgument("json_schema cannot be used: nothing fits it, since its parts contradict each other")
    options = _options(schema["x-guidance"]) if "x-guidance" in schema else None
    grammar = json_grammar(found.schema, options)
    unused = options != schema.get("x-guidance") or (options is not None and "json_schema" not in grammar)
    return grammar, (*found.left_out, *([f"{PLACE}.x-guidance"] if unused else []))


def _options(given: Any) -> dict[str, Any] | None:
    """llguidance's own options, as far as they are sound."""
    if not isinstance(given, Mapping):
        return None
    return {
        key: value
        for key, value in given.items()
        if isinstance(value, bool) or (isinstance(value, str) and usable(value))
    }


class GrammarVocabulary:
    """A model's tokens in the form that masks are computed on; building it takes about a second."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, eos_ids: Iterable[int]) -> None:
        """`vocab_size`: the rows of the model's head; those without a token are always forbidden."""
        self.tokens = tokenizer.vocabulary_bytes(vocab_size)
        self.vocab_size = vocab_size
        ends = sorted(token for token in eos_ids if token < vocab_size)
        if not ends:
            raise InvalidArgument("a structured answer needs a token that ends it, and this model names none")
        wrapper = llguidance.TokenizerWrapper(_Vocabulary(tokenizer, self.tokens, ends[0]))
        self._tokenizer = llguidance.LLTokenizer(wrapper, n_vocab=vocab_size, eos_token=ends)

    def constraint(self, what: str, *grammars: Grammar) -> "Constraint":
        """A constraint from the beginning of the first grammar; it may name others (`@name`).

        Raises InvalidArgument, which says `what` asked for them, when they are no grammars, or too large.
        """
        text = json.dumps({"grammars": grammars})
        limits = llguidance.LLParserLimits(max_items_in_row=_WIDEST, step_max_items=_MOST_ITEMS)
        matcher = llguidance.LLMatcher(self._tokenizer, text, log_level=0, limits=limits)
        if matcher.is_error():
            raise InvalidArgument(f"{what} cannot be used: {_essence(matcher.get_error())}")
        constraint = Constraint(matcher, self.vocab_size)
        if constraint.ended is not None:
            raise InvalidArgument(f"{what} allows no answer")
        return constraint


class Constraint:
    """One answer's place in its grammar.

    `allowed` [vocab_size] bool: the tokens that may follow, ends of turn among them where the grammar is complete.
    `ended`: None, or why nothing may follow: "stop" when the grammar is complete, "error" when a token did not fit or
    the grammar turned out to be too complex to follow.
    """

    def __init__(self, matcher: llguidance.LLMatcher, vocab_size: int) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size
        self.allowed = np.zeros(vocab_size, bool)
        self.ended: str | None = None
        self._look()

    def consume(self, token: int) -> None:
        """Takes the next token of the answer."""
        self._matcher.consume_token(token)
        self._look()

    def after(self, tokens: Sequence[int]) -> np.ndarray | None:
        """What `allowed` would be after these tokens; None when they do not fit or nothing may follow them."""
        if not tokens:
            return self.allowed
        matcher = self._matcher.deep_copy()  # nothing that is tried here can harm the answer's own
        if matcher.try_consume_tokens(list(tokens)) < len(tokens) or matcher.is_stopped():
            return None
        allowed = self._mask(matcher)
        return None if matcher.is_error() else allowed

    def _mask(self, matcher: llguidance.LLMatcher) -> np.ndarray:
        bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        return np.unpackbits(bits, count=self._vocab_size, bitorder="little").view(bool)

    def _look(self) -> None:
        if self._matcher.is_error():
            self.ended = "error"
        elif self._matcher.is_stopped():
            self.ended = "stop"
        else:
            self.allowed = self._mask(self._matcher)
            if self._matcher.is_error() or not self.allowed.any():
                self.ended = "stop" if not self._matcher.is_error() and self._matcher.is_accepting() else "error"


class _Vocabulary:
    """What llguidance asks of a tokenizer."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, tokens: list[bytes], eos_token_id: int) -> None:
        self._tokenizer = tokenizer
        self._byte_ids = {token[0]: id for id, token in enumerate(tokens) if len(token) == 1}
        self.tokens = tokens
        self.eos_token_id = eos_token_id
        self.special_token_ids = sorted(id for id in tokenizer.added_tokens.values() if id < len(tokens))

    def __call__(self, text: bytes) -> list[int]:
        """Token ids of text that the grammar demands, which must come out as it is, so without NFC."""
        decoded = text.decode()
        if unicodedata.is_normalized("NFC", decoded):
            return self._tokenizer.encode(decoded)
        return [self._byte_ids[byte] for byte in text]


def _essence(message: str) -> str:
    """The first line of a complaint, and the lines that say what is wrong with an expression."""
    first, *others = message.strip().split("\n")
    return " ".join([first[:_LONGEST], *(line.strip() for line in others if line.startswith("error:"))])
