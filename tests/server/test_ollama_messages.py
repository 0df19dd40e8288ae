"""Messages in the Ollama dialect as clients of OpenAI's API write them: parts, `data:` addresses, reasoning, names."""

from typing import Any

import httpx
import pytest

from qwill.server.ollama.asking import chat_ask
from qwill.server.ollama.schemas import OllamaChatRequest
from server.anthropic_parts import PICTURE
from server.asking import send
from server.running import Running

HEADER = "x-qwill-ignored"
ADDRESS = f"data:image/png;base64,{PICTURE}"
QUESTION = "What is in the picture?"
CALL = {"function": {"name": "f", "arguments": {}}}


def plain(*messages: dict[str, Any]) -> list[Any]:
    return list(chat_ask(OllamaChatRequest.model_validate({"messages": messages})).messages or [])


def post(server: Running, path: str = "chat", **body: Any) -> httpx.Response:
    body = {"stream": False, "think": False, "options": {"temperature": 0, "num_predict": 20}, **body}
    return send("POST", f"{server.url}/api/{path}", json=body)


@pytest.mark.parametrize(
    "content",
    [
        {"content": QUESTION, "images": [PICTURE]},
        {"content": QUESTION, "images": [ADDRESS]},
        {"content": QUESTION, "images": [ADDRESS.replace("data:", "DATA:")]},
        {"content": [{"type": "text", "text": QUESTION}], "images": [PICTURE]},
        {"content": [{"type": "image_url", "image_url": {"url": ADDRESS}}, {"type": "text", "text": QUESTION}]},
    ],
)
def test_pictures(server: Running, content: dict[str, Any]) -> None:
    answer = post(server, messages=[{"role": "user", **content}])
    assert answer.json()["message"]["content"] == "A red circle."
    assert HEADER not in answer.headers


def test_a_picture_to_generate_from(server: Running) -> None:
    for image in (PICTURE, ADDRESS):
        assert post(server, "generate", prompt=QUESTION, images=[image]).json()["response"] == "A red circle."


@pytest.mark.parametrize("streamed", [False, True])
def test_documents_among_images(server: Running, streamed: bool) -> None:
    """What is no picture gets a note, and is named."""
    images = ["data:application/pdf;base64,JVBERi0=", ADDRESS, "data:text/plain,Some%20words."]
    (message,) = plain({"role": "user", "content": "?", "images": images})
    note, picture, words, question = message["content"]
    assert note["text"].startswith("[Document (application/pdf) cannot be read here")
    assert (picture["type"], words["text"], question["text"]) == ("image_url", "Some words.\n", "?")
    told = post(server, messages=[{"role": "user", "content": "?", "images": images}], stream=streamed)
    assert (told.status_code, told.headers[HEADER]) == (200, "messages.images")
    told = post(server, "generate", prompt="?", images=images, stream=streamed)
    assert (told.status_code, told.headers[HEADER]) == (200, "images")


def test_reasoning_by_other_names(server: Running) -> None:
    for name in ("thinking", "reasoning_content", "reasoning"):
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "42", name: "Hm."}]
        assert plain(*turns)[1]["reasoning_content"] == "Hm."
        answer = post(server, messages=[*turns, {"role": "user", "content": "And?"}])
        assert (answer.status_code, answer.headers.get(HEADER)) == (200, None)
    both = plain({"role": "user", "content": "?"}, {"role": "assistant", "thinking": "A", "reasoning_content": "B"})
    assert both[1]["reasoning_content"] == "A"


def test_names(server: Running) -> None:
    """Those of tools say whose result it is; others mean nothing."""
    called = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    for result in ({"name": "f"}, {"tool_name": "f"}, {"tool_name": "f", "name": "f"}):
        turns: list[dict[str, Any]] = [
            {"role": "user", "content": "?"},
            called,
            {"role": "tool", "content": "x", **result},
        ]
        assert plain(*turns)[2]["name"] == "f"
        answer = post(server, messages=turns)
        assert (answer.status_code, answer.headers.get(HEADER)) == (200, None)
    named = [{"role": "user", "content": "?", "name": "Anna"}, called, {"role": "tool", "tool_name": "f", "name": "g"}]
    assert "name" not in plain(*named)[0]
    answer = post(server, messages=named)
    assert (answer.status_code, answer.headers[HEADER]) == (200, "messages.name")


def test_developers_are_heard_as_the_system_is(server: Running) -> None:
    said = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    counts = [
        post(server, messages=[{**said[0], "role": role}, said[1]]).json()["prompt_eval_count"]
        for role in ("developer", "system")
    ]
    assert counts[0] == counts[1]


def test_what_calls_and_tools_may_leave_out(server: Running) -> None:
    """A call without arguments, and no word on what is a function anyway."""
    left_out = {"function": {"name": "f"}}
    assert plain({"role": "assistant", "tool_calls": [left_out]}) == plain({"role": "assistant", "tool_calls": [CALL]})
    question = {"role": "user", "content": QUESTION}
    called = {"role": "assistant", "content": "", "tool_calls": [left_out | {"type": None}]}
    answer = post(server, messages=[question, called, question], tools=[left_out | {"type": None}])
    assert answer.status_code == 200, answer.text
    wrong = {"type": None, "function": {"name": "f", "parameters": "{}"}}
    refused = post(server, messages=[question], tools=[wrong])
    assert refused.json()["error"].startswith("tools.0.function.parameters: ")
