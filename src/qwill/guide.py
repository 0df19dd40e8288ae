"""From what a request asks for to the rules that its answer follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from qwill.engine.loops import LoopDetector
from qwill.engine.reasoning import OPENING as THINK
from qwill.engine.reasoning import Part, Reasoning, opened
from qwill.engine.rules import ReasoningRules, Rules, SpelledClosings, Structure
from qwill.engine.sampling_params import SamplingParams
from qwill.errors import InvalidArgument
from qwill.text.parsers.qwen import OPENING as TOOL_CALL
from qwill.text.parsers.qwen import function_of, parameter_schemas
from qwill.text.parsers.qwen_grammar import Calls, call_rules
from qwill.text.schemas.parts import dotted
from qwill.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from qwill.engine.structure import Constraint, Grammar, GrammarVocabulary

Tools = Sequence[Mapping[str, Any]]
ToolChoice = str | Mapping[str, Any]
Functions = Mapping[str, Mapping[str, Any] | None]
MODES = ("auto", "none", "required")


@dataclass(frozen=True)
class Turn:
    """A chat's answer to come. `opened`: the prompt ends inside an opened `<think>`. `functions`: those that calls are
    bound to, with the schemas of their parameters or None for any; without functions calls are free. `strict`: those of
    them that are to hold to all of their schemas. `must_call`: the answer is nothing but calls."""

    opened: bool
    thinking: bool
    functions: Functions
    must_call: bool = False
    may_call: bool = True
    strict: frozenset[str] = frozenset()


def turn_of(opened: bool, thinking: bool, tools: Tools | None, choice: ToolChoice, structured: bool = False) -> Turn:
    """What the tools and the choice among them, as in the OpenAI API, mean for an answer. `structured`: it has a
    structure, beside which calls are possible only where they have one, too.

    Raises InvalidArgument for a choice that is none, or that the tools do not have.
    """
    schemas = parameter_schemas(tools or [])
    if isinstance(choice, Mapping):
        name, mode = function_of(choice).get("name"), ""
    else:
        name, mode = choice, choice if choice in MODES else ""
    if mode == "none":
        return Turn(opened, thinking, {}, may_call=False)
    strict = frozenset(function["name"] for function in map(function_of, tools or []) if function.get("strict") is True)
    if mode == "auto":
        bound = bool(strict) or structured
        follow = {name: schema if name in strict else None for name, schema in schemas.items()} if bound else {}
        return Turn(opened, thinking, follow, strict=strict)
    if mode == "required" and schemas:
        return Turn(opened, thinking, schemas, must_call=True, strict=strict)
    if name not in schemas:
        known = f"; the tools are {', '.join(schemas)}" if schemas else " without tools"
        raise InvalidArgument(f"tool_choice {name!r} is not auto, none, required or the name of a tool{known}")
    return Turn(opened, thinking, {name: schemas[name]}, must_call=True, strict=strict)


class Guide:
    """Makes the rules of a model's answers."""

    def __init__(self, tokenizer: Tokenizer | None, vocab_size: int, eos_ids: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._eos_ids = eos_ids

    def rules(self, params: SamplingParams, prompt_ids: Sequence[int], turn: Turn | None) -> Rules | None:
        """Rules for one answer; None when it is free. `turn` is None for plain completions.

        Raises InvalidArgument for a schema, expression or grammar that cannot be used.
        """
        loops = LoopDetector() if params.loop_detection else None
        structured = params.structure is not None or (turn is not None and turn.functions)
        calling = [] if self._tokenizer is None else [self._tokenizer.added_tokens.get(TOOL_CALL, -1)]
        calling = [token for token in calling if token >= 0]
        forbidden = calling if turn is not None and not turn.may_call else []
        if params.max_thinking_tokens is None and not structured:
            return Rules(loops, forbidden) if loops is not None or forbidden else None
        if self._tokenizer is None:
            raise InvalidArgument("max_thinking_tokens and a structured answer need the model's tokenizer.json")
        structure, left_out = self._structure(params, turn, calling) if structured else (None, ())
        inside = opened(self._tokenizer, prompt_ids) if turn is None else turn.opened
        may_open = structure is None or not structure.immediate or (turn is not None and turn.thinking)
        part = Part.REASONING if inside else Part.BEGINNING if may_open else Part.CONTENT
        reasoning = Reasoning(self._tokenizer, part)
        rules = ReasoningRules(self._tokenizer, reasoning, params.max_thinking_tokens, structure, loops, forbidden)
        rules.left_out = left_out
        return rules

    def _structure(
        self, params: SamplingParams, turn: Turn | None, calling: list[int]
    ) -> tuple[Structure | None, tuple[str, ...]]:
        """The structure of an answer, and names of what it does not hold to."""
        from qwill.engine.structure import structure_of

        assert self._tokenizer is not None
        answer, left_out = (None, ()) if turn is not None and turn.must_call else structure_of(params)
        functions = turn.functions if turn is not None else {}
        if functions and not calling:
            if answer is None or any(schema is not None for schema in functions.values()):
                raise InvalidArgument(f"this model has no token {TOOL_CALL}, with which calls by a schema begin")
            functions = {}
        if not functions:
            assert answer is not None
            constraint = self._vocabulary.constraint(str(params.structure), answer)
        else:
            assert turn is not None
            constraint, names = self._with_calls(params.structure, answer, functions, turn.strict)
            left_out = (*left_out, *names)
        if answer is None and turn is not None and not turn.must_call:
            return Structure(constraint, barred=calling, trigger=calling[0]), left_out
        opening = self._tokenizer.added_tokens.get(THINK.decode())
        return Structure(constraint, [*self._eos_ids, *calling], self._closings, opening=opening), left_out

    def _with_calls(
        self, asked: str | None, answer: "Grammar | None", functions: Functions, strict: frozenset[str]
    ) -> "tuple[Constraint, tuple[str, ...]]":
        """The constraint of calls, or of an answer or calls, and names of what calls are not held to."""
        calls = call_rules(functions)
        for name in functions:
            if name in strict and (lost := calls.lost[name]):
                raise InvalidArgument(
                    f"tool {name} is strict, and {', '.join(lost)} cannot be held to; leave that out, or strict"
                )
        what = f"{asked} or the tools' schema" if answer is not None else "the tools' schema"
        try:
            return self._vocabulary.constraint(what, *_grammars(answer, calls)), tuple(calls.left_out)
        except InvalidArgument:
            if answer is not None:
                self._vocabulary.constraint(str(asked), answer)
            free = {name: None if self._is_too_much(name, schema) else schema for name, schema in functions.items()}
            if free == dict(functions) or any(name in strict and free[name] != functions[name] for name in free):
                raise
        constraint, names = self._with_calls(asked, answer, free, strict)
        freed = [dotted("tools", name, "parameters") for name in free if free[name] is not functions[name]]
        return constraint, (*names, *freed)

    def _is_too_much(self, name: str, schema: Mapping[str, Any] | None) -> bool:
        """Whether a function's parameters make a grammar that is too complex."""
        try:
            self._vocabulary.constraint("", *_grammars(None, call_rules({name: schema})))
        except InvalidArgument:
            return True
        return False

    @cached_property
    def _vocabulary(self) -> "GrammarVocabulary":
        from qwill.engine.structure import GrammarVocabulary

        assert self._tokenizer is not None
        return GrammarVocabulary(self._tokenizer, self._vocab_size, self._eos_ids)

    @cached_property
    def _closings(self) -> SpelledClosings:
        return SpelledClosings(self._vocabulary.tokens)


def _grammars(answer: "Grammar | None", calls: Calls) -> "list[Grammar]":
    """Of calls, or of an answer or calls."""
    start = "start: calls" if answer is None else "start: @answer | calls"
    found: list[Grammar] = [{"lark_grammar": start + calls.rules}, *calls.grammars]
    return found if answer is None else [*found, {**answer, "name": "answer"}]
