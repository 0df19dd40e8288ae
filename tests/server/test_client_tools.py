"""Anthropic's tools that the client runs: known by their types alone, offered like any function."""

from typing import Any

import anthropic
import pytest
from anthropic.types import beta

from qwill.server.anthropic.asking import messages_ask
from qwill.server.anthropic.schemas import MessagesRequest
from server.anthropic_parts import WEATHER, assistant, user
from server.asking import send
from server.running import Running

BASH = {"type": "bash_20250124", "name": "bash"}
EDITOR = {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 1000}
MEMORY = {"type": "memory_20250818", "name": "memory"}
COMPUTER = {"type": "computer_20251124", "name": "computer", "display_width_px": 800, "display_height_px": 600}
ALL = (BASH, EDITOR, MEMORY, COMPUTER)


def offered(*tools: Any) -> list[dict[str, Any]]:
    body = {"model": "demo", "max_tokens": 1, "messages": [user("Hi!")], "tools": list(tools)}
    ask = messages_ask(MessagesRequest.model_validate(body))
    return [tool["function"] for tool in ask.tools or []]


def choices(function: dict[str, Any], name: str) -> set[str]:
    return set(function["parameters"]["properties"][name]["enum"])


def test_all_are_offered_by_their_names() -> None:
    functions = offered(*ALL, WEATHER)
    assert [one["name"] for one in functions] == [*(str(tool["name"]) for tool in ALL), "get_weather"]
    for one in functions:
        assert one["description"]
        properties = one["parameters"]["properties"]
        assert set(one["parameters"].get("required", [])) <= properties.keys()
        assert all(value.get("description") for value in properties.values()) or one["name"] == "get_weather"


def test_memory_takes_what_the_client_knows() -> None:
    """Every command of the client's own models, with every field."""
    commands = (
        beta.BetaMemoryTool20250818ViewCommand, beta.BetaMemoryTool20250818CreateCommand,
        beta.BetaMemoryTool20250818StrReplaceCommand, beta.BetaMemoryTool20250818InsertCommand,
        beta.BetaMemoryTool20250818DeleteCommand, beta.BetaMemoryTool20250818RenameCommand,
    )  # fmt: skip
    (function,) = offered(MEMORY)
    assert function["parameters"]["properties"].keys() == {name for one in commands for name in one.model_fields}
    words = {one.model_fields["command"].annotation.__args__[0] for one in commands}  # type: ignore[union-attr]
    assert choices(function, "command") == words


def test_versions_differ() -> None:
    """Older editors undo, and take what they insert as new_str; older computers do not scroll; some zoom."""
    old, new = offered(EDITOR | {"type": "text_editor_20250124"}, EDITOR)
    assert choices(old, "command") - choices(new, "command") == {"undo_edit"}
    assert "insert_text" in new["parameters"]["properties"]
    assert "insert_text" not in old["parameters"]["properties"]
    assert "insert" in old["parameters"]["properties"]["new_str"]["description"]
    first, plain, zooming = offered(
        COMPUTER | {"type": "computer_20241022"}, COMPUTER, COMPUTER | {"enable_zoom": True}
    )
    assert choices(plain, "action") - choices(first, "action") >= {"scroll", "wait", "hold_key"}
    assert choices(zooming, "action") - choices(plain, "action") == {"zoom"}
    assert "800 pixels wide and 600 high" in plain["description"]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("tool", ALL)
def test_they_are_called_like_functions(server: Running, tool: Any, streamed: bool) -> None:
    body: Any = {
        "model": "demo", "max_tokens": 200, "tools": [tool], "extra_body": {"temperature": 0},
        "messages": [user("Look into the file /a.txt.")],
        "tool_choice": {"type": "tool", "name": tool["name"], "disable_parallel_tool_use": True},
    }  # fmt: skip
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        if streamed:
            with client.messages.stream(**body) as stream:
                answer = stream.get_final_message()
        else:
            answer = client.messages.create(**body)
        (use,) = answer.content
        assert use.type == "tool_use"
        assert use.name == tool["name"]
        (function,) = offered(tool)
        assert use.input.keys() <= function["parameters"]["properties"].keys()
        if answer.stop_reason == "tool_use":
            assert set(function["parameters"].get("required", [])) <= use.input.keys()
        back = {"type": "tool_result", "tool_use_id": use.id, "content": "nothing there"}
        messages = [*body["messages"], assistant([use.model_dump(exclude_none=True)]), user([back])]
        more = {"messages": messages, "tool_choice": {"type": "none"}, "max_tokens": 3}
        again = client.messages.create(**body | more)
        read = again.usage.input_tokens + (again.usage.cache_read_input_tokens or 0)
        assert read > answer.usage.input_tokens


def test_what_means_nothing_is_named(server: Running) -> None:
    tools = [EDITOR, {**COMPUTER, "display_number": 1, "defer_loading": True}]
    body = {"model": "demo", "messages": [user("Hi!")], "tools": tools}
    answer = send("POST", f"{server.url}/v1/messages/count_tokens", json=body)
    assert answer.status_code == 200, answer.text
    assert set(answer.headers["x-qwill-ignored"].split(", ")) == {"max_characters", "display_number", "defer_loading"}


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ({"type": "bash_20250124"}, "tools.0.name"),
        ({"type": "computer_20250124", "name": "computer", "display_width_px": "wide"}, "tools.0.display_width_px"),
        ({"type": "custom", "name": "f"}, "tools.0.input_schema"),
        ({"type": 5, "name": "f"}, "tools.0: the type of a tool is a text"),
        ("bash", "tools.0"),
    ],
)
def test_mistakes_are_named(server: Running, tool: Any, message: str) -> None:
    body = {"model": "demo", "max_tokens": 1, "messages": [user("Hi!")], "tools": [tool]}
    answer = send("POST", f"{server.url}/v1/messages", json=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
