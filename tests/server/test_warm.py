"""Prompts that are read before anybody asks, from a file that a server has recorded or a person has written."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from qwill.errors import InvalidArgument
from qwill.server.app import Application
from qwill.server.models import Models, Served
from qwill.server.settings import Settings
from qwill.server.usage import read_usage
from qwill.server.warm import PATHS, read_requests
from server.asking import send
from server.running import OPTIONS, Running, running, until

SYSTEM = "You are an agent of a company of " + "very patient people, " * 20
TOOL = {"name": "get_weather", "description": "Weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}}}  # fmt: skip
USER = {"role": "user", "content": "What is 17 + 25?"}
CHAT = {"messages": [{"role": "system", "content": SYSTEM}, USER], "tools": [{"type": "function", "function": TOOL}]}
BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {**CHAT, "n": 2, "stream": True, "stream_options": {"include_usage": True}}),
    ("/v1/completions", {"prompt": SYSTEM, "max_tokens": 900}),
    ("/v1/messages", {
        "model": "claude-x", "max_tokens": 500, "system": SYSTEM, "messages": [USER], "stream": True,
        "tools": [{"name": "get_weather", "input_schema": TOOL["parameters"]}],
        "thinking": {"type": "enabled", "budget_tokens": 400 + 624},
    }),
    ("/v1/responses", {"instructions": SYSTEM, "input": "Hi", "tools": [{"type": "function", **TOOL}], "stream": True}),
    ("/api/chat", {"messages": [{"role": "system", "content": SYSTEM}, USER], "format": "json"}),
    ("/api/generate", {"prompt": SYSTEM}),
]  # fmt: skip


def written(file: Path, *lines: Any) -> Path:
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


def warmed(file: Path, **more: Any) -> Any:
    return running(Settings(warm=tuple(read_requests(file)), **more))


def cached(server: Running, path: str, body: dict[str, Any]) -> tuple[int, int]:
    """Tokens of a prompt, and how many of them had been read."""
    body = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
    if path.startswith("/api/"):  # which does not tell
        before = figures(server)
        answer = send("POST", server.url + path, json={**body, "stream": False, "options": {"num_predict": 1}})
        assert answer.status_code == 200, answer.text
        until(lambda: figures(server)[0] > before[0])
        after = figures(server)
        return after[0] - before[0], after[1] - before[1]
    usage = send("POST", server.url + path, json=body).json()["usage"]
    if path == "/v1/messages":
        return usage["input_tokens"] + usage["cache_read_input_tokens"], usage["cache_read_input_tokens"]
    if path == "/v1/responses":
        return usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"]
    return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]


def figures(server: Running) -> tuple[int, int]:
    """All tokens of prompts, and those that were cached."""
    lines = send("GET", f"{server.url}/metrics").text.splitlines()
    found = [
        float(next(line.split()[-1] for line in lines if line.startswith(f"qwill_{name}_total{{")))
        for name in ("prompt_tokens", "cached_tokens")
    ]
    return int(found[0]), int(found[1])


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_every_dialect(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    with warmed(written(tmp_path / "requests.jsonl", "", {"path": f"{path}?beta=true", "body": body}, " ")) as server:
        tokens, known = cached(server, path, body)
        assert tokens > 60
        assert known >= tokens - 10
    with running() as server:
        assert cached(server, path, body) == (tokens, 0)


def test_another_question_behind_the_same_system_message(tmp_path: Path) -> None:
    first, other = (
        {**CHAT, "messages": [CHAT["messages"][0], {"role": "user", "content": f"{word} " * 40}]}
        for word in ("one", "two")
    )
    with warmed(written(tmp_path / "requests.jsonl", first)) as server:  # a bare body is a chat completion's
        tokens, known = cached(server, "/v1/chat/completions", other)
        assert 100 < tokens - 120 < known < tokens - 40


@pytest.mark.parametrize("keep_alive", [0, "0s", "1ms", 0.001])
def test_models_are_kept_as_the_server_is_told(tmp_path: Path, keep_alive: Any) -> None:
    """Whatever clients wanted whose requests were recorded, `ollama stop` among them."""
    stop = {"model": "demo", "keep_alive": keep_alive}
    lines = [{"path": "/api/generate", "body": more} for more in (stop | {"prompt": "Hi"}, stop)]
    with warmed(written(tmp_path / "requests.jsonl", *lines)) as server:
        (loaded,) = send("GET", f"{server.url}/api/ps").json()["models"]
        assert loaded["expires_at"].startswith("9999-")


def test_answers_of_at_least_so_many_tokens(tmp_path: Path) -> None:
    with warmed(written(tmp_path / "requests.jsonl", {"messages": [USER], "min_tokens": 5, "n": 2})) as server:
        assert figures(server)[0] > 0


def test_what_only_this_server_remembers_is_not_recorded(tmp_path: Path) -> None:
    """Another one would not start with it."""
    file = tmp_path / "requests.jsonl"
    with running(Settings(record_file=file)) as server:

        def ask(**body: Any) -> dict[str, Any]:
            answer = send("POST", f"{server.url}/v1/responses", json={"max_output_tokens": 16, **body})
            assert answer.status_code == 200, answer.text
            return dict(answer.json())

        first = ask(input="Hi")
        ask(input="And?", previous_response_id=first["id"])
        said = {"role": "user", "content": "And?"}
        ask(input=[{"type": "item_reference", "id": first["output"][-1]["id"]}, said])
        ask(input=[said])
    assert [request.body["input"] for request in read_requests(file)] == ["Hi", [said]]
    with warmed(file):
        pass


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.needs("devices")
def test_a_full_disk_records_nothing_and_answers_all(stream: bool, caplog: pytest.LogCaptureFixture) -> None:
    full = Path("/dev/full")  # every write to it fails
    with running(Settings(record_file=full)) as server:
        body = {"messages": [USER], "max_tokens": 1, "stream": stream}
        for _ in range(2):
            assert send("POST", f"{server.url}/v1/chat/completions", json=body).status_code == 200
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert told == ["a request cannot be written to /dev/full (No space left on device)"] * 2


def test_what_it_costs_is_counted_as_warming(tmp_path: Path) -> None:
    lines = [{"path": path, "body": body} for path, body in BODIES]
    with warmed(written(tmp_path / "requests.jsonl", *lines), usage_file=tmp_path / "usage.sqlite") as server:
        assert send("GET", f"{server.url}/ready").status_code == 200
        until(lambda: read_usage(tmp_path / "usage.sqlite"))
    (row,) = read_usage(tmp_path / "usage.sqlite")
    assert (row.key, row.requests, row.tokens.completion_tokens) == ("warm", len(BODIES), len(BODIES))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: this is not JSON"),
        ("[1]", "line 2: a request is"),
        ("7", "line 2: a request is"),
        ({"path": "/v1/nothing", "body": {}}, "line 2: the path '/v1/nothing' is not one of /v1/chat/completions, "),
        ({"path": ["x"], "body": {}}, "line 2: the path \\['x'\\] is not one of"),
        ({"path": "/v1/messages"}, "line 2: a request is"),
        ({"path": "/v1/messages", "body": [1]}, "line 2: a request is"),
    ],
)
def test_lines_that_are_none(tmp_path: Path, line: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        read_requests(written(tmp_path / "requests.jsonl", CHAT, line))


def test_files_that_are_none(tmp_path: Path) -> None:
    for file in (tmp_path / "nothing", tmp_path):
        with pytest.raises(InvalidArgument, match="requests cannot be read from"):
            read_requests(file)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidArgument, match="requests cannot be read from"):
        read_requests(tmp_path / "binary")
    odd = {"messages": [{"role": "user", "content": "half of a pair \ud800, and a line\u2028"}]}
    (tmp_path / "odd").write_text(json.dumps(odd) + "\r\n" + json.dumps(CHAT, ensure_ascii=False), "utf-8")
    assert [request.body for request in read_requests(tmp_path / "odd")] == [odd, CHAT]
    with warmed(tmp_path / "odd") as server:
        tokens, known = figures(server)
        assert (tokens > 0, known) == (True, 0)
    with pytest.raises(InvalidArgument, match="requests cannot be written to"):
        Application(Settings(record_file=tmp_path), Models([Served("demo", "demo", OPTIONS)]))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"path": "/v1/chat/completions", "body": {"messages": [USER], "temprature": 1}}, "line 2: .*temprature"),
        ({"path": "/v1/messages", "body": {"messages": [USER]}}, "line 2: .*max_tokens|line 2: .*model"),
        ({"path": "/api/chat", "body": {"messages": [{"role": "robot"}]}}, "line 2: messages.0.role"),
        ({"messages": [{"role": "user", "content": "word " * 3000}]}, "line 2: .*1024"),
    ],
)
def test_requests_that_are_refused(tmp_path: Path, request_: dict[str, Any], message: str) -> None:
    """The server does not start, and says which line is wrong."""

    async def start() -> None:
        settings = Settings(warm=tuple(read_requests(written(tmp_path / "requests.jsonl", CHAT, request_))))
        async with Application(settings, Models([Served("demo", "demo", OPTIONS)])):
            raise AssertionError("it started")

    with pytest.raises(InvalidArgument, match=message):
        asyncio.run(start())


def test_what_is_recorded_warms_another_server(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    with running(Settings(record_file=file)) as server:
        for path, body in BODIES:
            if path == "/v1/completions":
                body = {**body, "max_tokens": 2}
            assert send("POST", server.url + path, json=body).status_code == 200
        assert send("POST", f"{server.url}/v1/chat/completions", json={"messages": 7}).status_code == 400
        assert send("POST", f"{server.url}/tokenize", json={"prompt": "x"}).status_code == 200
        assert send("GET", f"{server.url}/v1/models").status_code == 200
    recorded = read_requests(file)
    assert [request.path for request in recorded] == list(PATHS)
    assert os.name == "nt" or file.stat().st_mode & 0o077 == 0
    assert recorded[0].body == BODIES[0][1]
    with warmed(file) as server:
        tokens, known = cached(server, *BODIES[0])
        assert known >= tokens - 10
