"""Requests as coding agents send them to /v1/responses: functions in namespaces, and histories with items of tools that
other servers and clients run."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types import responses as types

from qwill.server.errors import Refusal
from qwill.server.openai.responses_asking import responses_ask
from qwill.server.openai.responses_items import stored_items
from qwill.server.openai.responses_schemas import ResponsesRequest
from server.asking import send
from server.responses_client import client_of, events_of, plain, told
from server.running import Running

HEADER = "x-qwill-ignored"
CITY = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}


def function(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "name": name, "description": f"The {name} of a city", "parameters": CITY, **more}


def space(name: str, *functions: str) -> dict[str, Any]:
    inner = [function(one, strict=False) for one in functions]
    return {"type": "namespace", "name": name, "description": f"All about {name}.", "tools": inner}


TOOLS: list[dict[str, Any]] = [
    function("weather", strict=False),
    {"type": "custom", "name": "apply_patch", "description": "Changes files", "format": {
        "type": "grammar", "syntax": "lark", "definition": "start: /.+/"}},
    space("agents_v1", "spawn", "wait"),
    space("mcp__maps__", "weather", "height"),
    {"type": "web_search", "external_web_access": True},
]  # fmt: skip
FIRST: dict[str, Any] = {
    "model": "demo", "stream": True, "store": False, "tool_choice": "auto", "parallel_tool_calls": True,
    "reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "a-b-c",
    "client_metadata": {"session_id": "a", "turn_id": "b"}, "tools": TOOLS, "max_output_tokens": 16, "input": [
        {"type": "message", "id": f"msg_{role}", "role": role, "content": [{"type": "input_text", "text": text}]}
        for role, text in (("developer", "Be short."), ("user", "<cwd>/a</cwd>"), ("user", "Say hi."))
    ],
}  # fmt: skip
TURN: list[dict[str, Any]] = [
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}],
     "encrypted_content": "gAAAAforeign"},
    {"type": "message", "id": "msg_4", "role": "assistant", "status": "completed", "phase": "commentary",
     "content": [{"type": "output_text", "text": "I look.", "annotations": []}]},
    {"type": "function_call", "id": "fc_1", "call_id": "c1", "namespace": "agents_v1", "name": "spawn",
     "arguments": '{"city": "Rome"}', "status": "completed"},
    {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "apply_patch", "status": "completed",
     "input": "*** Begin Patch\n+hi\n*** End Patch"},
    {"type": "function_call_output", "id": "fco_1", "call_id": "c1", "output": "done"},
    {"type": "custom_tool_call_output", "id": "ctco_1", "call_id": "c2", "output": [
        {"type": "input_text", "text": "patched"}]},
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
]  # fmt: skip


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with client_of(server) as made:
        yield made


def names(value: str) -> set[str]:
    return set(value.split(", "))


def ask_of(**body: Any) -> Any:
    request = ResponsesRequest.model_validate({"input": "x"} | body)
    return responses_ask(request, stored_items(request.input, {}))


@pytest.mark.parametrize("streamed", [False, True])
def test_a_first_and_a_second_request(server: Running, streamed: bool) -> None:
    always = {"client_metadata", "prompt_cache_key", "tools.format", "tools.web_search"}
    url = f"{server.url}/v1/responses"
    first = send("POST", url, json=FIRST | {"stream": streamed})
    assert first.status_code == 200, first.text
    assert names(first.headers[HEADER]) == always
    second = send("POST", url, json=FIRST | {"stream": streamed, "input": FIRST["input"] + TURN})
    assert second.status_code == 200, second.text
    assert names(second.headers[HEADER]) == always | {"input.phase", "input.web_search_call"}


def test_tools_are_repeated_as_they_came(server: Running) -> None:
    answer = send("POST", f"{server.url}/v1/responses", json=FIRST | {"stream": False}).json()
    assert answer["tools"] == TOOLS
    types.Response.model_validate(answer)
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "wait"}]}
    answer = send("POST", f"{server.url}/v1/responses", json=FIRST | {"stream": False, "tool_choice": choice}).json()
    assert answer["tool_choice"] == choice


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "function", "name": "spawn", "namespace": "agents_v1"}, ("spawn", "agents_v1")),
        ({"type": "function", "name": "height"}, ("height", "mcp__maps__")),
        ({"type": "function", "name": "weather", "namespace": "mcp__maps__"}, ("weather", "mcp__maps__")),
        ({"type": "function", "name": "weather"}, ("weather", None)),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "namespace", "name": "agents_v1"}]},
            (None, "agents_v1"),
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [
                {"type": "function", "name": "wait", "namespace": "agents_v1"}, {"type": "web_search"}]},
            ("wait", "agents_v1"),
        ),
    ],
)  # fmt: skip
def test_functions_of_namespaces_are_told_back(
    client: openai.OpenAI, server: Running, choice: dict[str, Any], expected: tuple[str | None, str | None]
) -> None:
    body: dict[str, Any] = {"tools": TOOLS, "tool_choice": choice, "parallel_tool_calls": False, "temperature": 0}
    body |= {"input": "Rome?", "reasoning": {"effort": "none"}}
    answer = client.responses.create(model="demo", **body)
    (call,) = answer.output
    assert call.type == "function_call"
    assert json.loads(call.arguments)["city"] in ("Paris", "Rome")
    assert (expected[0] or call.name, call.namespace) == (call.name, expected[1])
    events = events_of(server, **body)
    (streamed,) = told(events)
    assert plain([streamed]) == plain(answer.output) == plain(events[-1]["response"]["output"])
    begun = [event["item"] for event in events if event["type"] == "response.output_item.added"]
    assert [(item["name"], item.get("namespace")) for item in begun] == [(call.name, call.namespace)]
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "done"}
    free = body | {"tool_choice": "auto", "max_output_tokens": 16}
    sent = client.responses.create(
        model="demo", **free | {"input": [{"role": "user", "content": "Rome?"}, call, output]}
    )
    stored = client.responses.create(model="demo", previous_response_id=answer.id, **free | {"input": [output]})
    assert sent.usage
    assert stored.usage
    assert sent.usage.input_tokens == stored.usage.input_tokens


def test_a_history_reads_like_that_of_plain_functions(server: Running) -> None:
    """The prompt has the bytes that it has for a function of the flat name."""
    spaced = [space("agents_v1", "spawn")]
    del spaced[0]["description"]
    flat = [function("spawn", strict=False) | {"name": "agents_v1__spawn"}]
    items: list[Any] = [{"role": "user", "content": "Hi!"}, TURN[2], TURN[4]]
    flat_items = copy.deepcopy(items)
    flat_items[1] |= {"name": "agents_v1__spawn", "namespace": None}
    ask, plain_ask = ask_of(tools=spaced, input=items), ask_of(tools=flat, input=flat_items)
    assert (ask.messages, ask.tools) == (plain_ask.messages, plain_ask.tools)
    llm = server.worker.llm
    text = llm.tokenizer.decode(llm.prompt_tokens(ask.messages, tools=ask.tools), skip_special=False)
    assert "<function=agents_v1__spawn>\n<parameter=city>\nRome\n</parameter>" in text
    assert not ask_of(tools=flat, input=flat_items).told_as


def test_a_whole_namespace_may_be_chosen() -> None:
    ask = ask_of(tools=TOOLS, tool_choice={"type": "namespace", "name": "mcp__maps__"})
    assert [tool["function"]["name"] for tool in ask.tools] == ["mcp__maps__weather", "mcp__maps__height"]
    assert ask.tool_choice == "required"


def test_a_namespace_is_described_once() -> None:
    described = [tool["function"]["description"] for tool in ask_of(tools=[space("a", "f", "g")]).tools]
    assert described == ["The f of a city\n\nAbout a: All about a.", "The g of a city"]


OTHERS: list[tuple[list[dict[str, Any]], list[str]]] = [
    ([{"type": "web_search_call", "id": "w", "status": "completed"}], []),
    ([{"type": "compaction", "id": "c", "encrypted_content": "gAAAA"}], []),
    ([{"type": "compaction_summary", "encrypted_content": "x", "summary": "They spoke of cats."}], ["of cats"]),
    ([{"type": "image_generation_call", "id": "i", "result": "AAAA", "status": "completed"}], []),
    ([{"type": "file_search_call", "id": "f", "queries": ["x"], "results": None}], []),
    ([{"type": "computer_call", "id": "c", "call_id": "c", "action": {"type": "click"}}], []),
    ([{"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot"}}], []),
    ([{"type": "mcp_list_tools", "id": "m", "server_label": "x", "tools": []}], []),
    ([{"type": "mcp_approval_request", "id": "m", "name": "x", "arguments": "{}"}], []),
    ([{"type": "tool_search_call", "call_id": "t", "arguments": {"query": "x"}}], []),
    ([{"type": "tool_search_output", "call_id": "t", "tools": [function("f")]}], []),
    ([{"type": "not_yet_known", "anything": [1, {"a": None}]}], []),
    ([{"type": "mcp_call", "id": "m", "server_label": "maps", "name": "find", "arguments": '{"place": "Oslo"}',
       "output": "59.9 N"}], ["<function=maps__find>", "Oslo", "59.9 N"]),
    ([{"type": "mcp_call", "id": "m", "server_label": "maps", "name": "find", "arguments": "[1",
       "error": {"type": "x", "message": "no such place"}}], ["[1", "no such place"]),
    ([{"type": "code_interpreter_call", "id": "c", "code": "print(6*7)", "container_id": "x",
       "outputs": [{"type": "logs", "logs": "42"}]}], ["print(6*7)", "42"]),
    ([{"type": "local_shell_call", "id": "l", "call_id": "s", "status": "completed",
       "action": {"type": "exec", "command": ["ls", "-la"], "env": {}}},
      {"type": "local_shell_call_output", "id": "o", "call_id": "s", "output": "total 0"}], ["ls", "-la", "total 0"]),
    ([{"type": "local_shell_call", "id": "s", "action": {"command": ["pwd"]}},
      {"type": "local_shell_call_output", "id": "s", "output": "/home"}], ["pwd", "/home"]),
    ([{"type": "shell_call", "call_id": "s", "action": {"commands": ["make"]}},
      {"type": "shell_call_output", "call_id": "s", "output": [
          {"stdout": "built", "stderr": "a warning", "outcome": {"type": "exit", "exit_code": 2}}]}],
     ["make", "built\na warning\nexit code 2"]),
    ([{"type": "apply_patch_call", "call_id": "p", "operation": {"type": "delete_file", "path": "/a.txt"}},
      {"type": "apply_patch_call_output", "call_id": "p", "status": "failed"}], ["/a.txt", "failed"]),
    ([{"type": "shell_call_output", "call_id": "s", "output": [{"stdout": "of nobody"}]}], []),
    ([{"type": "shell_call", "call_id": "s", "action": {"commands": ["a"]}},
      {"type": "shell_call", "call_id": "s", "action": {"commands": ["b"]}},
      {"type": "shell_call_output", "call_id": "s", "output": "once"},
      {"type": "shell_call_output", "call_id": "s", "output": "twice"}], ["once"]),
]  # fmt: skip


@pytest.mark.parametrize(("items", "shown"), OTHERS)
def test_other_items_are_shown_or_left_out_and_named(
    server: Running, items: list[dict[str, Any]], shown: list[str]
) -> None:
    hi, again = ({"role": "user", "content": text} for text in ("Hi!", "And now?"))
    body = {"input": [hi, *items, again], "max_output_tokens": 16}
    answer = send("POST", f"{server.url}/v1/responses", json=body)
    assert answer.status_code == 200, answer.text
    assert names(answer.headers[HEADER]) == {f"input.{item['type']}" for item in items}
    counted = send("POST", f"{server.url}/v1/responses/input_tokens", json=body)
    assert counted.headers[HEADER] == answer.headers[HEADER]
    llm = server.worker.llm
    ask = ask_of(input=body["input"])
    text = llm.tokenizer.decode(llm.prompt_tokens(ask.messages), skip_special=False)
    for one in shown:
        assert one in text
    assert "nobody" not in text
    assert "twice" not in text
    if not shown:
        assert ask.messages == ask_of(input=[hi, again]).messages


def test_other_items_are_stored_as_they_came(server: Running) -> None:
    item = {"type": "mcp_call", "id": "m_1", "server_label": "maps", "name": "find", "arguments": "{}", "output": "x"}
    nameless = {"type": "not_yet_known", "more": [1]}
    hi = {"role": "user", "content": "Hi!"}
    short = {"max_output_tokens": 16}
    first = send("POST", f"{server.url}/v1/responses", json={"input": [hi, item, nameless], **short}).json()
    listed = send("GET", f"{server.url}/v1/responses/{first['id']}/input_items?order=asc").json()["data"]
    assert listed[1] == item
    assert {key: value for key, value in listed[2].items() if key != "id"} == nameless
    assert listed[2]["id"]
    again = {"input": [hi, {"type": "item_reference", "id": "m_1"}], **short}
    answer = send("POST", f"{server.url}/v1/responses", json=again)
    assert answer.status_code == 200, answer.text
    went_on = {"input": "More?", "previous_response_id": first["id"], **short}
    assert send("POST", f"{server.url}/v1/responses", json=went_on).status_code == 200


@pytest.mark.parametrize("instructions", [None, "Be short."])
def test_nothing_to_show_is_refused(instructions: str | None) -> None:
    for items, _ in OTHERS[:2]:
        with pytest.raises(Refusal, match="input: none of its items can be shown to the model"):
            ask_of(input=items, instructions=instructions)


def test_instructions_alone_can_be_shown(server: Running) -> None:
    for given in ("system", "developer"):
        body = {"input": [OTHERS[0][0][0], {"role": given, "content": "Say hi."}], "max_output_tokens": 16}
        assert send("POST", f"{server.url}/v1/responses", json=body).status_code == 200


@pytest.mark.parametrize("item", [5, "x", {}, {"type": ""}, {"type": 5}, {"type": None}, {"type": ["x"]}, [], None])
def test_what_is_no_item_is_refused(server: Running, item: Any) -> None:
    answer = send("POST", f"{server.url}/v1/responses", json={"input": [{"role": "user", "content": "x"}, item]})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("input.1")


def test_reasoning_of_other_servers_is_left_out_and_named(server: Running) -> None:
    hi = {"role": "user", "content": "Hi!"}
    lost = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}
    body = {"input": [hi, lost, {"role": "assistant", "content": "Ho!"}, hi], "max_output_tokens": 16}
    answer = send("POST", f"{server.url}/v1/responses", json=body)
    assert (answer.status_code, answer.headers[HEADER]) == (200, "input.reasoning")
