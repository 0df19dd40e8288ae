"""Items of /v1/responses that make tools known are offered as those of the request are."""

from typing import Any

import pytest

from server.asking import send
from server.dialects import RESPONSES, ask_of
from server.running import Running

HI = {"role": "user", "content": "Hi!"}
PARAMETERS = {"type": "object", "properties": {"city": {"enum": ["Paris"]}}, "required": ["city"]}


def function(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": PARAMETERS, **more}


def item(*tools: Any) -> dict[str, Any]:
    return {"type": "additional_tools", "role": "developer", "tools": list(tools)}


def offered(body: dict[str, Any]) -> list[str]:
    return [tool["function"]["name"] for tool in ask_of(RESPONSES, body).tools or []]


def test_they_are_offered_beside_the_others() -> None:
    space = {"type": "namespace", "name": "a", "tools": [function("h")]}
    bodies = [
        {"input": [item(function("g"), space), HI], "tools": [function("f")]},
        {"input": [item(function("g")), HI, item(function("g"), function("f"), space)], "tools": [function("f")]},
        {"input": [item(function("g"), {"type": "web_search"}, {"type": "function"}, 5, space), HI],
         "tools": [function("f")]},
    ]  # fmt: skip
    for body in bodies:
        assert offered(body) == ["f", "g", "a__h"]
        assert ask_of(RESPONSES, body).ignored == []
    alone = {"input": [item(function("g")), HI], "tools": [{"type": "web_search"}]}
    assert offered(alone) == ["g"]


@pytest.mark.parametrize("tools", [[], [{"type": "web_search"}], [5], None, {}])
def test_an_item_without_any_is_left_out_and_named(tools: Any) -> None:
    body = {"input": [{"type": "additional_tools", "tools": tools}, HI]}
    assert offered(body) == []
    assert ask_of(RESPONSES, body).ignored == ["input.additional_tools"]


def test_they_are_called_and_stay_known(server: Running) -> None:
    """Also in a conversation that goes on from a stored response."""
    space = {"type": "namespace", "name": "a", "tools": [function("h")]}
    body = {"tool_choice": "required", "parallel_tool_calls": False, "reasoning": {"effort": "none"}}
    first = send("POST", f"{server.url}{RESPONSES}", json=body | {"input": [item(space), HI]})
    assert first.status_code == 200, first.text
    told = first.json()
    for _ in range(2):
        (call,) = told["output"]
        assert (call["name"], call["namespace"], call["arguments"]) == ("h", "a", '{"city": "Paris"}')
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        more = body | {"input": [output, HI], "previous_response_id": told["id"]}
        told = send("POST", f"{server.url}{RESPONSES}", json=more).json()
