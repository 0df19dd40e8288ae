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
from qwill.text.parsers.qwen_grammar import call_rules
from qwill.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from qwill.engine.structure import Grammar, GrammarVocabulary

Tools = Sequence[Mapping[str, Any]]
ToolChoice = str | Mapping[str, Any]
MODES = ("auto", "none", "required")


@dataclass(frozen=True)
class Turn:
    """A chat's answer to come. `opened`: the prompt ends inside an opened `<think>`. `functions`: those that calls are
    bound to, with the schemas of their parameters or None for any; without functions calls are free. `must_call`: the
    answer is nothing but calls."""

    opened: bool
    thinking: bool
    functions: Mapping[str, Mapping[str, Any] | None]
    must_call: bool = False
    may_call: bool = True


def turn_of(opened: bool, thinking: bool, tools: Tools | None, choice: ToolChoice) -> Turn:
    """What the tools and the choice among them, as in the OpenAI API, mean for an answer.

    Raises InvalidArgument for a choice that is none, or that the tools do not have.
    """
    schemas = parameter_schemas(tools or [])
    if isinstance(choice, Mapping):
        name, mode = function_of(choice).get("name"), ""
    else:
        name, mode = choice, choice if choice in MODES else ""
    if mode == "none":
        return Turn(opened, thinking, {}, may_call=False)
    if mode == "auto":
        strict = {function_of(tool).get("name") for tool in tools or [] if function_of(tool).get("strict") is True}
        follow = {name: schema if name in strict else None for name, schema in schemas.items()} if strict else {}
        return Turn(opened, thinking, follow)
    if mode == "required" and schemas:
        return Turn(opened, thinking, schemas, must_call=True)
    if name not in schemas:
        known = f"; the tools are {', '.join(schemas)}" if schemas else " without tools"
        raise InvalidArgument(f"tool_choice {name!r} is not auto, none, required or the name of a tool{known}")
    return Turn(opened, thinking, {name: schemas[name]}, must_call=True)


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
        structure = self._structure(params, turn, calling) if structured else None
        inside = opened(self._tokenizer, prompt_ids) if turn is None else turn.opened
        may_open = structure is None or not structure.immediate or (turn is not None and turn.thinking)
        part = Part.REASONING if inside else Part.BEGINNING if may_open else Part.CONTENT
        reasoning = Reasoning(self._tokenizer, part)
        return ReasoningRules(self._tokenizer, reasoning, params.max_thinking_tokens, structure, loops, forbidden)

    def _structure(self, params: SamplingParams, turn: Turn | None, calling: list[int]) -> Structure:
        from qwill.engine.structure import structure_of

        assert self._tokenizer is not None
        answer = None if turn is not None and turn.must_call else structure_of(params)
        functions = turn.functions if turn is not None else {}
        if functions and not calling:
            raise InvalidArgument(f"this model has no token {TOOL_CALL}, with which calls by a schema begin")
        sources = ([params.structure] if answer is not None else []) + (["the tools' schema"] if functions else [])
        constraint = self._vocabulary.constraint(" or ".join(map(str, sources)), *_grammars(answer, functions))
        if answer is None and turn is not None and not turn.must_call:
            return Structure(constraint, barred=calling, trigger=calling[0])
        opening = self._tokenizer.added_tokens.get(THINK.decode())
        return Structure(constraint, [*self._eos_ids, *calling], self._closings, opening=opening)

    @cached_property
    def _vocabulary(self) -> "GrammarVocabulary":
        from qwill.engine.structure import GrammarVocabulary

        assert self._tokenizer is not None
        return GrammarVocabulary(self._tokenizer, self._vocab_size, self._eos_ids)

    @cached_property
    def _closings(self) -> SpelledClosings:
        return SpelledClosings(self._vocabulary.tokens)


def _grammars(answer: "Grammar | None", functions: Mapping[str, Mapping[str, Any] | None]) -> "list[Grammar]":
    """Of an answer, of calls, or of one or the other."""
    if not functions:
        assert answer is not None
        return [answer]
    start = "start: calls" if answer is None else "start: @answer | calls"
    calls: Grammar = {"lark_grammar": start + call_rules(functions)}
    return [calls] if answer is None else [calls, {**answer, "name": "answer"}]
