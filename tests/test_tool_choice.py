"""Tools in a chat: which calls a choice allows, and that bound calls fit their schemas."""

from collections.abc import Mapping
from typing import Any

import jsonschema
import numpy as np
import pytest

from qwill import LLM, SamplingParams
from qwill.answer import Completion
from qwill.errors import InvalidArgument
from qwill.guide import turn_of
from qwill.text.router import Router

GREEDY = SamplingParams(temperature=0, max_tokens=120)
WILD = {"temperature": 2.0, "top_k": 0, "top_p": 1.0, "max_tokens": 220, "max_thinking_tokens": 12}
SUM, PARIS = "What is 17 + 25?", "What is the weather in Paris?"
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "unit": {"enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
CLOCK = {"type": "object", "properties": {"zone": {"enum": ["utc", "local"]}}, "additionalProperties": False}


def tools(strict: bool = False) -> list[dict[str, Any]]:
    named: dict[str, Mapping[str, Any]] = {"get_weather": WEATHER, "get_time": CLOCK}
    functions = [
        {"name": name, "description": "Tells it.", "parameters": schema, **({"strict": True} if strict else {})}
        for name, schema in named.items()
    ]
    return [{"type": "function", "function": function} for function in functions]


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM("demo", max_context=1024, cache_tokens=4096)


def ask(llm: LLM, question: str, params: SamplingParams = GREEDY, **options: Any) -> Completion:
    options = {"tools": tools(), "thinking": False, **options}
    return llm.chat([{"role": "user", "content": question}], params, **options)


def check_calls(completion: Completion) -> None:
    schemas = {"get_weather": WEATHER, "get_time": CLOCK}
    for call in completion.tool_calls:
        jsonschema.validate(call["arguments"], schemas[call["name"]])


def test_auto_is_free(llm: LLM) -> None:
    """The model leaves out a parameter that the schema wants; unasked, nobody puts it in."""
    assert ask(llm, SUM).tool_calls == []
    assert ask(llm, PARIS).tool_calls == [{"name": "get_weather", "arguments": {"city": "Paris"}}]


@pytest.mark.parametrize("thinking", [False, True])
def test_strict_functions_bind_their_calls_alone(llm: LLM, thinking: bool) -> None:
    free, bound = (ask(llm, SUM, tools=tools(strict), thinking=thinking) for strict in (False, True))
    assert (bound.text, bound.reasoning, bound.token_ids) == (free.text, free.reasoning, free.token_ids)
    called = ask(llm, PARIS, tools=tools(strict=True), thinking=thinking)
    assert called.finish_reason == "tool_calls"
    assert called.tool_calls[0]["arguments"]["city"] == "Paris"
    check_calls(called)


def test_strict_can_be_said_of_some(llm: LLM) -> None:
    some = tools()
    some[1]["function"]["strict"] = True
    assert ask(llm, PARIS, tools=some).tool_calls == [{"name": "get_weather", "arguments": {"city": "Paris"}}]


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("choice", ["required", "get_time", {"type": "function", "function": {"name": "get_weather"}}])
def test_bound_to_call(llm: LLM, choice: Any, thinking: bool) -> None:
    names = {"required": {"get_weather", "get_time"}, "get_time": {"get_time"}}.get(str(choice), {"get_weather"})
    called = 0
    for seed in range(8):
        params = GREEDY if seed == 0 else SamplingParams(seed=seed, **WILD)
        answer = ask(llm, SUM, params, tool_choice=choice, thinking=thinking)
        if answer.finish_reason == "length":
            continue
        called += 1
        assert answer.finish_reason == "tool_calls"
        assert answer.text == ""
        assert {call["name"] for call in answer.tool_calls} <= names
        check_calls(answer)
    assert called >= 3


@pytest.mark.parametrize("thinking", [False, True])
def test_none_forbids_calls_and_shows_the_tools(llm: LLM, thinking: bool) -> None:
    assert llm.tokenizer is not None
    answer = ask(llm, PARIS, tool_choice="none", thinking=thinking)
    assert answer.tool_calls == []
    assert llm.tokenizer.added_tokens["<tool_call>"] not in answer.token_ids
    assert answer.usage["prompt_tokens"] == ask(llm, PARIS, thinking=thinking).usage["prompt_tokens"]
    for seed in range(4):
        params = SamplingParams(temperature=5, top_k=0, top_p=1, seed=seed, max_tokens=60, ignore_eos=True)
        answer = ask(llm, PARIS, params, tool_choice="none", thinking=thinking)
        assert llm.tokenizer.added_tokens["<tool_call>"] not in answer.token_ids


def test_a_schema_or_calls(llm: LLM) -> None:
    """A structure of the answer leaves the model its calls."""
    params = SamplingParams(temperature=0, max_tokens=120, regex="[0-9]{2}")
    assert ask(llm, SUM, params, tools=tools(strict=True)).text.isdigit()
    called = ask(llm, PARIS, params, tools=tools(strict=True))
    assert called.tool_calls[0]["name"] == "get_weather"
    check_calls(called)
    forced = ask(llm, SUM, params, tool_choice="required")
    assert forced.tool_calls != []
    assert ask(llm, PARIS, params, tool_choice="none").text.isdigit()


@pytest.mark.parametrize("speculative", [2, 4, True])
def test_same_calls_with_drafts_and_company(llm: LLM, speculative: int | bool) -> None:
    drafting = LLM("demo", max_context=1024, cache_tokens=4096, speculative=speculative)
    conversations = [[{"role": "user", "content": question}] for question in (SUM, PARIS, "Say hello in German.")]
    for params in (GREEDY, SamplingParams(seed=3, **WILD)):
        for choice, strict in (("required", False), ("get_time", False), ("auto", True), ("none", False)):
            options: dict[str, Any] = {"tools": tools(strict), "tool_choice": choice}
            alone = [llm.chat(one, params, **options) for one in conversations]
            together = drafting.chat(conversations, params, **options)
            assert [answer.token_ids for answer in together] == [answer.token_ids for answer in alone]
            assert [answer.tool_calls for answer in together] == [answer.tool_calls for answer in alone]


def test_bound_calls_come_after_the_reasoning(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the tag's token nor a spelled tag makes a call inside it."""
    assert llm.tokenizer is not None
    tag = llm.tokenizer.added_tokens["<tool_call>"]
    logits = np.zeros(llm.tokenizer.vocab_size, np.float32)
    for choice, strict in (("required", False), ("auto", True)):
        turn = turn_of(True, True, tools(strict), choice)
        rules = llm._guide.rules(GREEDY, [1], turn)
        assert rules is not None
        assert rules.restrict(logits)[tag] == -np.inf
    routers: list[Router] = []

    class Spy(Router):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            routers.append(self)

    monkeypatch.setattr("qwill.llm.Router", Spy)
    spelled = "<tool_call>\n<function=get_time>\n</function>\n</tool_call>"
    for choice, found in (("auto", True), ("required", False), ("none", False)):
        ask(llm, SUM, tool_choice=choice, thinking=True)
        deltas = Router.feed(_fresh(routers[-1]), spelled)
        assert any(delta.kind == "tool_call" for delta in deltas) is found


def _fresh(router: Router) -> Router:
    """As it was before the answer: inside the reasoning."""
    fresh = Router(True, calls_in_reasoning=router._calls_in_reasoning)
    fresh._schemas = router._schemas
    return fresh


def test_streamed(llm: LLM) -> None:
    question = [{"role": "user", "content": SUM}]
    *deltas, last = llm.chat(question, GREEDY, tools=tools(), tool_choice="get_weather", thinking=False, stream=True)
    *pieces, called = deltas
    assert called.tool_call is not None
    assert {delta.kind for delta in pieces} == {"tool_call_piece"}
    assert "".join(delta.piece.text for delta in pieces) == called.tool_call.arguments_json
    assert last.completion is not None
    check_calls(last.completion)


@pytest.mark.parametrize(
    ("choice", "offered", "message"),
    [
        ("get_rain", True, "tool_choice 'get_rain' is not .* the tools are get_weather, get_time"),
        ("required", False, "tool_choice 'required' .* without tools"),
        ("get_time", False, "tool_choice 'get_time' .* without tools"),
        ({"type": "function"}, True, "tool_choice None is not"),
        ({"name": 5}, True, "tool_choice 5 is not"),
    ],
)
def test_bad_choices(llm: LLM, choice: Any, offered: bool, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        ask(llm, SUM, tools=tools() if offered else None, tool_choice=choice)


def test_a_schema_that_cannot_be_held_to(llm: LLM) -> None:
    """What cannot be is named, and refused where a tool says `strict`; what came of the rest fits."""
    schema = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 5, "not": {}}}, "required": ["a"]}
    bad = [{"name": "f", "parameters": schema}]
    answer = ask(llm, SUM, tools=bad, tool_choice="required")
    assert answer.left_out == ("tools.f.parameters.properties.a.not",)
    assert answer.tool_calls[0]["arguments"]["a"] <= 5
    free = ask(llm, SUM, tools=bad)
    assert (free.finish_reason, free.left_out) == ("stop", ())
    for choice in ("auto", "required", "f"):
        with pytest.raises(
            InvalidArgument, match=r"tool f is strict, and tools\.f\.parameters\.properties\.a\.not cannot"
        ):
            ask(llm, SUM, tools=[{**bad[0], "strict": True}], tool_choice=choice)


def test_a_named_function_beside_strict_ones_is_the_one_that_is_called() -> None:
    """Wherever in the list it stands."""
    others = [{"type": "function", "function": {"name": name, "parameters": {}, "strict": True}} for name in "ab"]
    wanted = {"type": "function", "function": {"name": "c", "parameters": {}}}
    for place in range(3):
        tools = [*others[:place], wanted, *others[place:]]
        turn = turn_of(False, False, tools, {"type": "function", "function": {"name": "c"}})
        assert list(turn.functions) == ["c"]
