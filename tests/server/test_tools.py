"""What a model is offered of the tools that a request brings: names, choices, and what is left out."""

import random
import string
from typing import Any

import pytest

from qwill.server.errors import Refusal
from qwill.server.tools import CUSTOM, FUNCTION, NAMESPACE, Choice, Given, Known, Offered, offer
from qwill.text.parsers.qwen import Status, ToolCallScanner
from server.asking import send
from server.running import Running

HEADER = "x-qwill-ignored"
PARAMETERS = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
AUTO = Choice()


def function(name: str, namespace: str | None = None) -> Given:
    return Given(Known(FUNCTION, name, namespace), {"parameters": {}})


def hosted(kind: str, name: str | None = None) -> Given:
    return Given(Known(kind, name))


def offered_names(offered: Offered) -> list[str]:
    return [tool["function"]["name"] for tool in offered.functions]


@pytest.mark.parametrize("order", [1, -1])
def test_no_two_tools_have_one_name(order: int) -> None:
    tools = [
        function("a__f"), function("f", "a"), function("f", "b"), function("f"), Given(Known(CUSTOM, "f"), {}),
        function("f", "a__"), function("x<y>\nz", "b"), function("x y z", "b"), function("a__f_2"),
    ][::order]  # fmt: skip
    offered = offer(tools, AUTO)
    names = offered_names(offered)
    assert len(set(names)) == len(tools)
    told = {name: offered.told_as.get(name, Known(FUNCTION, name)) for name in names}
    assert list(told.values()) == [tool.tool for tool in tools]
    assert {"a__f", "f", "b__f", "a__f_2"} <= set(names)
    assert [offered.name_of(tool.tool) for tool in tools] == names


def test_names_can_be_said() -> None:
    """Whatever a client calls its namespaces, the parser of calls reads the name that the model is given."""
    for _ in range(200):
        name, space = ("".join(random.choices(string.printable + "<>é", k=random.randint(1, 9))) for _ in range(2))
        (said,) = offered_names(offer([function(name, space)], AUTO))
        scanner = ToolCallScanner()
        assert scanner.feed(f"\n<function={said}>\n</function>\n</tool_call>") is Status.COMPLETE
        assert scanner.name == said


def test_many_tools_of_one_name_are_named_quickly() -> None:
    tools = [function("<" * (1 + count % 2) + "a", chr(0x4E00 + count)) for count in range(5000)]
    tools += [Given(Known(CUSTOM, "a" + character * count), {}) for character in "<>" for count in range(1, 3000)]
    assert len(set(offered_names(offer(tools, AUTO)))) == len(tools)


def test_a_tool_that_is_offered_no_longer_has_its_name() -> None:
    assert Offered().name_of(Known(FUNCTION, "spawn", "agents")) == "agents__spawn"
    assert Offered().name_of(Known(CUSTOM, "apply_patch")) == "apply_patch"
    assert Offered().name_of(Known(FUNCTION, "odd name")) == "odd name"


TOOLS = [function("f"), function("g", "a"), function("h", "a"), function("h", "b"), hosted("web_search", "web_search")]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([Known(FUNCTION, "f")], ["f"]),
        ([Known(FUNCTION, "g", "a")], ["a__g"]),
        ([Known(FUNCTION, "g")], ["a__g"]),
        ([Known(FUNCTION, "b__h")], ["b__h"]),
        ([Known(NAMESPACE, "a")], ["a__g", "a__h"]),
        ([Known(FUNCTION, "f"), Known("web_search", None), Known("mcp", None)], ["f"]),
        ([Known(NAMESPACE, "b"), Known(FUNCTION, "web_search")], ["b__h"]),
    ],
)
def test_what_a_choice_names(wanted: list[Known], expected: list[str]) -> None:
    offered = offer(TOOLS, Choice("auto", wanted, narrows=True))
    assert offered_names(offered) == expected
    assert offered.choice == "auto"
    kinds = ["tools.web_search"] + (["tool_choice.mcp"] if len(wanted) == 3 else [])
    assert offered.left_out == kinds
    if len(wanted) == len(expected) == 1:
        forced = offer(TOOLS, Choice("required", wanted))
        assert offered_names(forced) == ["f", "a__g", "a__h", "b__h"]
        assert forced.choice == {"type": "function", "function": {"name": expected[0]}}


@pytest.mark.parametrize(
    ("tools", "choice", "message", "param"),
    [
        (TOOLS, Choice("required", [Known(FUNCTION, "h")], place="x"), "names 'h'; the tools are f, a__g", "x"),
        (TOOLS, Choice("auto", [Known(FUNCTION, "f", "a")]), "names 'f' of namespace 'a'; the tools", "tool_choice"),
        (TOOLS, Choice("required", [Known("file_search", None)]), "a tool of type 'file_search'", "tool_choice"),
        (TOOLS, Choice("auto", [Known(FUNCTION, "web_search")]), "a tool of type 'web_search'", "tool_choice"),
        (TOOLS[-1:], AUTO, "tools: none is left, since this server does not run web_search; give", "tools"),
        (TOOLS[-1:], Choice("required"), "tools: none is left", "tools"),
        ([], Choice("required", stated="tool_choice required"), "tool_choice required needs tools", "tool_choice"),
    ],
)  # fmt: skip
def test_what_is_refused(tools: list[Given], choice: Choice, message: str, param: str) -> None:
    with pytest.raises(Refusal) as caught:
        offer(tools, choice)
    assert message in caught.value.message
    assert (caught.value.status, caught.value.param) == (400, param)


def test_without_calls_nothing_need_be_left() -> None:
    offered = offer([hosted("web_search")], Choice("none"))
    assert (offered.functions, offered.left_out) == ([], ["tools.web_search"])


MESSAGES = [{"role": "user", "content": "What is 2 + 2?"}]
PLAIN = {"name": "f", "parameters": PARAMETERS}
HOSTED = {
    "openai": (
        "web_search", "web_search_preview_2025_03_11", "image_generation", "file_search", "mcp", "code_interpreter",
        "tool_search", "computer_use_preview", "local_shell", "shell", "apply_patch", "not_yet_known",
    ),
    "anthropic": (
        "web_search_20250305", "web_fetch_20260309", "code_execution_20260120", "mcp_toolset", "advisor_20260301",
        "tool_search_tool_regex_20251119", "computer_toolset_20260801", "not_yet_known",
    ),
}  # fmt: skip
# Of each dialect: its body with these tools, the kinds of other tools, its function.
DIALECTS: dict[str, tuple[dict[str, Any], tuple[str, ...], dict[str, Any]]] = {
    "/v1/chat/completions": (
        {"messages": MESSAGES, "max_tokens": 1}, HOSTED["openai"], {"type": "function", "function": PLAIN},
    ),
    "/v1/responses": ({"input": "2+2?", "max_output_tokens": 1}, HOSTED["openai"], {"type": "function", **PLAIN}),
    "/v1/messages": (
        {"model": "demo", "messages": MESSAGES, "max_tokens": 1}, HOSTED["anthropic"],
        {"name": "f", "input_schema": PARAMETERS},
    ),
    "/api/chat": (
        {"messages": MESSAGES, "options": {"num_predict": 1}}, HOSTED["openai"], {"function": PLAIN},
    ),
}  # fmt: skip


def names(value: str) -> set[str]:
    return set(value.split(", "))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("path", DIALECTS)
def test_tools_of_other_servers_are_left_out_and_named(server: Running, path: str, streamed: bool) -> None:
    body, kinds, plain = DIALECTS[path]
    tools = [*({"type": kind, "name": kind, "max_uses": 5} for kind in kinds), plain]
    answer = send("POST", server.url + path, json=body | {"tools": tools, "stream": streamed})
    assert answer.status_code == 200, answer.text
    assert {f"tools.{kind}" for kind in kinds} <= names(answer.headers[HEADER])
    alone = send("POST", server.url + path, json=body | {"tools": [plain], "stream": streamed})
    assert not any(name.startswith("tools") for name in names(alone.headers.get(HEADER, "")))


@pytest.mark.parametrize("path", DIALECTS)
def test_without_any_other_tool_they_are_refused(server: Running, path: str) -> None:
    body, kinds, _ = DIALECTS[path]
    answer = send("POST", server.url + path, json=body | {"tools": [{"type": kinds[0], "name": kinds[0]}]})
    assert answer.status_code == 400
    assert f"tools: none is left, since this server does not run {kinds[0]}; give functions" in answer.text


@pytest.mark.parametrize(
    ("path", "choice", "message", "param"),
    [
        ("/v1/chat/completions", "auot", "'none', 'auto' or 'required'", "tool_choice"),
        ("/v1/chat/completions", {"type": "function"}, "Field required", "tool_choice.function"),
        ("/v1/chat/completions", {"type": "function", "function": {}}, "Field required", "tool_choice.function.name"),
        ("/v1/chat/completions", {"type": "function", "function": {"name": "g"}}, "the tools are f",
         "tool_choice.function.name"),
        ("/v1/chat/completions", {"type": "custom", "custom": {"name": "g"}}, "the tools are f",
         "tool_choice.custom.name"),
        ("/v1/chat/completions", {"function": {"name": "f"}}, "give none, auto, required", "tool_choice"),
        ("/v1/chat/completions", {"type": "web_search"}, "'web_search', which this server does not run", "tool_choice"),
        ("/v1/chat/completions", {"type": "allowed_tools", "allowed_tools": {"mode": "any", "tools": []}},
         "'auto' or 'required'", "tool_choice.allowed_tools.mode"),
        ("/v1/responses", "auot", "'none', 'auto' or 'required'", "tool_choice"),
        ("/v1/responses", {"type": "function"}, "Field required", "tool_choice.name"),
        ("/v1/responses", {"type": "function", "name": "g"}, "the tools are f", "tool_choice.name"),
        ("/v1/responses", {"type": "mcp", "server_label": "x"}, "'mcp', which this server does not run", "tool_choice"),
        ("/v1/responses", {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function"}]}, "Field required",
         "tool_choice.tools.0.name"),
        ("/v1/responses", {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]},
         "the tools are f", "tool_choice.tools"),
        ("/v1/messages", {"type": "tool"}, "tool_choice of type tool needs a name", None),
        ("/v1/messages", {"type": "tool", "name": "web_search"}, "'web_search_20250305', which this server", None),
        ("/v1/messages", {"type": "tool", "name": "g"}, "the tools are f", None),
    ],
)  # fmt: skip
def test_a_wrong_choice_is_told_by_its_part(
    server: Running, path: str, choice: Any, message: str, param: str | None
) -> None:
    body, kinds, plain = DIALECTS[path]
    tools = [plain, {"type": kinds[0], "name": "web_search"}]
    answer = send("POST", server.url + path, json=body | {"tools": tools, "tool_choice": choice})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert message in error["message"]
    assert "\n" not in error["message"]
    assert error.get("param") == param


def test_allowed_tools_in_chat(server: Running) -> None:
    """Those that are not allowed are not shown; one of the others must be called where the mode says so."""
    tools = [{"type": "function", "function": {"name": name, "parameters": PARAMETERS}} for name in ("f", "g", "h")]
    body = {"messages": MESSAGES, "tools": tools, "temperature": 0, "max_tokens": 100, "enable_thinking": False}

    def asked(choice: Any, offered: Any = tools) -> dict[str, Any]:
        more = {"tool_choice": choice, "tools": offered}
        answer = send("POST", f"{server.url}/v1/chat/completions", json=body | more).json()
        assert "usage" in answer, answer
        found: dict[str, Any] = answer
        return found

    def allowed(mode: str, *which: str) -> dict[str, Any]:
        named = [{"type": "function", "function": {"name": name}} for name in which]
        return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}

    forced = asked(allowed("required", "g"))
    assert {call["function"]["name"] for call in forced["choices"][0]["message"]["tool_calls"]} == {"g"}
    free = asked(allowed("auto", "g", "h"))
    assert free["usage"]["prompt_tokens"] == asked("auto", tools[1:])["usage"]["prompt_tokens"]
    assert free["choices"][0]["message"]["content"] == asked("auto", tools[1:])["choices"][0]["message"]["content"]


def test_the_shortest_request_with_a_tool_of_another_server(server: Running) -> None:
    body = {"input": "2+2?", "tools": [{"type": "web_search"}, {"type": "function", "name": "f", "parameters": {}}]}
    answer = send("POST", f"{server.url}/v1/responses", json=body)
    assert (answer.status_code, answer.headers[HEADER]) == (200, "tools.web_search")
    assert answer.json()["tools"][0] == {"type": "web_search"}
