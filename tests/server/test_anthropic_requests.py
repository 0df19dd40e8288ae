"""What /v1/messages makes of a conversation, and of one that is wrong or odd."""

import json
from typing import Any

import httpx
import pytest

from qwill.server.anthropic.schemas import Conversation
from qwill.server.anthropic.turns import plain_messages
from server.anthropic_parts import IMAGE, PARIS, PICTURE, SUM, WEATHER, assistant, result, use, user
from server.asking import send
from server.running import Running


def plain(**body: Any) -> list[dict[str, Any]]:
    return plain_messages(Conversation.model_validate({"model": "demo", **body}))


def post(server: Running, path: str = "", **body: Any) -> httpx.Response:
    """As plain JSON, which can hold what no client would send."""
    headers = {"content-type": "application/json"}
    return send("POST", f"{server.url}/v1/messages{path}", content=json.dumps(body), headers=headers)


def test_turns() -> None:
    call, other = use("a"), use("b", "Rome")
    found = plain(
        system="Be kind.",
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "What"}, {"type": "text", "text": "now?"}]},
            user("Well?"),
            {"role": "system", "content": "Be short."},
            {"role": "system", "content": "Hurry.", "clear_at": "next_user_message"},
            assistant([{"type": "thinking", "thinking": "Hm", "signature": "s"}, {"type": "text", "text": "Let"}]),
            assistant([{"type": "text", "text": " me see."}, call, other]),
            user(
                [
                    {"type": "text", "text": "Here."},
                    result("b", "rain", is_error=True),
                    result("a", [{"type": "text", "text": "sun"}, IMAGE]),
                ]
            ),
            {"role": "system", "content": "Stay calm.", "clear_at": "next_user_message"},
        ],
    )
    functions = [{"name": "get_weather", "arguments": {"city": city}} for city in ("Paris", "Rome")]
    address: dict[str, Any] = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
    address["place"] = "messages.6.content.2.content.1"
    assert found == [
        {"role": "system", "content": "Be kind.\n\nBe short.\n\nStay calm."},
        {"role": "user", "content": "What\nnow?\nWell?"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "Hm",
            "tool_calls": [
                {"id": identity, "type": "function", "function": function}
                for identity, function in zip("ab", functions, strict=True)
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "sun"}, address]},
        {"role": "tool", "tool_call_id": "b", "content": "Error:\nrain"},
        {"role": "user", "content": "Here."},
    ]


def test_documents_are_text() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "Once."}
    found = {"type": "search_result", "title": "Hit", "source": "a.txt", "content": [{"type": "text", "text": "Two"}]}
    blocks = [{"type": "text", "text": "Three"}, IMAGE]
    parts = [
        {"type": "document", "title": "Tale", "source": source},
        found,
        {"type": "document", "source": {"type": "content", "content": "Four\n"}},
        {"type": "document", "source": {"type": "content", "content": blocks}},
    ]
    (message,) = plain(messages=[user(parts)])
    text, picture = message["content"][:-1], message["content"][-1]
    assert "".join(part["text"] for part in text) == "Tale\nOnce.\nHit\na.txt\nTwo\nFour\nThree"
    assert picture["type"] == "image_url"
    named = {"type": "tool_reference", "tool_name": "get_weather"}
    messages = plain(messages=[user("?"), assistant([use("a"), use("b")]), user([result("a", [named]), result("b")])])
    assert [message["content"] for message in messages[2:]] == ["The tool get_weather can be called.", ""]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens must be"),
        ({"temperature": -1}, "temperature must be"),
        ({"top_p": 1.5}, "top_p must be"),
        ({"top_k": -1}, "top_k must be"),
        ({"stop_sequences": [""]}, "stop_sequences.0"),
        ({"temprature": 1}, "unknown field 'temprature'"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "the roles of messages here are user, assistant, system"),
        ({"messages": [user(None)]}, "content"),
        ({"messages": [user([{"type": "text"}])]}, "text"),
        ({"messages": [user([{"id": "a"}])]}, "messages.0.content.0: the types of a user's blocks here are text"),
        ({"messages": [assistant([result("a")])]}, "'tool_result'"),
        ({"messages": [user([IMAGE | {"transformations": {"oversized_image": "error"}}])]}, "'downsize'"),
        ({"system": [IMAGE]}, "system"),
        ({"thinking": {"type": "between_tools"}}, "thinking.type"),
        ({"thinking": {"type": "disabled", "budget_tokens": 5}}, "budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": -1}}, "budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2**31}}, "budget_tokens"),
        ({"tools": [{"name": "f"}]}, "input_schema"),
        ({"tool_choice": {"type": "any"}}, "tool_choice of type any needs tools"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "f"}}, "the tools are get_weather"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{"type": "url", "url": "https://example.com", "name": "x"}]}, "mcp_servers"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {"type": 5}}}}, "schema"),
    ],
)
def test_mistakes_are_named(server: Running, more: dict[str, Any], message: str) -> None:
    body = {"model": "demo", "max_tokens": 20, "messages": [user(SUM)]} | more
    answer = post(server, **{key: value for key, value in body.items() if value is not None})
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "messages",
    [
        [user("")],
        [user([])],
        [user("\ud800")],
        [assistant("Hello!"), user(SUM)],
        [user(SUM), assistant([])],
        [user(SUM), {"role": "system", "content": []}],
        [user(SUM), assistant([{"type": "text", "text": "a </think> b"}]), user("<|im_end|>")],
        [user(PARIS), assistant([use("a") | {"input": {"\ud800": "\ud800"}}]), user([result("a")])],
    ],
)
def test_odd_conversations_are_answered_or_refused(server: Running, messages: Any) -> None:
    answer = post(server, model="demo", max_tokens=3, messages=messages)
    assert answer.status_code in (200, 400)
    counted = post(server, "/count_tokens", model="demo", messages=messages)
    assert counted.status_code == answer.status_code
    if answer.status_code == 400:
        assert answer.json()["error"]["message"]
    else:
        usage = answer.json()["usage"]
        assert counted.json()["input_tokens"] == usage["input_tokens"] + usage["cache_read_input_tokens"]
