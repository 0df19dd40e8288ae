"""What the tests of client programs share."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scripted import Script, loads
from server.running import Running, running

from clients.programs import CACHE, SECONDS, Place
from clients.recording import Exchange, Recorder
from qwill.server.models import Served

PIECES = 20  # of an answer, after which it is in its midst


@dataclass
class Scripted:
    """A server whose model follows a script, and what programs sent to it."""

    running: Running
    recorder: Recorder

    @property
    def url(self) -> str:
        return self.running.url

    @property
    def exchanges(self) -> list[Exchange]:
        return self.recorder.exchanges

    def asked(self, path: str) -> list[Exchange]:
        """The requests to that address."""
        return [exchange for exchange in self.exchanges if exchange.path == path]

    def breaks_off(self, place: Place, *command: str, environment: dict[str, str] | None = None) -> None:
        """Runs a command that asks for a long answer and ends it in the midst: the answer ends, too."""
        self.recorder.clear()
        with subprocess.Popen(
            command, cwd=place.work, env=place.environment(environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        ):  # fmt: skip
            try:
                counting = self._answering()
            finally:
                place.end_all()
        self.running.until_idle()
        assert [exchange.left for exchange in counting] == [True]

    def _answering(self) -> list[Exchange]:
        """The requests whose answers flow, once there is one."""
        deadline = time.monotonic() + SECONDS
        while not (found := [exchange for exchange in self.exchanges if exchange.answer.count(b"delta") > PIECES]):
            assert time.monotonic() < deadline, "no answer came"
            time.sleep(0.01)
        return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("clients")


@contextmanager
def serving(script: Script, max_context: int, names: tuple[str, ...] = ("demo",), **more: Any) -> Iterator[Scripted]:
    """`max_context`: tokens of a prompt and its answer. What was sent is added to the file QWILL_CLIENTS_LOG, if that
    is set: a look at it tells how the requests of tests/server/first_requests.py have changed."""
    assert CACHE.is_dir(), "scripts/clients installs the programs and runs these tests"
    recorder = Recorder()
    options = {"max_context": max_context, "cache_tokens": 3 * max_context, "threads": 2, **more}
    served = [Served(name, "demo", options) for name in names]
    with running(served=served, around=recorder.around, load=loads(script)) as started:
        yield Scripted(started, recorder)
        started.until_idle()
    if (log := os.environ.get("QWILL_CLIENTS_LOG")) is not None:
        recorder.write(Path(log))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.within(tmp_path)
