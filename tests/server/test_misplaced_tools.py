"""Tools in the form of another dialect: the mistake is told of the field that is missing, as the client calls it."""

from typing import Any

import pytest

from server.asking import send
from server.dialects import CHAT, MESSAGES, OLLAMA, RESPONSES, body_of
from server.running import Running

NESTED = {"type": "function", "function": {"name": "f", "parameters": {}}}
FLAT = {"type": "function", "name": "f", "parameters": {}}
PLAIN = {"name": "f", "input_schema": {}}


@pytest.mark.parametrize(
    ("path", "tool", "place"),
    [
        (RESPONSES, NESTED, "tools.0.name"), (RESPONSES, {"type": "custom", "custom": {"name": "f"}}, "tools.0.name"),
        (CHAT, FLAT, "tools.0.function"), (OLLAMA, FLAT, "tools.0.function"), (OLLAMA, PLAIN, "tools.0.function"),
        (MESSAGES, NESTED, "tools.0.name"), (MESSAGES, FLAT, "tools.0.input_schema"),
    ],
)  # fmt: skip
def test_the_place_is_the_clients(server: Running, path: str, tool: dict[str, Any], place: str) -> None:
    answer = send("POST", server.url + path, json=body_of(path, ["Hi"], tools=[tool]))
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error if isinstance(error, str) else error["message"]) == f"{place}: Field required"


def test_a_choice_in_the_form_of_another_dialect(server: Running) -> None:
    body = body_of(RESPONSES, ["Hi"], tools=[FLAT], tool_choice={"type": "function", "function": {"name": "f"}})
    assert send("POST", server.url + RESPONSES, json=body).json()["error"]["param"] == "tool_choice.name"


def test_a_function_that_says_so(server: Running) -> None:
    """Anthropic's tools need no type, and one of OpenAI's does no harm."""
    body = body_of(MESSAGES, ["Hi"], tools=[PLAIN | {"type": "function"}])
    answer = send("POST", server.url + MESSAGES, json=body)
    assert (answer.status_code, answer.headers.get("x-qwill-ignored")) == (200, None)
