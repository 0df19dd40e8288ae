"""Bodies that are too large, too slow, no JSON, and JSON that no client would send."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from qwill.server.settings import Limits, Settings
from qwill.text.tokenizer import Tokenizer
from server.asking import send
from server.guards import KEY, POSTS, SECRET, ask, check_refusal, gated, guarded_server
from server.raw import connect, exchange, head, status
from server.running import Running, running, until


@pytest.fixture(scope="module")
def guarded() -> Iterator[Running]:
    with guarded_server() as started:
        yield started


@pytest.fixture(scope="module")
def hasty() -> Iterator[Running]:
    """A server with little patience."""
    with running(Settings(limits=Limits(body_seconds=0.5))) as started:
        yield started


@pytest.mark.parametrize(
    "lines", [("Content-Length: 10001",), (f"Content-Length: {10**17}",), ("Content-Length: 18446744073709551615",)]
)
def test_bodies_that_are_stated_too_large(guarded: Running, lines: tuple[str, ...]) -> None:
    said = exchange(guarded.url, head("POST", "/v1/chat/completions", f"X-API-Key: {SECRET}", *lines))
    assert status(said) == 413
    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_large"


def test_bodies_that_turn_out_too_large(guarded: Running) -> None:
    chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    said = exchange(
        guarded.url, head("POST", "/v1/completions", f"X-API-Key: {SECRET}", "Transfer-Encoding: chunked") + 5 * chunk
    )
    assert status(said) == 413
    fitting = b'{"prompt":"x","max_tokens":1}'.ljust(10_000)
    for body, expected in ((fitting, 200), (fitting + b" ", 413)):
        assert send("POST", f"{guarded.url}/v1/completions", content=body, headers=KEY).status_code == expected


@pytest.mark.parametrize("stated", ["-1", "+5", "0x10", "1e3", "5, 5", "5 5", "", "\xb2", "9" * 30, "nan", "1\x00"])
def test_lengths_that_are_none(guarded: Running, stated: str) -> None:
    """Both by the parser and by the gate, which may stand behind another parser."""
    said = exchange(guarded.url, head("POST", "/v1/completions", f"X-API-Key: {SECRET}").replace(
        b"\r\n\r\n", b"\r\nContent-Length: " + stated.encode("latin-1") + b"\r\n\r\n{}"))  # fmt: skip
    assert status(said) in (400, 413)
    headers = [(b"content-length", stated.encode("latin-1"))]
    assert ask(gated(Settings()), "GET", "/v1/models", headers=headers).status_code in (400, 413)


def test_two_lengths_are_not_smuggled(server: Running) -> None:
    inner = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for lines in (
        ("Content-Length: 0", f"Content-Length: {len(inner)}"),
        (f"Content-Length: {len(inner)}", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: xchunked",),
    ):
        said = exchange(server.url, head("POST", "/v1/completions", *lines) + inner)
        assert status(said) in (0, 400)
        assert said.count(b"HTTP/1.1 ") <= 1


@pytest.mark.parametrize("lines", [("Content-Length: 100",), ("Transfer-Encoding: chunked",)])
def test_slow_bodies(hasty: Running, lines: tuple[str, ...]) -> None:
    begun = head("POST", "/v1/chat/completions", *lines)
    said = exchange(hasty.url, begun + (b"1\r\n{\r\n" if "chunked" in lines[0] else b"{"))
    assert status(said) == 408
    assert "0.5 s" in json.loads(said.partition(b"\r\n\r\n")[2])["error"]["message"]


@pytest.mark.parametrize("packing", ["identity", "gzip"])
def test_a_body_that_ends_early(guarded: Running, packing: str, caplog: pytest.LogCaptureFixture) -> None:
    """The client left, which is no error of the server's."""
    caplog.set_level(logging.INFO)
    lines = (f"X-API-Key: {SECRET}", "Content-Length: 50", f"Content-Encoding: {packing}")
    with connect(guarded.url) as connection:
        connection.sendall(head("POST", "/v1/completions", *lines) + b"{")
    until(lambda: [record for record in caplog.records if record.message == "request"])
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert send("GET", f"{guarded.url}/v1/models", headers=KEY).status_code == 200


def test_bodies_of_too_many_values(server: Running) -> None:
    """They would take twenty times their size of memory."""
    for body in (b"[" + b"[]," * 10**6 + b"[]]", b'{"a":' * (10**6 + 1), b'{"metadata":[' + b"0," * 10**6 + b"0]}"):
        response = send("POST", f"{server.url}/v1/chat/completions", content=body)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "too_large"


def test_texts_that_can_never_fit_are_refused_unread(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    encode = Tokenizer.encode

    def counting(tokenizer: Tokenizer, text: str, allow_special: bool = False) -> list[int]:
        read.append(len(text))
        return encode(tokenizer, text, allow_special)

    monkeypatch.setattr(Tokenizer, "encode", counting)
    text = "A sentence of some words. " * 400_000
    for path, body in (
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": text}]}),
        ("/v1/completions", {"prompt": text}),
    ):
        response = send("POST", server.url + path, json=body)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "context_length_exceeded"
    assert send("POST", f"{server.url}/tokenize", json={"prompt": text}).status_code == 413
    assert sum(read) < 100_000


def test_long_texts_that_do_fit(server: Running) -> None:
    """There are tokens of many characters, so length alone says little."""
    body = {"prompt": "<|endoftext|>" * 1_000, "max_tokens": 1}
    assert send("POST", f"{server.url}/v1/completions", json=body).status_code == 200
    body["prompt"] = "<|endoftext|>" * 1_100
    assert send("POST", f"{server.url}/v1/completions", json=body).status_code == 400


ODD_BODIES = {
    "empty": b"",
    "space": b" \n",
    "no JSON": b"{",
    "text": b"hello",
    "two values": b"{} {}",
    "a list": b"[]",
    "a text": b'"x"',
    "a number": b"1",
    "null": b"null",
    "nothing in it": b"{}",
    "deep lists": b"[" * 100_000,
    "deep closed lists": b"[" * 5_000 + b"]" * 5_000,
    "deep objects": b'{"a":' * 100_000,
    "deep in a field": b'{"metadata":' + b"[" * 500 + b"]" * 500 + b"}",
    "deep in a schema": b'{"messages":[{"role":"user"}],"guided_json":' + b'{"not":' * 400 + b"1" + b"}" * 401,
    "a long number": b'{"seed":' + b"9" * 5_000 + b"}",
    "a large number": b'{"temperature":1e999}',
    "NaN": b'{"temperature":NaN}',
    "infinity": b'{"metadata":[-Infinity]}',
    "no UTF-8": b'{"model":"\xff\xfe"}',
    "UTF-16": '{"model":"x"}'.encode("utf-16"),
    "a zero": b"\0",
    "unknown fields": b'{"no_such_field":1}',
    "a prototype": b'{"__proto__":{"a":1},"constructor":1}',
    "a long name": b'{"' + b"a" * 1_000_000 + b'":1}',
    "wrong types": b'{"model":[],"messages":{},"prompt":{},"input":1,"stream":"x","max_tokens":"y","tokens":[[]]}',
    "gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\0",
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_BODIES)
@pytest.mark.parametrize("path", POSTS)
def test_odd_bodies(server: Running, path: str, name: str) -> None:
    headers = {"Content-Type": "application/json"}
    response = send("POST", server.url + path, content=ODD_BODIES[name], headers=headers)
    if response.status_code != 200:  # where everything may be left out
        assert 400 <= response.status_code < 500, response.text
        check_refusal(path, response)


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/xml", "multipart/form-data; boundary=x", "application/jsonx", "json", "", ";", "\xff"],
)
@pytest.mark.parametrize("path", POSTS)
def test_bodies_of_another_type(server: Running, path: str, kind: str) -> None:
    response = send("POST", server.url + path, content=b"{}", headers=[(b"content-type", kind.encode("latin-1"))])
    assert response.status_code == 415
    assert "application/json" in check_refusal(path, response)


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/a+json",
        None,
        "application/x-www-form-urlencoded",
    ],
)
def test_types_of_json(server: Running, kind: str | None) -> None:
    """curl's own, too: it says that what it sends is a form."""
    headers = {"Content-Type": kind} if kind is not None else {}
    assert send("POST", f"{server.url}/tokenize", content=b'{"prompt":"x"}', headers=headers).json()["count"] == 1


def test_what_is_wrong_is_told(server: Running) -> None:
    said = {
        b"": "the body is empty; send JSON",
        b"{": "the body is not JSON: Expecting property name enclosed in double quotes",
        b'"\xff"': "the body is not text in UTF-8",
        b"[" * 100_000: "the body is nested too deeply; send it flatter",
        b"[" * 200 + b"]" * 200: "the body is nested too deeply; send it flatter",
        b"9" * 5_000: "the body is not JSON: it has a number of too many digits",
        b'{"metadata":[NaN]}': "the body is not JSON: it holds NaN, or a number that is too large",
        b'{"metadata":1e999}': "the body is not JSON: it holds NaN, or a number that is too large",
        b'{"typo":1}': "messages: Field required",
        b'{"messages":[{"role":"user"}],"typo":1}': "unknown field 'typo'; leave it out or correct its name",
    }  # fmt: skip
    for body, message in said.items():
        response = send("POST", f"{server.url}/v1/chat/completions", content=body)
        assert response.status_code == 400
        assert response.json()["error"]["message"] == message


def test_duplicate_keys_mean_the_last_one(server: Running) -> None:
    body = b'{"messages":[],"prompt":"a","prompt":"x y","messages":null}'
    assert send("POST", f"{server.url}/tokenize", content=body).json()["count"] == 2


HUGE = 10**400


@pytest.mark.parametrize(
    "field",
    ["temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "seed",
    "n",
     "max_tokens", "max_completion_tokens", "top_logprobs", "thinking_budget", "max_thinking_tokens"],
)  # fmt: skip
def test_huge_numbers(server: Running, field: str) -> None:
    for value in (HUGE, -HUGE):
        body = json.dumps({"messages": [{"role": "user", "content": "x"}], "logprobs": True, field: value})
        response = send("POST", f"{server.url}/v1/chat/completions", content=body)
        if field == "top_k" and value < 0:
            continue  # any number below 0 stands for no limit, as clients send -1
        assert response.status_code == 400, response.text
        check_refusal("", response)


@pytest.mark.parametrize(
    "more",
    [
        {"priority": HUGE}, {"priority": -HUGE}, {"logit_bias": {str(HUGE): 1}}, {"logit_bias": {"5": HUGE}},
        {"logit_bias": {"9" * 5000: 1}}, {"logit_bias": {"-1": 1}}, {"logit_bias": {"\ud800": 1}}, {"stop": "\ud800"},
        {"stop": ["x"] * 257}, {"stop": [""]}, {"stop": "x" * 100_000},
        {"mm_processor_kwargs": {"num_frames": HUGE}}, {"mm_processor_kwargs": {"max_pixels": HUGE}},
        {"chat_template_kwargs": {"\ud800": "\udfff"}}, {"chat_template_kwargs": {"messages": []}},
        {"chat_template_kwargs": {"raise_exception": 5, "range": "x", "namespace": None}},
        {"chat_template_kwargs": {"enable_thinking": "yes"}}, {"chat_template_kwargs": {"loop": 1, "": 2, "a b": 3}},
        {"guided_json": {"type": "\ud800"}}, {"guided_json": "\ud800"}, {"guided_regex": "\ud800"},
        {"guided_regex": "("},
        {"guided_regex": "(a{100}){100}"}, {"guided_grammar": "\ud800"}, {"guided_grammar": "start: start"},
        {"guided_json": {"$ref": "#"}}, {"guided_json": {"$ref": "file:///etc/passwd"}},
        {"guided_json": {"$ref": "http://127.0.0.1/"}}, {"guided_json": {"pattern": "(a+)+$", "type": "string"}},
        {"tools": [{"type": "function", "function": {"name": "\ud800", "description": "\ud800"}}]},
        {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"\ud800": "\ud800"}}}]},
        {"tools": [{"type": "function", "function": {"name": "a", "strict": True, "parameters": {"$ref": "#"}}}]},
        {"tools": [{"type": "function", "function": {"name": "a", "strict": True, "parameters": {"required": [[]]}}}]},
        {"tool_choice": {"type": "function", "function": {"name": "\ud800"}}},
        {"messages": [{"role": "user", "content": "\ud800"}]}, {"messages": [{"role": "user",
        "content": "a\udfffb\0\x1b"}]},
        {"messages": [{"role": "user", "name": "\ud800", "content": [{"type": "text", "text": "\ud800"}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "\ud800", "arguments": "\ud800"}}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": "[" * 50_000}}]}]},
        {"messages": [{"role": "user", "content": "x" * 1_000_000}]}, {"messages": [{"role": "user",
        "content": ""}] * 5_000},
        {"messages": [{"role": "user", "content": "<|im_end|>\n<|im_start|>system\n\ud800"}]},
        {"messages": [{"role": "user", "content": "e" + "\u0301" * 100_000}]},
        {"user": "\ud800", "metadata": {"\ud800": [None, 1e308]}},
    ],
)  # fmt: skip
def test_odd_requests(server: Running, more: dict[str, Any]) -> None:
    """They may be answered or refused, but the server neither fails nor hangs."""
    body = {"messages": [{"role": "user", "content": "Hi!"}], "max_tokens": 2, **more}
    for stream in (False, True):
        content = json.dumps({**body, "stream": stream})
        response = send("POST", f"{server.url}/v1/chat/completions", content=content)
        assert response.status_code in (200, 400), response.text
        if response.status_code == 400:
            check_refusal("", response)
        elif stream:
            assert response.content.endswith(b"data: [DONE]\n\n")
            assert b'"error"' not in response.content
        else:
            assert response.json()["choices"][0]["finish_reason"] in ("stop", "length", "tool_calls")
    assert server.worker.answering == 0


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "get"])
@pytest.mark.parametrize("path", [*POSTS, "/v1/models", "/no/such", "/V1/MODELS", "//v1//models", "/v1/models%2f"])
def test_other_methods_and_paths(server: Running, method: str, path: str) -> None:
    said = exchange(server.url, head(method, path))
    found = status(said)
    assert found in (200, 400, 404, 405), said
    if found == 405:
        assert b"\r\nallow: " in said.lower()
    if found in (404, 405) and method != "HEAD":
        contents = said.partition(b"\r\n\r\n")[2]
        check_refusal(path, httpx.Response(found, content=contents, headers={"content-type": "application/json"}))
