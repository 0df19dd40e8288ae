"""What is sent cannot become headers, events or paths."""

import json
import re

import pytest

from qwill.server.http import event
from qwill.server.settings import Settings
from server.asking import send
from server.guards import ask, gated
from server.raw import exchange, head, post, status
from server.running import Running


@pytest.mark.parametrize(
    ("given", "kept"),
    [("req_1:2.3-4", True), ("a" * 128, True), ("a" * 129, False), ("", False), ("a b", False), ("a\xe9", False),
    ("a;b", False),
     ("<script>", False)],
)  # fmt: skip
def test_request_ids(given: str, kept: bool) -> None:
    headers = [(b"x-request-id", given.encode("latin-1"))]
    told = ask(gated(Settings()), "GET", "/v1/models", headers=headers).headers["x-request-id"]
    assert (told == given) == kept
    assert re.fullmatch(r"[A-Za-z0-9_.:-]+", told)


@pytest.mark.parametrize("given", ["a\r\nSet-Cookie: b=c", "a\nSet-Cookie: b=c", "a\rSet-Cookie: b=c", "a\0b"])
def test_headers_cannot_be_injected(server: Running, given: str) -> None:
    said = exchange(server.url, head("GET", "/v1/models", f"X-Request-Id: {given}"))
    answer_head = said.partition(b"\r\n\r\n")[0].lower()
    assert status(said) in (200, 400)
    assert b"set-cookie" not in answer_head
    for path in ("/v1/models/a%0d%0aSet-Cookie:%20b=c", "/v1/models/%00", "/%0d%0aX:%20y"):
        said = exchange(server.url, head("GET", path))
        assert status(said) == 404
        assert b"set-cookie" not in said.partition(b"\r\n\r\n")[0].lower()


def test_model_names_with_line_breaks(server: Running) -> None:
    for name in (
        "demo\r\nX-Evil: 1",
        "\n\ndata: [DONE]\n\n",
        "demo\0",
        "\ud800",
        "x" * 100_000,
    ):
        body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hi!"}], "stream": True}).encode()
        said = exchange(server.url, post("/v1/chat/completions", body))
        assert status(said) == 404
        answer_head, _, contents = said.partition(b"\r\n\r\n")
        assert b"x-evil" not in answer_head.lower()
        assert json.loads(contents)["error"]["code"] == "model_not_found"
        assert len(contents) < 3000


def test_path_traversal_in_model_names(server: Running) -> None:
    for name in (
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "demo/..",
        "demo%20",
    ):
        said = exchange(server.url, head("GET", f"/v1/models/{name}"))
        assert status(said) == 200  # any name is one of the model's
        assert b"root:" not in said


def test_an_event_is_one_event() -> None:
    for text in (
        "a\n\ndata: [DONE]\n\n",
        "\r\r",
        "\r\n\r\nevent: error\r\n",
        "\u2028\u2029\x85\x0b\x0c\x1c",
        "\ud800\n\n",
        "\0",
    ):
        said = event({"text": text, text: 1}, "name")
        assert said.startswith(b"event: name\ndata: {")
        assert said.endswith(b"}\n\n")
        assert len(said.splitlines()) == 3
        assert json.loads(said.decode().split("data: ", 1)[1]) == {"text": text, text: 1}


def test_answers_cannot_forge_events(server: Running) -> None:
    """The model is made to write what would end its own event and begin others."""
    forged = "one\\n\\ndata: \\[DONE\\]\\n\\nevent: error\\r\\ndata: two\\r\\r: x"
    for path, more in (
        ("/v1/completions", {"prompt": "x", "max_tokens": 60}),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "x"}], "max_tokens": 60, "enable_thinking": False},
        ),
    ):
        body = {"stream": True, "guided_regex": forged, "temperature": 0, **more}
        lines = send("POST", server.url + path, json=body).content.split(b"\n")
        assert lines[-3:] == [b"data: [DONE]", b"", b""]
        text = ""
        for index, line in enumerate(lines[:-3]):
            if index % 2:
                assert line == b""
                continue
            assert line.startswith(b"data: {")
            choice = json.loads(line.removeprefix(b"data: "))["choices"][0]
            text += choice["text"] if "text" in choice else choice["delta"].get("content") or ""
        assert text == "one\n\ndata: [DONE]\n\nevent: error\r\ndata: two\r\r: x"


def test_tools_with_line_breaks_in_their_names(server: Running) -> None:
    for name in ("a\n\ndata: [DONE]\n\n", "</function>", "\ud800", "a>b"):
        tool = {"type": "function", "function": {"name": name}}
        body = {
            "messages": [{"role": "user", "content": "Hi!"}],
            "tools": [tool],
            "tool_choice": "required",
            "stream": True,
        }
        said = exchange(server.url, post("/v1/chat/completions", body))
        assert status(said) == 400
        assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["message"]
