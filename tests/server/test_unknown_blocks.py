"""Blocks of the Anthropic dialect that mean nothing here: none ends a conversation, and each is named by the header."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qwill.server.anthropic.blocks import KNOWN
from qwill.server.anthropic.schemas import Conversation
from qwill.server.anthropic.turns import plain_messages
from server.anthropic_parts import PICTURE, SUM, assistant, result, use, user
from server.asking import send, streamed
from server.running import Running

HEADER = "x-qwill-ignored"
PAGE = {"type": "document", "title": "Tale", "source": {"type": "text", "media_type": "text/plain", "data": "Once."}}
FOUND = {"type": "web_search_result", "title": "Hit", "url": "https://example.com", "encrypted_content": "AAAA"}
OUTPUT = {"type": "code_execution_result", "stdout": "3\n", "stderr": "", "return_code": 0, "content": []}
# In answers of Anthropic's own servers, each with what the model reads of it.
ANSWERED: list[tuple[dict[str, Any], str]] = [
    ({"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}, ""),
    ({"type": "web_search_tool_result", "tool_use_id": "s1", "content": [FOUND]}, "Hit\nhttps://example.com"),
    ({"type": "web_fetch_tool_result", "tool_use_id": "s1", "content": {"type": "web_fetch_result", "content": PAGE}},
     "Tale\nOnce."),
    ({"type": "code_execution_tool_result", "tool_use_id": "s1", "content": OUTPUT}, "3"),
    ({"type": "web_search_tool_result", "tool_use_id": "s1", "content": {
        "type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}}, ""),
    ({"type": "mcp_tool_use", "id": "m1", "name": "f", "server_name": "x", "input": {}}, ""),
    ({"type": "mcp_tool_result", "tool_use_id": "m1", "is_error": False, "content": [{"type": "text", "text": "Rain"}]},
     "Rain"),
    ({"type": "compaction", "content": "They spoke of rain.", "encrypted_content": None}, "They spoke of rain."),
    ({"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}, "trigger": {"type": "refusal"}}, ""),
    ({"type": "mcp_tool_listing", "mcp_server_name": "x", "tools": []}, ""),
    ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}, ""),
]  # fmt: skip
# In what users and their clients say.
ASKED: list[tuple[dict[str, Any], str]] = [
    ({"type": "tool_addition", "tool": {"type": "tool_reference", "name": "f"}}, ""),
    ({"type": "tool_removal", "tool": {"type": "tool_reference", "name": "f"}}, ""),
    ({"type": "browser_state", "url": "https://example.com", "title": "A page"}, "A page\nhttps://example.com"),
    ({"type": "of_tomorrow", "text": "Hello.", "depth": [{"a": None}]}, "Hello."),
    ({"type": "", "cache_control": {"type": "ephemeral"}}, ""),
]
FILE = {"type": "container_upload", "file_id": "file_1"}
NOTE = "[Document file_1 cannot be read here; its text, or images of its pages, can be.]"


def post(server: Running, path: str = "", **body: Any) -> httpx.Response:
    body = {"model": "demo", **({} if path else {"max_tokens": 2}), **body}
    return send("POST", f"{server.url}/v1/messages{path}", json=body)


def plain(messages: list[Any], **more: Any) -> list[dict[str, Any]]:
    return plain_messages(Conversation.model_validate({"model": "demo", "messages": messages, **more}))


def shown(block: dict[str, Any], words: str) -> str:
    return f"[{block['type']}]\n{words}" if words else ""


@pytest.mark.parametrize(("block", "words"), ANSWERED)
def test_in_answers(server: Running, block: dict[str, Any], words: str) -> None:
    """A note stands on lines of its own between what the answer said; the conversation goes on for two more turns."""
    before, after = {"type": "text", "text": "Let me see."}, {"type": "text", "text": "It rains."}
    messages: list[Any] = [user("?"), assistant([before, block, after]), user(SUM)]
    note = shown(block, words)
    said = plain(messages)[1]["content"]
    assert said == (f"Let me see.\n{note}\nIt rains." if note else "Let me see.It rains.")
    name = f"messages.content.{block['type']}"
    for _ in range(2):
        counted = post(server, "/count_tokens", messages=messages)
        assert (counted.status_code, counted.headers[HEADER]) == (200, name)
        as_text = [{**turn, "content": said} if turn["content"][1:2] == [block] else turn for turn in messages]
        assert counted.json() == post(server, "/count_tokens", messages=as_text).json()
        answer = post(server, messages=messages)
        assert (answer.status_code, answer.headers[HEADER]) == (200, name), answer.text
        messages += [assistant(answer.json()["content"]), user("And?")]


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize(("block", "words"), [*ASKED, *ANSWERED[:4]])
def test_in_questions_results_and_instructions(
    server: Running, block: dict[str, Any], words: str, is_streamed: bool
) -> None:
    note, name = shown(block, words), f"content.{block['type']}"
    text = {"type": "text", "text": "Be short."}
    messages = [
        user([block, {"type": "text", "text": "What now?"}]), assistant([use("a")]), user([result("a", [text, block])]),
        {"role": "system", "content": [block]},
    ]  # fmt: skip
    found = plain(messages, system=[text, block])
    expected = [
        "\n\n".join(filter(None, ("Be short.", note, note))), f"{note}\nWhat now?".lstrip("\n"), "",
        f"Be short.\n{note}".rstrip("\n"),
    ]  # fmt: skip
    assert [message["content"] for message in found] == expected
    body = {"model": "demo", "max_tokens": 2, "system": [text, block], "messages": messages, "stream": is_streamed}
    names = {f"messages.{name}", f"messages.content.{name}", f"system.{block['type']}"}
    if not is_streamed:
        answer = send("POST", f"{server.url}/v1/messages", json=body)
        assert answer.status_code == 200, answer.text
        assert names <= set(answer.headers[HEADER].split(", "))
        return
    with streamed(f"{server.url}/v1/messages", json=body) as answer:
        assert names <= set(answer.headers[HEADER].split(", "))
        assert "message_stop" in "".join(answer.iter_text())


def test_a_file_gets_a_note() -> None:
    assert plain([user([FILE, {"type": "text", "text": "?"}])])[0]["content"] == f"{NOTE}\n?"


def test_turns_of_nothing_else(server: Running) -> None:
    """An empty turn stays where one has to be, and adds none after what calls gave."""
    odd = ASKED[0][0]
    assert [one["role"] for one in plain([user("?"), assistant([use("a")]), user([result("a", "x"), odd])])] == [
        "user",
        "assistant",
        "tool",
    ]
    both = [user([odd]), user([odd])], [user("?"), assistant([odd]), user([odd])], [user("?"), assistant([odd])]
    for messages in both:
        answer = post(server, messages=messages)
        assert answer.status_code == 200, answer.text
        assert answer.json()["content"]
        assert all(one["content"] in ("", "?") for one in plain(messages))


def test_a_call_between_unknown_blocks() -> None:
    """Results find their calls, whatever stands around them."""
    odd, blocks = ANSWERED[0][0], [use("a"), ANSWERED[3][0], use("b", "Rome")]
    found = plain([user("?"), assistant([odd, *blocks]), user([odd, result("b", "rain"), odd, result("a", "sun")])])
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in found[1]["tool_calls"]] == ["a", "b"]
    assert found[1]["content"] == "[code_execution_tool_result]\n3"
    assert [message["content"] for message in found[2:]] == ["sun", "rain"]


def test_thinking_of_other_servers(server: Running) -> None:
    """Marks of the cache, empty reasoning and signatures of others stand in histories."""
    thoughts = [
        {"type": "thinking", "thinking": "Hm.", "signature": "EqQB", "cache_control": {"type": "ephemeral"}},
        {"type": "thinking", "thinking": "", "signature": "EqQB"}, {"type": "thinking", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "AAAA", "cache_control": {"type": "ephemeral"}},
    ]  # fmt: skip
    messages = [user("?"), assistant([*thoughts, {"type": "text", "text": "Yes."}]), user(SUM)]
    assert plain(messages)[1] == {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}
    answer = post(server, messages=messages)
    assert (answer.status_code, answer.headers[HEADER]) == (200, "cache_control, redacted_thinking, thinking")


SOURCES = [
    {"type": "file", "file_id": "file_1"},
    {"type": "url", "url": "https://example.com/a.pdf"},
    {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
    {"type": "of_tomorrow", "depth": {"a": 1}},
]


@pytest.mark.parametrize("source", SOURCES)
def test_documents_that_cannot_be_read(server: Running, source: dict[str, Any]) -> None:
    """A session goes on with them, in questions and in results, where programs put the files that they read."""
    document = {"type": "document", "source": source, "title": None, "context": "From the desk."}
    titled = {"type": "document", "source": source, "title": "Report"}
    messages = [user([document, titled, {"type": "text", "text": "?"}]), assistant([use("a")]),
                user([result("a", [document])])]  # fmt: skip
    first, _, last = plain(messages)
    kind = " (application/pdf)" if "media_type" in source else ""
    name = source.get("file_id") or source.get("url") or ("" if kind else source["type"])
    about, named = " ".join(filter(None, ("Document", name))) + kind, f"Document Report{kind}"
    end = "cannot be read here; its text, or images of its pages, can be.]"
    assert first["content"] == f"[{about} {end}\nFrom the desk.\n[{named} {end}\n?"
    assert last["content"] == f"[{about} {end}\nFrom the desk."
    names = "messages.content.content.document, messages.content.document"
    for _ in range(3):
        answer = post(server, messages=messages)
        assert (answer.status_code, answer.headers[HEADER]) == (200, names), answer.text
        messages = [*messages, assistant("Well."), user("And?")]


@pytest.mark.parametrize(
    "source",
    [
        {"type": "file", "file_id": "file_1"},
        {"type": "base64", "media_type": "image/svg+xml", "data": "PHN2Zy8+"},
        {"type": "base64", "media_type": "image/heic", "data": "AAAA"},
        {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
        {"type": "of_tomorrow"},
    ],
)
def test_images_that_cannot_be_seen(server: Running, source: dict[str, Any]) -> None:
    messages = [user([{"type": "image", "source": source}, {"type": "text", "text": "?"}]), assistant("Hm."), user("?")]
    said = plain(messages)[0]["content"]
    assert said.endswith("]\n?")
    assert "cannot be seen here" in said or "[Document (application/pdf) cannot be read here" in said
    answer = post(server, messages=messages)
    assert (answer.status_code, answer.headers[HEADER]) == (200, "messages.content.image"), answer.text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["text", "content", "source", "title", "url", "data", "type", "held"]) | st.text(max_size=8),
        inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
BLOCK = st.builds(
    lambda kind, held: {**held, "type": kind},
    st.text(max_size=12).filter(lambda kind: kind not in KNOWN)
    | st.sampled_from(["server_tool_use", "mcp_tool_result", "tool_addition", "document_2", "text "]),
    st.dictionaries(st.sampled_from(["text", "content", "held", "file_id", "input"]) | st.text(max_size=8), JSON),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(blocks=st.lists(BLOCK, min_size=5, max_size=5))
def test_whatever_comes_is_answered(server: Running, blocks: list[dict[str, Any]]) -> None:
    """No type and nothing inside ends a conversation, wherever a block stands."""
    in_system, in_question, in_answer, in_result, in_document = blocks
    source = {"type": "content", "content": [in_document]}
    messages = [
        user([in_question, {"type": "document", "source": source}]), assistant([in_answer, use("a")]),
        user([result("a", [in_result]), in_question]),
    ]  # fmt: skip
    answer = post(server, system=[in_system], messages=messages)
    assert answer.status_code == 200, answer.text
    assert answer.headers[HEADER]
    counted = post(server, "/count_tokens", system=[in_system], messages=messages)
    usage = answer.json()["usage"]
    assert counted.json()["input_tokens"] == usage["input_tokens"] + usage["cache_read_input_tokens"]


def test_halves_of_surrogate_pairs(server: Running) -> None:
    body = {"model": "demo", "max_tokens": 1, "messages": [user([{"type": "\ud800", "text": "\udfff", "x": "\ud800"}])]}
    headers = {"content-type": "application/json"}
    answer = send("POST", f"{server.url}/v1/messages", content=json.dumps(body), headers=headers)
    assert answer.status_code == 200, answer.text
