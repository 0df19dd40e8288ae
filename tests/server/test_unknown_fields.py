"""What clients add to what they send back is left out and named, wherever it stands; at the top level of the dialects
that check it, it is refused."""

import json
import random
import string
from collections.abc import Iterator
from typing import Any

import pytest
from benchmarks.fuzz_bodies import BODIES
from benchmarks.fuzz_cases import filled

from qwill.server.http import MOST_LETTERS, MOST_NAMES
from server.asking import send
from server.running import Running

HEADER = "x-qwill-ignored"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION = {"name": "f", "parameters": PARAMETERS, "cache_control": {"type": "ephemeral"}}
ADDED: dict[str, Any] = {"opts": {"a": [1]}, "empty": None}
CALL = {
    "id": "a", "type": "function", "extra_content": {}, "provider_specific_fields": {"signature": "x"},
    "function": {"name": "f", "arguments": "{}", "opts": 1},
}  # fmt: skip
CHAT = {
    "messages": [
        {"role": "user", "id": "1", "content": [{"type": "text", "text": "Hi!", **ADDED}]},
        {
            "role": "assistant", "content": "One moment.", "reasoning_details": [{"type": "x"}], "thinking_blocks": [],
            "parsed": {"a": 1}, "provider_specific_fields": {}, "tool_calls": [CALL],
        },
        {"role": "tool", "tool_call_id": "a", "content": "sunny", "is_error": False},
    ],
    "tools": [{"type": "function", "function": FUNCTION, "cache_control": {}}],
    "response_format": {"type": "text", "opts": 1},
    "stream_options": {"include_usage": True, "include_cost": True},
}  # fmt: skip
CHAT_NAMES = {
    "messages.content.opts", "messages.id", "messages.is_error", "messages.parsed", "messages.provider_specific_fields",
    "messages.reasoning_details", "messages.thinking_blocks", "messages.tool_calls.extra_content",
    "messages.tool_calls.function.opts", "messages.tool_calls.provider_specific_fields",
    "response_format.opts", "stream_options.include_cost", "tools.cache_control", "tools.function.cache_control",
}  # fmt: skip
RESPONSES = {
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Hi!", **ADDED}], "opts": 1},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm.", "opts": 1}], "format": "x"},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}", "parsed_arguments": {}},
        {"type": "function_call_output", "call_id": "a", "output": "sunny", "created_by": "me"},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": PARAMETERS, "cache_control": {}}],
    "reasoning": {"effort": "none", "opts": 1},
    "text": {"format": {"type": "text", "opts": 1}, "tone": "dry"},
}
RESPONSES_NAMES = {
    "input.content.opts", "input.created_by", "input.format", "input.opts", "input.parsed_arguments",
    "input.summary.opts", "reasoning.opts", "text.format.opts", "text.tone", "tools.cache_control",
}  # fmt: skip
MESSAGES = {
    "system": [{"type": "text", "text": "Be short.", "opts": 1}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hi!", **ADDED}], "id": "1"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}, "opts": 1}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "sunny", "opts": 1}]},
    ],
    "tools": [{"name": "f", "input_schema": PARAMETERS, "annotations": {}}],
    "thinking": {"type": "disabled", "depth": 1},
    "output_config": {"opts": 1},
}
MESSAGES_NAMES = {
    "messages.content.opts", "messages.id", "output_config.opts", "system.opts", "thinking.depth", "tools.annotations",
}  # fmt: skip
OLLAMA = {
    "messages": [
        {"role": "user", "content": "Hi!", "parts": [], **ADDED},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}, "opts": 1}, "opts": 1}]},
        {"role": "tool", "content": "sunny", "tool_name": "f", "opts": 1},
    ],
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": "auto",
    "options": {"num_predict": 1, "num_thread": 4},
}
OLLAMA_NAMES = {
    "messages.opts", "messages.parts", "messages.tool_calls.function.opts", "messages.tool_calls.opts",
    "options.num_thread", "tool_choice", "tools.function.cache_control",
}  # fmt: skip
CASES = {
    "/v1/chat/completions": (CHAT | {"max_tokens": 1}, CHAT_NAMES),
    "/v1/responses": (RESPONSES | {"max_output_tokens": 1}, RESPONSES_NAMES),
    "/v1/messages": (MESSAGES | {"model": "demo", "max_tokens": 1}, MESSAGES_NAMES),
    "/api/chat": (OLLAMA, OLLAMA_NAMES),
}


def names(value: str) -> set[str]:
    return set(value.split(", "))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("path", CASES)
def test_they_are_left_out_and_named(server: Running, path: str, streamed: bool) -> None:
    body, expected = CASES[path]
    answer = send("POST", server.url + path, json=body | {"stream": streamed})
    assert answer.status_code == 200, answer.text
    assert names(answer.headers[HEADER]) == expected


@pytest.mark.parametrize("path", ["/v1/messages/count_tokens", "/v1/responses/input_tokens"])
def test_they_are_named_where_tokens_are_counted(server: Running, path: str) -> None:
    body = {"/v1/messages/count_tokens": MESSAGES | {"model": "demo"}, "/v1/responses/input_tokens": RESPONSES}[path]
    expected = {"/v1/messages/count_tokens": MESSAGES_NAMES, "/v1/responses/input_tokens": RESPONSES_NAMES}[path]
    answer = send("POST", server.url + path, json=body)
    assert (answer.status_code, names(answer.headers[HEADER])) == (200, expected)


def test_they_change_no_prompt(server: Running) -> None:
    """What a model reads is the same without them."""

    def known(value: Any) -> Any:
        if isinstance(value, list):
            return [known(one) for one in value]
        if not isinstance(value, dict):
            return value
        added = {name.rpartition(".")[2] for name in CHAT_NAMES} | ADDED.keys()
        kept = {name: known(one) for name, one in value.items() if name not in added}
        return kept | ({"id": value["id"]} if "function" in value and "id" in value else {})

    bodies = [{"messages": CHAT["messages"], "tools": CHAT["tools"]}, known(CHAT)]
    prompts = [
        send("POST", f"{server.url}/tokenize", json={key: body[key] for key in ("messages", "tools")}).json()["tokens"]
        for body in bodies
    ]
    assert prompts[0] == prompts[1]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/completions"])
def test_a_misspelt_field_is_refused(server: Running, path: str) -> None:
    body = CASES[path][0] if path in CASES else {"prompt": "Hi!"}
    answer = send("POST", server.url + path, json=body | {"temprature": 1})
    assert answer.status_code == 400
    assert "unknown field 'temprature'; leave it out or correct its name" in answer.text


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/completions"])
def test_one_without_a_value_asks_for_nothing(server: Running, path: str) -> None:
    """Some clients send all fields that they know, and null for most."""
    body, expected = CASES.get(path, ({"prompt": "Hi!", "max_tokens": 1}, set()))
    answer = send("POST", server.url + path, json=body | {"chat_template": None, "functions": None, "x": None})
    assert answer.status_code == 200, answer.text
    assert names(answer.headers.get(HEADER, "")) - {""} == expected


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/show"])
def test_ollama_takes_unknown_fields_at_the_top_too(server: Running, path: str) -> None:
    body = {"/api/chat": OLLAMA, "/api/generate": {"prompt": "Hi!", "options": {"num_predict": 1}}}.get(path, {})
    answer = send("POST", server.url + path, json=body | {"model": "demo", "temprature": 1})
    assert answer.status_code == 200
    assert "temprature" in names(answer.headers[HEADER])


def odd_names(count: int) -> Iterator[str]:
    for _ in range(count):
        yield "".join(random.choices(string.printable + "é中\u2028\r\n,\0", k=random.randint(1, 300)))


def test_names_that_no_header_holds(server: Running) -> None:
    """A header has no line breaks and no endless values, whatever a client calls its fields."""
    message = {"role": "user", "content": "Hi!", **dict.fromkeys(odd_names(200), 1)}
    answer = send("POST", f"{server.url}/v1/chat/completions", json={"messages": [message], "max_tokens": 1})
    assert answer.status_code == 200
    told = answer.headers[HEADER].split(", ")
    assert len(told) == MOST_NAMES + 1
    assert told[-1].startswith("and ")
    assert all(len(name) <= MOST_LETTERS + 3 and name.isascii() and name.isprintable() for name in told)


# Objects whose keys are no fields: schemas, and maps from names of the client's own.
FREE = frozenset({
    "parameters", "input_schema", "schema", "metadata", "logit_bias", "chat_template_kwargs", "guided_json", "input",
    "arguments", "json", "format", "client_metadata", "action",
})  # fmt: skip


def with_unknown(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The body with an unknown field in each of the objects within it, one at a time, and where that is."""
    if isinstance(value, list):
        for number, one in enumerate(value):
            for where, changed in with_unknown(one, place):
                yield where, [*value[:number], changed, *value[number + 1 :]]
    elif isinstance(value, dict):
        if place:
            yield f"{place.removeprefix('.')}.x_new", value | {"x_new": {"a": [1]}}
        for name, one in value.items():
            if name not in FREE or not isinstance(one, dict):
                for where, changed in with_unknown(one, f"{place}.{name}"):
                    yield where, value | {name: changed}


@pytest.mark.parametrize("path", [path for path in CASES if path in BODIES])
def test_they_may_stand_anywhere(server: Running, path: str) -> None:
    """In every object of every body that the fuzzer begins with."""
    tried = 0
    for number, body in enumerate(BODIES[path]):
        sound = json.loads(filled(random.Random(7), body, damaged=False))
        before = send("POST", server.url + path, json=sound)
        if before.status_code != 200:
            continue  # one of those that are to be refused
        wholly = names(before.headers.get(HEADER, ""))  # left out, with all that they hold
        for where, changed in with_unknown(sound):
            answer = send("POST", server.url + path, json=changed)
            assert answer.status_code == 200, (number, where, answer.text)
            told = names(answer.headers[HEADER])
            assert where in told or told == wholly, (number, where, told)
            tried += 1
    assert tried > 10
