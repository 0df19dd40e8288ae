"""The file of usage: what clients were told, added up, whatever happens to the server or to the file."""

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from qwill.errors import InvalidArgument
from qwill.server import usage
from qwill.server.app import Application
from qwill.server.keys import Keys
from qwill.server.models import Models, Served
from qwill.server.settings import Settings
from qwill.server.usage import Tokens, UsageFile, read_usage
from server.asking import send, streamed
from server.running import Running, running, until
from server.stepping import held

SECRETS = ("one secret of many letters", "another secret of many letters")
ENDLESS = {"stream": True, "ignore_eos": True, "temperature": 1.0, "seed": 1}


def ask(url: str, text: str, secret: str = "none", **more: Any) -> Tokens:
    """Asks, and returns what the client was told of tokens."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=0)
    answer = client.chat.completions.create(model="demo", messages=[{"role": "user", "content": text}], **more)
    if more.get("stream"):
        *_, answer = answer
    told = answer.usage
    assert told is not None
    return Tokens(
        told.prompt_tokens, told.prompt_tokens_details.cached_tokens, told.completion_tokens,
        told.completion_tokens_details.reasoning_tokens,
    )  # fmt: skip


def requests_of(path: Path) -> int:
    return sum(entry.requests for entry in read_usage(path))


def body(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hello!"}], **more}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage of ? 100%.sqlite"  # signs that mean something in the addresses by which files are opened


@contextmanager
def counting(path: Path) -> Iterator[Running]:
    with running(Settings(keys=Keys.of(SECRETS), usage_file=path)) as started:
        yield started


def test_what_clients_were_told_adds_up(path: Path) -> None:
    days = {datetime.now(UTC).date()}
    with counting(path) as server:
        told = [
            ask(server.url, "What is 17 + 25?", SECRETS[0]),
            ask(server.url, "What is 17 + 25?", SECRETS[0], stream=True, stream_options={"include_usage": True}),
            ask(server.url, "What is 3 + 4?", SECRETS[0], n=2),
            ask(server.url, "Hello!", SECRETS[1]),
        ]
        refused = send("POST", f"{server.url}/v1/chat/completions", json=body())
        wrong = send(
            "POST", f"{server.url}/v1/chat/completions", json=body(temperature=-1), headers={"x-api-key": SECRETS[0]}
        )
        assert (refused.status_code, wrong.status_code) == (401, 400)
        until(lambda: requests_of(path) == 4)
    days.add(datetime.now(UTC).date())
    found = read_usage(path)
    assert {entry.day for entry in found} <= {day.isoformat() for day in days}
    for name, requests, expected in (("key 1", 3, sum(told[:3], Tokens())), ("key 2", 1, told[3])):
        of_key = [entry for entry in found if entry.key == name]
        assert {entry.model for entry in of_key} == {"demo"}
        assert sum(entry.requests for entry in of_key) == requests
        assert sum((entry.tokens for entry in of_key), Tokens()) == expected
    assert [file.name for file in path.parent.iterdir()] == [path.name], "the log is folded into the file at the end"


def test_who_leaves_pays_for_what_was_computed(path: Path) -> None:
    with counting(path) as server, held(server, 12) as engine:
        headers = {"x-api-key": SECRETS[1]}
        with streamed(f"{server.url}/v1/chat/completions", json=body(**ENDLESS), headers=headers):
            engine.wait()
        engine.release()
        (entry,) = until(lambda: read_usage(path))
    (request,) = engine.requests
    assert (entry.key, entry.requests) == ("key 2", 1)
    assert entry.tokens.prompt_tokens == len(request.prompt.token_ids)
    assert entry.tokens.completion_tokens == len(request.output_ids) >= 12


def test_answers_that_the_end_of_the_server_cuts_short_count(path: Path) -> None:
    with counting(path) as server, held(server, 12) as engine:
        headers = {"x-api-key": SECRETS[0]}
        url = f"{server.url}/v1/chat/completions"
        with streamed(url, json=body(**ENDLESS), headers=headers) as answer:
            engine.wait()
            worker = server.worker
            closed = asyncio.run_coroutine_threadsafe(server.application.models.close(), worker.loop)
            until(lambda: worker._closing)
            engine.release()
            closed.result()
            assert "being closed" in "".join(answer.iter_text())
    (request,) = engine.requests
    (entry,) = read_usage(path)
    assert (entry.requests, entry.tokens.completion_tokens) == (1, len(request.output_ids))


@contextmanager
def process(path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, ready, and its address."""
    options = ["--port", "0", "--ctx", "1024", "--parallel", "1", "--usage", str(path)]
    command = [sys.executable, "-m", "qwill.cli", "serve", "demo", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as started:
        try:
            assert started.stderr is not None
            line = next((line for line in started.stderr if "serves at" in line), "")
            assert line, "the server ended"
            url = line.split("serves at ")[1].split(";")[0]

            def ready() -> bool:
                try:
                    return send("GET", f"{url}/ready").status_code == 200
                except httpx.TransportError:
                    return False

            until(ready)
            yield started, url
        finally:
            started.kill()


@pytest.mark.needs("signals")
def test_a_server_that_is_killed_keeps_what_was_finished(path: Path) -> None:
    with process(path) as (server, url):
        told = [ask(url, f"What is {number} + 5?") for number in (3, 17, 40)]
        until(lambda: requests_of(path) == 3)  # read while it runs
        # Sixteen answers, one after the other: more than can be written before the end.
        with streamed(f"{url}/v1/chat/completions", json=body(n=16, **ENDLESS)) as answer:
            lines = answer.iter_lines()
            for _ in range(50):
                next(lines)
            server.send_signal(signal.SIGKILL)
            assert server.wait() == -signal.SIGKILL
            with pytest.raises(httpx.TransportError):
                for _ in lines:
                    pass
    assert path.with_name(f"{path.name}-wal").exists(), "it had no time to tidy up"
    (entry,) = read_usage(path)
    assert (entry.key, entry.model, entry.requests, entry.tokens) == ("anybody", "demo", 3, sum(told, Tokens()))
    with running(Settings(usage_file=path)) as again:
        more = ask(again.url, "Hello!")
    assert requests_of(path) == 4
    assert sum((entry.tokens for entry in read_usage(path)), Tokens()) == sum([*told, more], Tokens())


def test_servers_can_share_a_file(path: Path) -> None:
    files = [UsageFile(path) for _ in range(3)]
    barrier = threading.Barrier(9)

    def write(file: UsageFile, key: str) -> None:
        barrier.wait()
        for number in range(200):
            file.add(key, f"model {number % 3}", Tokens(number, number % 2, 1, 0, 2))

    writers = [threading.Thread(target=write, args=(file, f"key {index}")) for file in files for index in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    for file in files:
        file.close()
    found = read_usage(path)
    assert len({(entry.key, entry.model) for entry in found}) == 9
    assert sum(entry.requests for entry in found) == 9 * 200
    assert sum((entry.tokens for entry in found), Tokens()) == Tokens(9 * 19900, 9 * 100, 9 * 200, 0, 9 * 400)
    for index in range(3):
        assert sum(entry.requests for entry in read_usage(path, key=f"key {index}")) == 600


def test_a_locked_file_is_written_later(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(usage, "BUSY_SECONDS", 0.01)
    monkeypatch.setattr(usage, "RETRY_SECONDS", 0.01)
    file = UsageFile(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        file.add("a", "demo", Tokens(1, 0, 1))
        until(lambda: "is written later (database is locked)" in caplog.text)
        file.add("a", "demo", Tokens(2, 0, 3))
        file.add("b", "demo", Tokens(4))
        assert read_usage(path) == []
        other.execute("ROLLBACK")
    found = until(lambda: requests_of(path) == 3 and read_usage(path))
    assert [(entry.key, entry.requests, entry.tokens) for entry in found] == [
        ("a", 2, Tokens(3, 0, 4)), ("b", 1, Tokens(4)),
    ]  # fmt: skip
    assert caplog.text.count("is written later") == 1, "told once, not with each try"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        file.add("a", "demo", Tokens(1, 0, 1))
        file.close()
    assert "the usage of 1 requests is lost" in caplog.text


def test_names_that_are_no_text(path: Path) -> None:
    file = UsageFile(path)
    file.add("a\udc80", "m\udcff", Tokens(1))
    file.add("", "[bold]; DROP TABLE usage", Tokens(2))
    file.close()
    assert [(entry.key, entry.model) for entry in read_usage(path)] == [("", "[bold]; DROP TABLE usage"), ("a?", "m?")]


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE usage (day, key)")
        other.commit()


def later(path: Path) -> None:
    UsageFile(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 2")


def filled(path: Path) -> None:
    file = UsageFile(path)
    for number in range(500):
        file.add(f"key {number}", "demo", Tokens(number))
    file.close()


def torn(path: Path) -> None:
    filled(path)
    contents = path.read_bytes()
    path.write_bytes(contents[: len(contents) // 2 + 7])


def garbled(path: Path) -> None:
    filled(path)
    contents = path.read_bytes()
    path.write_bytes(contents[:8192] + bytes(4096) + contents[12288:])


SPOILED: list[tuple[Callable[[Path], Any], str]] = [
    (foreign, "another program"),
    (later, "later qwill"),
    (torn, "malformed"),
    (garbled, "cannot be used"),
    (lambda path: path.write_text("day,key\n" * 1000), "not a database"),
    (lambda path: path.write_bytes(b"SQLite format 3\0"), "not a database"),
    (Path.mkdir, "name another file"),
]


@pytest.mark.parametrize(("spoil", "complaint"), SPOILED)
def test_a_file_that_is_none_is_refused_and_left_alone(
    path: Path, spoil: Callable[[Path], Any], complaint: str
) -> None:
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(InvalidArgument, match=complaint) as refused:
        Application(Settings(usage_file=path), Models([Served("demo", "demo")]))
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    if before is not None:
        assert path.read_bytes() == before
        with pytest.raises(InvalidArgument, match=complaint):
            read_usage(path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="unable to open"):
        UsageFile(tmp_path / "none" / "usage.sqlite")
    with pytest.raises(InvalidArgument, match="no such file"):
        read_usage(tmp_path / "none.sqlite")


def test_the_command_line_says_it_in_one_line(path: Path) -> None:
    path.write_text("something else, of more than a few words" * 100)
    command = [sys.executable, "-m", "qwill.cli", "serve", "--port", "0", "--usage", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"qwill: {path} cannot be used for the usage")
    assert done.stderr.count("\n") == 1


def test_an_empty_file_is_taken(path: Path) -> None:
    path.touch()
    with pytest.raises(InvalidArgument, match="is empty"):
        read_usage(path)
    UsageFile(path).close()
    assert read_usage(path) == []


def test_a_torn_log_costs_only_its_last_entries(path: Path, tmp_path: Path) -> None:
    """What a crash of the machine can leave: the log ends in the middle of a page."""
    file = UsageFile(path)
    for number in range(1, 6):
        file.add("a", "demo", Tokens(number))
        until(lambda number=number: requests_of(path) == number)
    copy = tmp_path / "copy.sqlite"
    shutil.copy(path, copy)
    log = path.with_name(f"{path.name}-wal").read_bytes()
    copy.with_name(f"{copy.name}-wal").write_bytes(log[:-3000])
    file.close()
    (entry,) = read_usage(copy)
    assert (entry.requests, entry.tokens.prompt_tokens) == (4, 10)
    again = UsageFile(copy)
    again.add("a", "demo", Tokens(100))
    again.close()
    (entry,) = read_usage(copy)
    assert (entry.requests, entry.tokens.prompt_tokens) == (5, 110)


def test_days_are_kept_apart(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return now.astimezone(tz)

    monkeypatch.setattr(usage, "datetime", Clock)
    file = UsageFile(path)
    file.add("a", "demo", Tokens(1))
    now += timedelta(seconds=1)
    file.add("a", "demo", Tokens(2))
    file.close()
    assert [(entry.day, entry.tokens.prompt_tokens) for entry in read_usage(path)] == [
        ("2026-02-28", 1), ("2026-03-01", 2),
    ]  # fmt: skip
    assert [entry.day for entry in read_usage(path, since=now.date())] == ["2026-03-01"]
    assert read_usage(path, since=now.date() + timedelta(days=1)) == []
    with pytest.raises(InvalidArgument, match="nothing of a key 'b'; it has a"):
        read_usage(path, key="b")
