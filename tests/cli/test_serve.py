"""`qwill serve` as a process: it starts, drains at SIGTERM, and comes back after kill -9 with what it had written."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from qwill import cli

QUESTION = "Please remember this: " + "one two three four " * 40


@contextmanager
def served(*options: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    command = [sys.executable, "-m", "qwill", "serve", "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        found = None
        while found is None:
            line = process.stderr.readline()
            assert line, "the server ended"
            found = re.search(r"http://\S+(?=;)", line)
        with httpx.Client(base_url=found[0], timeout=60) as client:
            for _ in range(1200):
                threading.Event().wait(0.05)
                try:
                    if client.get("/ready").status_code == 200:
                        break
                except httpx.TransportError:
                    assert process.poll() is None
            yield process, client
    finally:
        process.kill()
        process.communicate()


def ask(client: httpx.Client, text: str = QUESTION, **more: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 20, **more}
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def until_written(folder: Path) -> None:
    """Waits for the thread that writes the cache: what it has not written yet, a kill loses."""
    before: list[Path] = []
    while not before or before != sorted(folder.rglob("*")):
        before = sorted(folder.rglob("*"))
        threading.Event().wait(0.5)


def test_after_a_kill_the_next_start_goes_on(tmp_path: Path) -> None:
    """The cache and the counts are those of the requests that were over; those under way are lost alone."""
    options = ["--cache", str(tmp_path / "cache"), "--usage", str(tmp_path / "usage.sqlite")]
    with served(*options) as (process, client):
        first = ask(client)
        until_written(tmp_path / "cache")
        endless = {"messages": [{"role": "user", "content": "Hi"}], "stream": True, "ignore_eos": True}
        with client.stream("POST", "/v1/chat/completions", json=endless) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGKILL)
            with pytest.raises(httpx.TransportError):
                list(lines)
    file = next(file for file in (tmp_path / "cache").rglob("*") if file.is_file())
    file.with_name(f"torn{file.suffix}").write_bytes(file.read_bytes()[:100])
    with served(*options) as (process, client):
        again = ask(client)
        assert again["choices"][0]["message"]["content"] == first["choices"][0]["message"]["content"]
        assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 100
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    with sqlite3.connect(tmp_path / "usage.sqlite") as base:
        (counted,) = base.execute("SELECT sum(requests) FROM usage").fetchone()
    assert counted == 2


def test_sigterm_lets_answers_finish_and_exits_with_0() -> None:
    with served() as (process, client):
        body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True, "ignore_eos": True, "max_tokens": 300}
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            assert list(lines)[-2:] == ["data: [DONE]", ""]
        assert process.wait(30) == 0


def test_the_log_has_no_prompts_and_is_json() -> None:
    with served() as (process, client):
        ask(client, "What is 17 + 25? Confidential.")
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    records = [json.loads(line) for line in log.splitlines()]
    assert any(record.get("path") == "/v1/chat/completions" and record["status"] == 200 for record in records)
    assert "Confidential" not in log


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "give them keys with --api-key"),
        (["--host", "203.0.113.7", "--api-key", "k"], "cannot listen on 203.0.113.7"),
        (["--port", "70000"], "cannot listen on 127.0.0.1 port 70000"),
        (["--media-folder", "/nowhere"], "no such folder"),
        (["--keys", "/nowhere.toml"], "keys cannot be read"),
        (["--api-key", " "], "an API key is empty"),
        (["a=demo", "a=demo"], "two models have the same name"),
        (["=demo"], "neither MODEL nor NAME=MODEL"),
        (["/nowhere.gguf"], "nowhere"),
        (["--ctx", "100000"], "a context of 100000 is outside"),
        (["--usage", "/nowhere/usage.sqlite"], "usage"),
    ],
)
def test_mistakes_end_with_a_line(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--port", "0", *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert message in lines[-1]
    assert lines[-1].startswith("qwill: ")
