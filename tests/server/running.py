"""A server in a thread of the test's own process, with the embedded model."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx

from qwill.server.app import Application
from qwill.server.models import Models, Served
from qwill.server.run import Server, configuration, listen
from qwill.server.settings import Settings
from qwill.system.sockets import event_loop

PATIENCE = 60.0  # seconds, for a busy machine
OPTIONS: dict[str, Any] = {"max_context": 1024, "cache_tokens": 8192, "speculative": True, "threads": 2}


def until(holds: Callable[[], Any]) -> Any:
    """What `holds` returns once that is true; what a server does after its answer is to be waited for."""
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < deadline, "it never came to that"
        threading.Event().wait(0.01)
    return found


@dataclass
class Running:
    """`url` is where the server is, without a slash at its end."""

    url: str
    application: Application

    @property
    def worker(self) -> Any:
        return self.application.models.all[0].worker

    def until_idle(self) -> None:
        """Waits for the engine's thread to have nothing left; a lost cancellation would never end."""
        until(lambda: self.worker.answering == 0 and not self.worker.llm.engine.has_work)
        self.worker.llm.engine.scheduler.check_integrity()

    def keep(self) -> None:
        """Loads the first model, and keeps it for ever, if a test has had it unloaded now or later."""
        served = self.application.models.all[0]
        if served.worker is None or served.keep_seconds is not None:
            loading = {"model": served.name, "keep_alive": -1, "stream": False}
            httpx.post(f"{self.url}/api/generate", json=loading, timeout=PATIENCE).raise_for_status()


@contextmanager
def running(
    settings: Settings | None = None,
    served: list[Served] | None = None,
    around: Callable[[Any], Any] = lambda asgi: asgi,
    **more: Any,
) -> Iterator[Running]:
    """`around` puts another ASGI application around the server's; `more` goes to Models. The server is drained at the
    end, and its engine must hold nothing but snapshots."""
    settings = replace(settings or Settings(), port=0, drain_seconds=5)
    listening = listen(settings)
    ready = threading.Event()
    state: dict[str, Any] = {}

    async def main() -> None:
        models = Models(served or [Served("demo", "demo", OPTIONS)], settings.max_waiting, **more)
        async with Application(settings, models) as application:
            state["application"] = application
            served_so = configuration(settings, application)
            served_so.app = around(served_so.app)
            state["server"] = server = Server(served_so, application)
            task = asyncio.create_task(server.serve([listening]))
            while not server.started and not task.done():
                await asyncio.sleep(0.01)
            ready.set()
            await task
            state["workers"] = [model.worker for model in models.all if model.worker is not None]

    def in_loop() -> None:
        try:
            with asyncio.Runner(loop_factory=event_loop) as runner:
                runner.run(main())
        finally:
            ready.set()

    thread = threading.Thread(target=in_loop)
    thread.start()
    ready.wait()
    assert "server" in state, "the server did not start"
    try:
        yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}", state["application"])
    finally:
        state["server"].should_exit = True
        thread.join()
        for worker in state["workers"]:
            worker.llm.engine.scheduler.check_integrity()
