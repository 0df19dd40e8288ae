"""Engines that stand still in the middle of an answer, however fast the machine is, or fail there."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from server.running import PATIENCE, Running


class Held:
    """`requests`: those that the engine has when it stands still."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self._reached, self._released = threading.Event(), threading.Event()

    def wait(self) -> None:
        """Until the engine stands still, in the midst of a step."""
        assert self._reached.wait(PATIENCE)

    def release(self) -> None:
        """Lets it go on."""
        self._released.set()


@contextmanager
def held(server: Running, steps: int) -> Iterator[Held]:
    """Lets the engine of the first model take so many steps from now on; the next one waits for `release`."""
    engine = server.worker.llm.engine
    step, taken, state = engine.step, 0, Held()

    def counted() -> Any:
        nonlocal taken
        if taken == steps:
            state.requests = [*engine.scheduler.running, *engine.scheduler.waiting]
            state._reached.set()
            assert state._released.wait(PATIENCE)
        taken += 1
        return step()

    engine.step = counted
    try:
        yield state
    finally:
        state.release()
        engine.step = step


@contextmanager
def failing_once(server: Running, error: Exception) -> Iterator[None]:
    """The next step of the first model's engine raises that."""
    engine = server.worker.llm.engine
    step, errors = engine.step, iter([error])

    def failing() -> Any:
        for one in errors:
            raise one
        return step()

    engine.step = failing
    try:
        yield
    finally:
        engine.step = step
