"""A structure of the answer beside tools, and schemas that cannot be held to, in every dialect."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from server.asking import ABOUT_ANNA, ANNA, Person, send, streamed
from server.running import Running

SUM, PARIS = "What is 17 + 25?", "What is the weather in Paris?"
SCHEMA = {
    "type": "object",
    "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["sum"],
    "additionalProperties": False,
}
ID = 1234567890123456789
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
DIALECTS = ["chat", "responses", "anthropic", "ollama"]


def request_of(dialect: str, question: str, schema: Any, parameters: Any = PARAMETERS, **more: Any) -> tuple[str, Any]:
    """The path and body of a question beside a tool, whose answer is to fit a schema (none with None)."""
    messages = [{"role": "user", "content": question}]
    function = {"name": "get_weather", "description": "Tells the weather.", "parameters": parameters}
    strict = {"strict": more.pop("strict")} if "strict" in more else {}
    tools: list[dict[str, Any]] = [{"type": "function", "function": {**function, **strict}}]
    body: dict[str, Any] = {"messages": messages, "temperature": 0, "max_tokens": 150, "tools": tools}
    if dialect == "chat":
        if schema is not None:
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        return "/v1/chat/completions", {**body, "enable_thinking": False, **more}
    if dialect == "responses":
        body = {"input": question, "temperature": 0, "max_output_tokens": 150, "reasoning": {"effort": "none"}}
        body["tools"] = [{"type": "function", **function, **strict}]
        if schema is not None:
            body["text"] = {"format": {"type": "json_schema", "name": "a", "schema": schema}}
        return "/v1/responses", {**body, **more}
    if dialect == "anthropic":
        body["tools"] = [{"name": function["name"], "description": "Tells.", "input_schema": parameters, **strict}]
        if schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        return "/v1/messages", {**body, "model": "demo", **more}
    body = {"messages": messages, "tools": tools, "think": False, "options": {"temperature": 0, "num_predict": 150}}
    return "/api/chat", {"stream": False, **body, **({"format": schema} if schema is not None else {}), **more}


def told(dialect: str, body: Any) -> tuple[str, list[Any]]:
    """The text and the arguments of the calls of a whole answer."""
    if dialect == "chat":
        message = body["choices"][0]["message"]
        calls = [json.loads(call["function"]["arguments"]) for call in message.get("tool_calls") or []]
        return message["content"] or "", calls
    if dialect == "responses":
        texts = [part["text"] for item in body["output"] if item["type"] == "message" for part in item["content"]]
        calls = [json.loads(item["arguments"]) for item in body["output"] if item["type"] == "function_call"]
        return "".join(texts), calls
    if dialect == "anthropic":
        texts = [block["text"] for block in body["content"] if block["type"] == "text"]
        return "".join(texts), [block["input"] for block in body["content"] if block["type"] == "tool_use"]
    message = body["message"]
    return message["content"], [call["function"]["arguments"] for call in message.get("tool_calls") or []]


def pieces(dialect: str, lines: Iterator[str]) -> tuple[str, list[Any]]:
    """The same of a streamed one."""
    events = [json.loads(line.removeprefix("data: ")) for line in lines
              if line.startswith(("data: {", "{"))]  # fmt: skip
    if dialect == "responses":
        return told(dialect, events[-1]["response"])
    text, calls, arguments = "", [], ""
    for event in events:
        if dialect == "chat":
            delta = event["choices"][0]["delta"] if event["choices"] else {}
            text += delta.get("content") or ""
            arguments += "".join(call["function"].get("arguments", "") for call in delta.get("tool_calls") or [])
        elif dialect == "anthropic":
            text += event.get("delta", {}).get("text", "")
            arguments += event.get("delta", {}).get("partial_json", "")
        else:
            part = told(dialect, event)
            text, calls = text + part[0], calls + part[1]
    return text, calls + ([json.loads(arguments)] if arguments else [])


def ask(server: Running, dialect: str, stream: bool, path: str, body: Any, *left_out: str) -> tuple[str, list[Any]]:
    """The text and the calls of an answer, whose header names what was left out."""
    if not stream:
        answer = send("POST", f"{server.url}{path}", json=body)
        assert answer.status_code == 200, answer.text
        found = told(dialect, answer.json())
    else:
        with streamed(f"{server.url}{path}", json={**body, "stream": True}) as answer:
            assert answer.status_code == 200
            found = pieces(dialect, answer.iter_lines())
    named = set(answer.headers.get("x-qwill-ignored", "").split(", "))
    assert {name for name in named if "." in name} == set(left_out)
    return found


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_answer_or_a_call(server: Running, dialect: str, stream: bool) -> None:
    assert ask(server, dialect, stream, *request_of(dialect, PARIS, SCHEMA)) == ("", [{"city": "Paris"}])
    text, calls = ask(server, dialect, stream, *request_of(dialect, ABOUT_ANNA, Person.model_json_schema()))
    assert calls == []
    assert Person.model_validate_json(text) == ANNA


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", ["chat", "responses", "anthropic"])
def test_none_leaves_the_answer(server: Running, dialect: str, stream: bool) -> None:
    none: Any = {"type": "none"} if dialect == "anthropic" else "none"
    text, calls = ask(server, dialect, stream, *request_of(dialect, PARIS, SCHEMA, tool_choice=none))
    assert calls == []
    jsonschema.validate(json.loads(text), SCHEMA)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", ["chat", "responses", "anthropic"])
def test_required_leaves_calls(server: Running, dialect: str, stream: bool) -> None:
    required: Any = {"type": "any"} if dialect == "anthropic" else "required"
    text, calls = ask(server, dialect, stream, *request_of(dialect, SUM, SCHEMA, tool_choice=required))
    assert text == ""
    assert all(set(call) == {"city"} for call in calls)
    assert calls


@pytest.mark.parametrize("dialect", DIALECTS)
def test_whole_numbers_of_any_size(server: Running, dialect: str) -> None:
    for schema, good in (
        ({"const": ID}, {ID}),
        ({"enum": [2**53 + 1, -(10**25) - 1]}, {2**53 + 1, -(10**25) - 1}),
        ({"type": "integer", "minimum": ID, "maximum": ID + 1}, {ID, ID + 1}),
    ):
        path, body = request_of(dialect, SUM, schema)
        body.pop("tools")
        text, _ = ask(server, dialect, False, path, body)
        assert json.loads(text) in good


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", ["chat", "responses", "anthropic"])
def test_one_schema_fails_no_request(server: Running, dialect: str, stream: bool) -> None:
    """Nor does it with a structure. What the schema says beside what cannot be held to, calls fit."""
    odd = {
        "type": "object",
        "properties": {
            "days": {"type": "array", "items": {"type": "integer", "maximum": 9}, "maxItems": 2, "uniqueItems": True},
            "id": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1, "not": {"const": 5}},
            "key": {"type": "string", "format": "password", "pattern": "(?=a)", "maxLength": 5},
            "other": {"$ref": "#/properties/id"},
            "far": {"$ref": "https://example.org/schema.json"},
        },
        "required": ["days", "id", "key"],
        "propertyNames": {"pattern": "^[a-z]"},
        "additionalProperties": False,
    }
    required: Any = {"type": "any"} if dialect == "anthropic" else "required"
    bound = request_of(dialect, PARIS, None, odd, tool_choice=required)
    place = "tools.get_weather.parameters"
    names = ["propertyNames", "properties.days.uniqueItems", "properties.id.not", "properties.key.format",
             "properties.key.pattern", "properties.far.$ref"]  # fmt: skip
    _, calls = ask(server, dialect, stream, *bound, *(f"{place}.{name}" for name in names))
    for call in calls:
        assert {"days", "id", "key"} <= call.keys() <= {"days", "id", "key", "other", "far"}
        assert len(call["days"]) <= 2
        assert 0 <= call["id"] < 2**63
        assert len(call["key"]) <= 5
    assert calls
    beside = request_of(dialect, SUM, {**SCHEMA, "not": {"required": ["x"]}}, odd)
    ask(server, dialect, stream, *beside, "response_format.not")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_strict_tools_are_refused_by_name(server: Running, dialect: str) -> None:
    odd = {"type": "object", "properties": {"days": {"type": "array", "uniqueItems": True}}}
    path, body = request_of(dialect, SUM, None, odd, strict=True)
    answer = send("POST", f"{server.url}{path}", json=body)
    assert answer.status_code == 400
    message = json.dumps(answer.json())
    assert "get_weather" in message
    assert "tools.get_weather.parameters.properties.days.uniqueItems" in message


@pytest.mark.parametrize("dialect", ["chat", "responses"])
def test_strict_formats_are_refused_by_name(server: Running, dialect: str) -> None:
    path, body = request_of(dialect, SUM, {**SCHEMA, "not": {}})
    inner = body["response_format"]["json_schema"] if dialect == "chat" else body["text"]["format"]
    for strict, status in ((True, 400), (False, 200), (None, 200)):
        inner["strict"] = strict
        answer = send("POST", f"{server.url}{path}", json=body)
        assert answer.status_code == status
        assert status == 200 or "response_format.not" in answer.json()["error"]["message"]
