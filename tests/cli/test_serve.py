"""`qwill serve` as a process: it starts, drains at SIGTERM, and comes back after kill -9 with what it had written."""

import itertools
import json
import logging
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from server.running import PATIENCE, until

from qwill import cli
from qwill.server.models import Models, Served
from qwill.server.run import LogLine
from qwill.server.settings import Settings
from qwill.server.usage import read_usage

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
        with httpx.Client(base_url=found[0], timeout=PATIENCE) as client:

            def ready() -> bool:
                try:
                    return client.get("/ready").status_code == 200
                except httpx.TransportError:
                    assert process.poll() is None
                    return False

            until(ready)
            yield process, client
    finally:
        process.kill()
        process.communicate()


def ask(client: httpx.Client, text: str = QUESTION, **more: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 20, **more}
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def snapshots(folder: Path) -> list[Path]:
    """Files of the cache with a beginning of most of the question; the pages that belong to it were written before."""

    def length(file: Path) -> int:
        with np.load(file) as arrays:
            return int(json.loads(bytes(arrays["arr_0"]))["length"])

    return [file for file in folder.rglob("snapshot-*.npz") if length(file) > 100]


@pytest.mark.needs("signals")
def test_after_a_kill_the_next_start_goes_on(tmp_path: Path) -> None:
    """The cache and the counts are those of the requests that were over; those under way are lost alone."""
    options = ["--cache", str(tmp_path / "cache"), "--usage", str(tmp_path / "usage.sqlite")]
    with served(*options) as (process, client):
        first = ask(client)
        until(lambda: snapshots(tmp_path / "cache") and read_usage(tmp_path / "usage.sqlite"))
        endless = {"messages": [{"role": "user", "content": "Hi"}], "stream": True, "ignore_eos": True}
        with client.stream("POST", "/v1/chat/completions", json=endless) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGKILL)
            with pytest.raises(httpx.TransportError):
                list(lines)
    file = snapshots(tmp_path / "cache")[0]
    file.with_name(f"torn{file.suffix}").write_bytes(file.read_bytes()[:100])
    with served(*options) as (process, client):
        again = ask(client)
        assert again["choices"][0]["message"]["content"] == first["choices"][0]["message"]["content"]
        assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 100
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    with sqlite3.connect(tmp_path / "usage.sqlite") as base:
        (counted,) = base.execute("SELECT sum(requests) FROM usage").fetchone()
    assert counted == 2


@pytest.mark.needs("signals")
def test_sigterm_lets_answers_finish_and_exits_with_0() -> None:
    with served() as (process, client):
        body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True, "ignore_eos": True, "max_tokens": 300}
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            assert list(lines)[-2:] == ["data: [DONE]", ""]
        assert process.wait(PATIENCE) == 0


@pytest.mark.needs("signals")
def test_what_an_unloaded_model_has_read_is_kept_while_the_server_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    warm = tmp_path / "warm.jsonl"
    question = {"messages": [{"role": "user", "content": QUESTION}]}
    warm.write_text(json.dumps(question))
    with served("--warm", str(warm), "--alias", "claude-*=demo", "--cache-size", "0.5") as (process, client):
        (folder,) = [path for path in (tmp_path / "qwill").iterdir() if path.is_dir()]
        assert ask(client, model="claude-x")["usage"]["prompt_tokens_details"]["cached_tokens"] > 100
        assert client.post("/api/generate", json={"keep_alive": 0}).json()["done_reason"] == "unload"
        assert snapshots(folder)
        assert ask(client)["usage"]["prompt_tokens_details"]["cached_tokens"] > 100
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert list((tmp_path / "qwill").iterdir()) == []
    with served("--cache", "none") as (_, client):
        assert not list((tmp_path / "qwill").iterdir())


@pytest.mark.needs("signals")
def test_the_log_has_no_prompts_and_is_json() -> None:
    with served() as (process, client):
        ask(client, "What is 17 + 25? Confidential.")
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=PATIENCE)
    records = [json.loads(line) for line in log.splitlines()]
    assert any(record.get("path") == "/v1/chat/completions" and record["status"] == 200 for record in records)
    assert "Confidential" not in log


def test_what_a_start_reads_to_be_warm_is_one_line_each(tmp_path: Path) -> None:
    """It is no request of anybody's, and the log does not take it for one of the server's own to others."""
    file = tmp_path / "first.jsonl"
    file.write_text(json.dumps({"messages": [{"role": "user", "content": "Hi"}]}) + "\n")
    command = [sys.executable, "-m", "qwill", "serve", "--port", "0", "--warm", str(file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = list(itertools.takewhile(lambda line: "http" not in line or line[0] == "{", process.stderr))
        process.kill()
    messages = [json.loads(line)["message"] for line in lines if line[0] == "{"]
    assert messages == ["loaded", "warm"]


@pytest.fixture
def own_log() -> Iterator[None]:
    """A server's process has its log and its switches for itself; this one goes on with other tests."""
    root, interval = logging.getLogger(), sys.getswitchinterval()
    level = root.level
    yield
    for handler in [one for one in root.handlers if isinstance(one.formatter, LogLine)]:
        root.removeHandler(handler)
    root.setLevel(level)
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("own_log")
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
        (["--alias", "x"], "--alias 'x' is not NAME=MODEL"),
        (["--alias", "x=big"], "--alias x=big: no model 'big' here; there is demo"),
        (["--alias", "demo=demo"], "--alias demo: a model has that name"),
        (["a=demo", "b=demo", "--alias", "x=a", "--alias", "x=b"], "--alias x: it is to be a and b"),
        (["--default", "big"], "--default big: no model 'big' here; there is demo"),
        (["--warm", "/nowhere.jsonl"], "requests cannot be read from /nowhere.jsonl"),
        (["--record", "/nowhere/at/all.jsonl"], "requests cannot be written to /nowhere/at/all.jsonl"),
    ],
)
def test_mistakes_end_with_a_line(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--port", "0", *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert message in lines[-1]
    assert lines[-1].startswith("qwill: ")


@pytest.mark.needs("devices")
def test_a_machine_without_a_folder_that_can_be_written_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose disk is read only."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    monkeypatch.setattr("tempfile.tempdir", "/dev/null")
    told: list[tuple[list[Served], str]] = []

    def serve(settings: Settings, models: Callable[[], Models], note: str) -> None:
        told.append((models().all, note))

    monkeypatch.setattr("qwill.server.run.serve", serve)
    assert cli.main(["serve"]) == 0
    (((served,), note),) = told
    assert "disk_cache" not in served.options
    assert note.startswith("models that are unloaded keep nothing of what they have read ([Errno ")
    assert note.endswith("see --cache")
