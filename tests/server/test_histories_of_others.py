"""Histories in forms that other servers and older clients have: each is read as the form that is usual here."""

from typing import Any

import pytest

from server.asking import send
from server.dialects import CHAT, OLLAMA, RESPONSES, ask_of
from server.running import Running

QUESTION = {"role": "user", "content": "What is the weather?"}
ARGUMENTS = '{"city": "Paris"}'
CALL = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}
RESULT = {"role": "tool", "tool_call_id": "a", "content": "sunny"}
ITEM = {"type": "function_call", "call_id": "a", "name": "weather", "arguments": ARGUMENTS}
OUTPUT = {"type": "function_call_output", "call_id": "a", "output": "sunny"}
LONG = "x" * 5000


def read(path: str, turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a model is given of a conversation, without the ids of calls, which it is not shown."""
    asked = ask_of(path, {"input" if path == RESPONSES else "messages": turns})
    told = [dict(message) for message in asked.messages or []]
    for message in told:
        message.pop("tool_call_id", None)
        if "tool_calls" in message:
            message["tool_calls"] = [call["function"] for call in message["tool_calls"]]
    return told


def answered(content: Any = None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


IN_CHAT: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "a call without an id": (
        [QUESTION, answered(function_call={"name": "weather", "arguments": ARGUMENTS}),
         {"role": "function", "name": "weather", "content": "sunny"}],
        [QUESTION, answered(tool_calls=[CALL]), {**RESULT, "name": "weather"}],
    ),
    "one that is told in both forms": (
        [QUESTION, answered(function_call=CALL["function"], tool_calls=[CALL]), RESULT],
        [QUESTION, answered(tool_calls=[CALL]), RESULT],
    ),
    "a call of no type": (
        [QUESTION, answered(tool_calls=[{**CALL, "type": None, "index": "0"}]), RESULT],
        [QUESTION, answered(tool_calls=[CALL]), RESULT],
    ),
    "a call of an empty type": (
        [QUESTION, answered(tool_calls=[{**CALL, "type": "", "custom": None}]), RESULT],
        [QUESTION, answered(tool_calls=[CALL]), RESULT],
    ),
    "a long id": (
        [QUESTION, answered(tool_calls=[{**CALL, "id": LONG}]), {**RESULT, "tool_call_id": LONG}],
        [QUESTION, answered(tool_calls=[CALL]), RESULT],
    ),
    "annotations in another form": ([QUESTION, answered("It is.", annotations={}), QUESTION],
                                    [QUESTION, answered("It is."), QUESTION]),
    "thoughts as a part": (
        [QUESTION, answered([{"type": "thinking", "thinking": "Hm.", "signature": "s"},
                             {"type": "text", "text": "It is."}]), QUESTION],
        [QUESTION, answered([{"type": "text", "text": "It is."}], reasoning_content="Hm."), QUESTION],
    ),
    "thoughts in pieces": (
        [QUESTION, answered([{"type": "thinking", "thinking": [{"type": "text", "text": "H"}, {"text": "m."}]},
                             {"type": "text", "text": "It is."}]), QUESTION],
        [QUESTION, answered([{"type": "text", "text": "It is."}], reasoning_content="Hm."), QUESTION],
    ),
    "thoughts by other names": (
        [QUESTION, answered([{"type": "reasoning", "text": "H"}, {"type": "reasoning", "reasoning": "m."},
                             {"type": "text", "text": "It is."}]), QUESTION],
        [QUESTION, answered([{"type": "text", "text": "It is."}], reasoning_content="Hm."), QUESTION],
    ),
}  # fmt: skip
IN_RESPONSES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "empty fields": (
        [{**QUESTION, "type": None, "id": "", "status": ""}, {**ITEM, "id": "", "namespace": "", "status": "failed"},
         {**OUTPUT, "id": None, "status": 5}],
        [QUESTION, ITEM, OUTPUT],
    ),
    "long ids": (
        [{**QUESTION, "id": LONG}, {**ITEM, "id": LONG, "call_id": LONG}, {**OUTPUT, "call_id": LONG}],
        [QUESTION, ITEM, OUTPUT],
    ),
    "arguments that are an object": ([QUESTION, {**ITEM, "arguments": {"city": "Paris"}}, OUTPUT],
                                     [QUESTION, ITEM, OUTPUT]),
    "no arguments": ([QUESTION, {**ITEM, "arguments": None}, OUTPUT], [QUESTION, {**ITEM, "arguments": ""}, OUTPUT]),
    "an input that is an object": (
        [QUESTION, {"type": "custom_tool_call", "call_id": "a", "name": "f", "input": {"a": [1, None]}},
         {**OUTPUT, "type": "custom_tool_call_output"}],
        [QUESTION, {"type": "custom_tool_call", "call_id": "a", "name": "f", "input": '{"a": [1, null]}'},
         {**OUTPUT, "type": "custom_tool_call_output"}],
    ),
    "no output": ([QUESTION, ITEM, {**OUTPUT, "output": None}], [QUESTION, ITEM, {**OUTPUT, "output": ""}]),
    "an answer without content": ([QUESTION, answered(), ITEM, OUTPUT], [QUESTION, answered(""), ITEM, OUTPUT]),
    "annotations in another form": (
        [QUESTION, answered([{"type": "output_text", "text": "It is.", "annotations": {}, "logprobs": {}}]), QUESTION],
        [QUESTION, answered("It is."), QUESTION],
    ),
    "thoughts of other types": (
        [QUESTION, {"type": "reasoning", "summary": None, "content": [{"type": "text", "text": "Hm."}]},
         answered("It is."), QUESTION],
        [QUESTION, {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
         answered("It is."), QUESTION],
    ),
    "a summary of another type": (
        [QUESTION, {"type": "reasoning", "summary": [{"type": "text", "text": "Hm."}]}, answered("It is."), QUESTION],
        [QUESTION, {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}, answered("It is."),
         QUESTION],
    ),
}  # fmt: skip
CASES = [(CHAT, name) for name in IN_CHAT] + [(RESPONSES, name) for name in IN_RESPONSES]


@pytest.mark.parametrize(("path", "name"), CASES)
def test_it_reads_like_the_usual_form(server: Running, path: str, name: str) -> None:
    given, usual = (IN_CHAT if path == CHAT else IN_RESPONSES)[name]
    found, expected = read(path, given), read(path, usual)
    for message in expected:
        message.pop("name", None)
    assert [{key: value for key, value in message.items() if key != "name"} for message in found] == expected
    field = "input" if path == RESPONSES else "messages"
    most = {"max_output_tokens" if path == RESPONSES else "max_tokens": 1}
    for stream in (False, True):
        answer = send("POST", server.url + path, json={field: given, **most, "stream": stream})
        assert answer.status_code == 200, answer.text


def test_what_is_stored_of_it_has_the_usual_form(server: Running) -> None:
    for given, _ in IN_RESPONSES.values():
        told = send("POST", f"{server.url}{RESPONSES}", json={"input": given, "max_output_tokens": 1}).json()
        items = send("GET", f"{server.url}{RESPONSES}/{told['id']}/input_items?order=asc").json()["data"]
        assert all(item["id"] and item["status"] == "completed" for item in items)
        for item in items:
            assert isinstance(item.get("arguments", ""), str)
            assert isinstance(item.get("input", ""), str)
            assert item.get("output", "") is not None
            if item["type"] == "reasoning":
                assert {part["type"] for part in item["content"]} <= {"reasoning_text"}
                assert {part["type"] for part in item["summary"]} <= {"summary_text"}
        more = {"input": "And?", "previous_response_id": told["id"], "max_output_tokens": 1}
        assert send("POST", f"{server.url}{RESPONSES}", json=more).status_code == 200


def test_thoughts_of_a_user_are_text() -> None:
    """Reasoning is an answer's; elsewhere the part says what it says."""
    (message,) = read(CHAT, [{"role": "user", "content": [{"type": "thinking", "thinking": "Hm."}]}])
    assert message["content"] == [{"type": "text", "text": "Hm."}]


def test_thoughts_as_a_part_for_ollama() -> None:
    parts = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "It is."}]
    found = read(OLLAMA, [QUESTION, {"role": "assistant", "content": parts}, QUESTION])
    assert (found[1]["reasoning_content"], found[1]["content"]) == ("Hm.", [{"type": "text", "text": "It is."}])
    told = {"role": "assistant", "content": parts, "thinking": "Well."}
    assert read(OLLAMA, [QUESTION, told])[1]["reasoning_content"] == "Well."
