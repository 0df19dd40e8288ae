"""Custom tools, whose input is a text, in both of OpenAI's dialects with its own client."""

import json
import re
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from qwill.answer import StreamDelta
from qwill.server.custom_tools import arguments_of, begun_input, custom_function, input_of
from qwill.server.openai.asking import chat_ask
from qwill.server.openai.chat_schemas import ChatRequest
from qwill.server.openai.responses_asking import responses_ask
from qwill.server.openai.responses_events import Output
from qwill.server.openai.responses_items import stored_items
from qwill.server.openai.responses_schemas import ResponsesRequest
from qwill.server.tools import CUSTOM, FUNCTION, Known
from qwill.text.router import ToolCallDelta, ToolCallPiece
from server.asking import send
from server.responses_client import client_of, events_of, told
from server.running import Running

HEADER = "x-qwill-ignored"
WORD = r"[a-c]{2,5}(\n|-)[0-9]+"  # never ends a call's syntax, and has a line break at times
REGEX = {"type": "grammar", "syntax": "regex", "definition": WORD}
LARK = {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin" /.+/'}
NAMES = ("code", "text", "patch")


def tool(form: dict[str, Any] | None = None, in_chat: bool = False, name: str = "code") -> dict[str, Any]:
    """A custom tool in either dialect."""
    if not in_chat:
        return {"type": "custom", "name": name, "description": "Runs code", **({"format": form} if form else {})}
    if form is not None:
        form = {"type": "grammar", "grammar": {key: form[key] for key in ("syntax", "definition")}}
    return {
        "type": "custom",
        "custom": {"name": name, "description": "Runs code", **({"format": form} if form else {})},
    }


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with client_of(server) as made:
        yield made


@pytest.mark.parametrize("choice", ["required", "named"])
def test_a_call_in_chat(client: openai.OpenAI, choice: str) -> None:
    """Whole and streamed, and back in the history; a regular expression binds the input."""
    question: Any = {"role": "user", "content": "What is 17 + 25?"}
    named = {"type": "custom", "custom": {"name": "code"}}
    body: Any = {
        "model": "demo", "tools": [tool(REGEX, True)], "temperature": 0, "parallel_tool_calls": False,
        "tool_choice": "required" if choice == "required" else named, "extra_body": {"enable_thinking": False},
    }  # fmt: skip
    answer = client.chat.completions.create(messages=[question], **body)
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "custom"
    assert call.custom.name == "code"
    assert re.fullmatch(WORD, call.custom.input)
    with client.chat.completions.create(messages=[question], stream=True, **body) as stream:
        pieces = [
            piece for chunk in stream for choice in chunk.choices for piece in choice.delta.tool_calls or []
        ]  # fmt: skip
    first: Any = pieces[0]
    assert (first.index, first.type, first.custom["name"], first.custom["input"]) == (0, "custom", "code", "")
    assert first.id
    assert all(piece.index == 0 and piece.function is None for piece in pieces)
    assert "".join(piece.custom["input"] for piece in pieces) == call.custom.input
    history: Any = [
        question, answer.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "done"},
    ]  # fmt: skip
    again = client.chat.completions.create(messages=history, **body | {"tool_choice": "none", "max_tokens": 3})
    assert again.usage
    assert answer.usage
    assert again.usage.prompt_tokens > answer.usage.prompt_tokens


@pytest.mark.parametrize("choice", ["required", "named"])
def test_a_call_in_responses(client: openai.OpenAI, server: Running, choice: str) -> None:
    body: Any = {
        "tools": [tool(REGEX)], "temperature": 0, "parallel_tool_calls": False, "reasoning": {"effort": "none"},
        "tool_choice": "required" if choice == "required" else {"type": "custom", "name": "code"},
    }  # fmt: skip
    answer = client.responses.create(model="demo", input="What is 17 + 25?", **body)
    (call,) = answer.output
    assert call.type == "custom_tool_call"
    assert call.name == "code"
    assert re.fullmatch(WORD, call.input)
    assert answer.tools[0].type == "custom"
    assert answer.tools[0].model_dump(exclude_none=True) == tool(REGEX)
    events = events_of(server, input="What is 17 + 25?", **body)
    kinds = [event["type"] for event in events if "custom" in event["type"]]
    assert kinds == ["response.custom_tool_call_input.delta", "response.custom_tool_call_input.done"]
    assert not any("function_call" in event["type"] for event in events)
    (streamed,) = told(events)
    assert streamed == events[-1]["response"]["output"][0]
    assert (streamed["input"], streamed["status"]) == (call.input, "completed")
    with client.responses.stream(model="demo", input="What is 17 + 25?", **body) as stream:
        assert [item.model_dump()["input"] for item in stream.get_final_response().output] == [call.input]
    output: Any = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "done"}
    free = body | {"tool_choice": "none", "max_output_tokens": 16}
    sent = client.responses.create(
        model="demo", input=[{"role": "user", "content": "What is 17 + 25?"}, call, output], **free
    )  # fmt: skip
    stored = client.responses.create(model="demo", input=[output], previous_response_id=answer.id, **free)
    assert stored.usage
    assert sent.usage
    assert stored.usage.input_tokens == sent.usage.input_tokens
    listed = client.responses.input_items.list(stored.id, order="asc").data
    assert [item.type for item in listed][-2:] == ["custom_tool_call", "custom_tool_call_output"]


def test_a_call_that_is_cut_off(server: Running) -> None:
    """What came of the input is told, whole and streamed; a stored conversation goes on without the call."""
    body: dict[str, Any] = {"tools": [tool(REGEX | {"definition": "(ab){999}"})], "tool_choice": "required"}
    short = {"max_output_tokens": 60, "reasoning": {"effort": "none"}, "temperature": 0}
    whole = send("POST", f"{server.url}/v1/responses", json={"input": "x", **body, **short}).json()
    (call,) = whole["output"]
    assert (call["type"], call["status"], whole["status"]) == ("custom_tool_call", "incomplete", "incomplete")
    assert re.fullmatch("(ab)+a?", call["input"])
    events = events_of(server, input="x", **body, **short)
    assert told(events)[0]["input"] == call["input"]
    more = {"input": "y", "previous_response_id": whole["id"], "max_output_tokens": 16}
    assert send("POST", f"{server.url}/v1/responses", json=more).json()["status"] in ("completed", "incomplete")
    chat = {
        "messages": [{"role": "user", "content": "x"}], "tools": [tool(REGEX | {"definition": "(ab){999}"}, True)],
        "tool_choice": "required", "enable_thinking": False, "max_tokens": 60, "temperature": 0,
    }  # fmt: skip
    message = send("POST", f"{server.url}/v1/chat/completions", json=chat).json()["choices"][0]["message"]
    assert message["tool_calls"][0]["custom"]["input"] == call["input"]
    lines = send("POST", f"{server.url}/v1/chat/completions", json=chat | {"stream": True}).text.split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    pieces = [piece for chunk in chunks for piece in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert "".join(piece["custom"]["input"] for piece in pieces) == call["input"]
    assert {piece["index"] for piece in pieces} == {0}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_a_grammar_is_told_and_named(server: Running, path: str) -> None:
    in_chat = "chat" in path
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1} if in_chat else {"input": "x"}
    answer = send("POST", server.url + path, json=body | {"tools": [tool(LARK, in_chat)]})
    assert answer.status_code == 200, answer.text
    assert answer.headers[HEADER] == ("tools.custom.format" if in_chat else "tools.format")
    assert "fit this grammar" in custom_function("Patches", "lark", LARK["definition"])["description"]
    bound = send("POST", server.url + path, json=body | {"tools": [tool(REGEX, in_chat)]})
    assert (bound.status_code, bound.headers.get(HEADER)) == (200, None)


TEXTS = ["", " ", "*** Begin Patch\n+é\n*** End Patch", '{"input": 1}', "\\", '"', "}", "\ud800", "null"]


@pytest.mark.parametrize("text", TEXTS)
def test_an_input_stays_as_it_is(text: str) -> None:
    assert input_of(json.loads(arguments_of(text))) == text
    assert begun_input(arguments_of(text)) == text
    for end in (1, 2):  # without its closing bracket, and without the quote before it
        assert begun_input(arguments_of(text)[:-end]) == text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({}, ""), ({"patch": "x"}, "x"), ({"code": [1]}, "[1]"), ({"a": 1, "b": 2}, '{"a": 1, "b": 2}')],
)
def test_an_input_by_another_name(arguments: dict[str, Any], expected: str) -> None:
    assert input_of(arguments) == expected


@pytest.mark.parametrize("text", ["", "{", "[1", "no JSON", '{"input": 1', '"x'])
def test_arguments_that_are_no_input(text: str) -> None:
    assert begun_input(text) in ("", "1")


def test_a_history_reads_like_that_of_a_function() -> None:
    """A model sees the same bytes of a custom tool and its calls as of a function with one text."""
    about = {"name": "code", **custom_function("Runs code")}
    calls = [arguments_of(text) for text in TEXTS[:3]]
    outputs = [{"role": "tool", "tool_call_id": str(index), "content": "done"} for index in range(len(calls))]
    said: dict[str, Any] = {"role": "assistant", "content": "Now."}
    plain = [
        {"id": str(index), "type": "function", "function": {"name": "code", "arguments": arguments}}
        for index, arguments in enumerate(calls)
    ]
    custom = [
        {"id": str(index), "type": "custom", "custom": {"name": "code", "input": text}}
        for index, text in enumerate(TEXTS[:3])
    ]
    question = {"role": "user", "content": "Hi!"}
    asks = [
        chat_ask(ChatRequest.model_validate({"messages": messages, "tools": tools}))
        for messages, tools in (
            ([question, said | {"tool_calls": plain}, *outputs], [{"type": "function", "function": about}]),
            ([question, said | {"tool_calls": custom}, *outputs], [tool(in_chat=True)]),
        )
    ]
    items = [
        question, said, *({"type": "custom_tool_call", "call_id": str(index), "name": "code", "input": text}
        for index, text in enumerate(TEXTS[:3])),
        *({"type": "custom_tool_call_output", "call_id": str(index), "output": "done"} for index in range(3)),
    ]  # fmt: skip
    request = ResponsesRequest.model_validate({"input": items, "tools": [tool()]})
    asks.append(responses_ask(request, stored_items(request.input, {})))
    messages = [list(ask.messages or [])[1:] for ask in asks]
    assert messages[0] == messages[1]
    assert messages[2][0]["tool_calls"] == messages[0][0]["tool_calls"]
    assert messages[2][1:] == messages[0][1:]
    assert asks[0].tools == asks[1].tools == asks[2].tools


def test_a_custom_tool_and_a_function_of_one_name(server: Running) -> None:
    """Both can be called, each by a name of its own, and are told apart."""
    plain = {"type": "function", "name": "code", "parameters": {"type": "object", "properties": {}}}
    body: dict[str, Any] = {
        "tools": [tool(REGEX), plain],
        "parallel_tool_calls": False,
        "reasoning": {"effort": "none"},
    }
    for kind, expected in (("custom", "custom_tool_call"), ("function", "function_call")):
        choice = {"tool_choice": {"type": kind, "name": "code"}}
        answer = send("POST", f"{server.url}/v1/responses", json={"input": "x", **body, **choice}).json()
        assert [(item["type"], item["name"]) for item in answer["output"]] == [(expected, "code")]


def test_several_calls_of_both_kinds() -> None:
    """Pieces of a function's arguments come as they are written, a custom tool's input at once."""
    output = Output(None, told_as={"code": Known(CUSTOM, "code"), "a__f": Known(FUNCTION, "f", "a")})
    deltas: list[StreamDelta] = []
    for index, (name, key) in enumerate((("code", "input"), ("a__f", "x"), ("g", "y"), ("code", "patch"))):
        call = ToolCallDelta(index, name, {key: f"{index}\n"})
        pieces = [call.arguments_json[:-1], "}"]
        deltas += [
            StreamDelta("tool_call_piece", piece=ToolCallPiece(index, name, text, first=number == 0))
            for number, text in enumerate(pieces)
        ]
        deltas.append(StreamDelta("tool_call", tool_call=call))
    events = [event for delta in deltas for event in output.take(delta)]
    told_items = [
        (item["type"], item.get("namespace"), item["name"], item.get("input", item.get("arguments")))
        for item in output.items
    ]
    assert told_items == [
        ("custom_tool_call", None, "code", "0\n"), ("function_call", "a", "f", '{"x": "1\\n"}'),
        ("function_call", None, "g", '{"y": "2\\n"}'), ("custom_tool_call", None, "code", "3\n"),
    ]  # fmt: skip
    assert told(events) == output.items
    assert all(item["status"] == "completed" for item in output.items)
