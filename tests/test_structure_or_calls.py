"""A structure of the answer beside tools that promise nothing: an answer that fits, or calls."""

import json
import re
from typing import Any

import jsonschema
import pytest

from qwill import LLM, SamplingParams
from qwill.answer import Completion
from qwill.errors import InvalidArgument

SUM, PARIS = "What is 17 + 25?", "What is the weather in Paris?"
NUMBER = {
    "type": "object",
    "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["sum"],
    "additionalProperties": False,
}
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
STRUCTURES: dict[str, dict[str, Any]] = {
    "schema": {"json_schema": NUMBER},
    "object": {"json_schema": {}},
    "exact": {"json_schema": {"enum": [9007199254740993, 1234567890123456789]}},
    "regex": {"regex": "[0-9]{2}"},
    "grammar": {"grammar": 'start: "it is " /[0-9]{2}/'},
}


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM("demo", max_context=1024, cache_tokens=4096)


def tools(**more: Any) -> list[dict[str, Any]]:
    named = {"get_weather": WEATHER, "get_time": {"type": "object", "properties": {}}}
    return [
        {"type": "function", "function": {"name": name, "description": "Tells it.", "parameters": schema, **more}}
        for name, schema in named.items()
    ]


def tag(llm: LLM) -> int:
    assert llm.tokenizer is not None
    return llm.tokenizer.added_tokens["<tool_call>"]


def check_answer(structure: str, answer: Completion) -> None:
    assert answer.tool_calls == []
    if structure in ("regex", "grammar"):
        assert re.fullmatch("(it is )?[0-9]{2}", answer.text)
        return
    schema = STRUCTURES[structure]["json_schema"] or {"type": "object"}
    jsonschema.validate(json.loads(answer.text), schema)


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_model_chooses(llm: LLM, structure: str, thinking: bool) -> None:
    """What it prefers at the beginning of the content decides; a bias stands for a preference."""
    answered = 0
    for seed in range(4):
        wish = {"seed": seed, "max_tokens": 250, "max_thinking_tokens": 12, "temperature": 1.5, **STRUCTURES[structure]}
        calling = SamplingParams(**wish, logit_bias={tag(llm): 100.0})
        answer = llm.chat([{"role": "user", "content": SUM}], calling, tools=tools(), thinking=thinking)
        assert {call["name"] for call in answer.tool_calls} <= {"get_weather", "get_time"}
        assert answer.text == ""
        assert answer.tool_calls != [] or answer.finish_reason == "length"
        answering = SamplingParams(**wish, logit_bias={tag(llm): -100.0})
        answer = llm.chat([{"role": "user", "content": PARIS}], answering, tools=tools(), thinking=thinking)
        assert tag(llm) not in answer.token_ids
        if answer.finish_reason == "stop":
            answered += 1
            check_answer(structure, answer)
    assert answered or structure == "object"


@pytest.mark.parametrize("structure", STRUCTURES)
def test_as_it_comes(llm: LLM, structure: str) -> None:
    """The embedded model calls for the weather and answers sums by itself, which is told whole and streamed."""
    params = SamplingParams(temperature=0, max_tokens=150, **STRUCTURES[structure])
    question = [{"role": "user", "content": PARIS}]
    called = llm.chat(question, params, tools=tools(), thinking=False)
    assert called.tool_calls == [{"name": "get_weather", "arguments": {"city": "Paris"}}]
    assert (called.text, called.finish_reason) == ("", "tool_calls")
    *pieces, last = llm.chat(question, params, tools=tools(), thinking=False, stream=True)
    assert last.completion is not None
    assert last.completion.tool_calls == called.tool_calls
    assert {piece.kind for piece in pieces} == {"tool_call_piece", "tool_call"}
    answered = llm.chat([{"role": "user", "content": SUM}], params, tools=tools(), thinking=False)
    if answered.finish_reason == "stop":
        check_answer(structure, answered)


def test_more_calls_may_follow(llm: LLM) -> None:
    """After a call there are further ones or the end, and no answer."""
    params = SamplingParams(temperature=0, max_tokens=200, json_schema=NUMBER)
    turn = [{"role": "user", "content": PARIS}]
    answer = llm.reply(turn, params, tools=tools(), thinking=False)
    assert llm.tokenizer is not None
    call = "<tool_call>\n<function={}>\n</function>\n</tool_call>"
    both = f"{call.format('get_time')}\n{call.format('get_weather')}"
    answer.request.extend(llm.tokenizer.encode(both, allow_special=True))
    for _ in llm.steps([answer]):
        pass
    found = answer.completion()
    assert [one["name"] for one in found.tool_calls[:2]] == ["get_time", "get_weather"]
    assert (found.text, found.finish_reason) == ("", "tool_calls")


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("thinking", [False, True])
def test_other_choices(llm: LLM, structure: str, thinking: bool) -> None:
    """None of them leaves the answer, required and a name leave calls, whatever the model would rather do."""
    for question, choice in ((PARIS, "none"), (SUM, "required"), (SUM, "get_time")):
        bias = {tag(llm): 100.0 if choice == "none" else -100.0}
        params = SamplingParams(
            temperature=0, max_tokens=120, max_thinking_tokens=12, logit_bias=bias, **STRUCTURES[structure]
        )
        answer = llm.chat(
            [{"role": "user", "content": question}], params, tools=tools(), tool_choice=choice, thinking=thinking
        )
        if choice != "none":
            assert answer.text == ""
            assert answer.tool_calls != [] or answer.finish_reason == "length"
            assert {call["name"] for call in answer.tool_calls} <= ({"get_time"} if choice == "get_time" else {
                "get_time", "get_weather"})  # fmt: skip
        elif answer.finish_reason == "stop":
            check_answer(structure, answer)


def test_strict_tools_stay_bound(llm: LLM) -> None:
    mixed = tools()
    mixed[0]["function"] |= {"strict": True, "parameters": {**WEATHER, "required": ["city", "days"]}}
    params = SamplingParams(temperature=0, max_tokens=150, json_schema=NUMBER)
    answer = llm.chat([{"role": "user", "content": PARIS}], params, tools=mixed, thinking=False)
    assert answer.tool_calls[0]["arguments"].keys() == {"city", "days"}


def test_tools_that_cannot_be_named(llm: LLM) -> None:
    """One with a name that the syntax cannot hold is left out of the grammar, and told."""
    odd = [*tools(), {"type": "function", "function": {"name": "<odd>", "parameters": {}}}]
    params = SamplingParams(temperature=0, max_tokens=150, json_schema=NUMBER)
    answer = llm.chat([{"role": "user", "content": PARIS}], params, tools=odd, thinking=False)
    assert answer.tool_calls[0]["name"] == "get_weather"
    assert answer.left_out == ("tools._odd_.name",)
    with pytest.raises(InvalidArgument, match="a tool cannot be called '<odd>'"):
        llm.chat([{"role": "user", "content": PARIS}], params, tools=odd, tool_choice="<odd>")


def test_what_is_left_out_is_told(llm: LLM, caplog: pytest.LogCaptureFixture) -> None:
    """By the completion, whole and streamed, and in the log."""
    params = SamplingParams(temperature=0, max_tokens=60, json_schema={**NUMBER, "not": {"required": ["x"]}})
    question = [{"role": "user", "content": SUM}]
    *_, last = llm.chat(question, params, thinking=False, stream=True)
    assert last.completion is not None
    for answer in (llm.chat(question, params, thinking=False), llm.generate(["a"], params)[0], last.completion):
        assert answer.left_out == ("response_format.not",)
    told = [record.getMessage() for record in caplog.records if record.name == "qwill"]
    assert told == ["answers cannot be held to response_format.not; it is left out"] * 3
    assert llm.chat(question, SamplingParams(temperature=0, max_tokens=60), thinking=False).left_out == ()
