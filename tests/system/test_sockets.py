"""A server's address, and its event loop."""

import asyncio
import socket
import sys
from contextlib import closing

import pytest

from qwill.system.sockets import event_loop, own_address


def listening(port: int = 0) -> socket.socket:
    opened = socket.socket()
    own_address(opened)
    try:
        opened.bind(("127.0.0.1", port))
    except OSError:
        opened.close()
        raise
    opened.listen()
    return opened


def test_nobody_else_gets_an_address_that_is_listened_on() -> None:
    with closing(listening()) as first, pytest.raises(OSError):  # noqa: PT011 - worded by the system
        listening(first.getsockname()[1])


def test_an_address_can_be_had_again_at_once() -> None:
    """Though a connection to the server that was there has only just ended."""
    first = listening()
    port = first.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    served, _ = first.accept()
    served.close()
    first.close()
    with closing(listening(port)):
        client.close()


def test_the_event_loop_runs() -> None:
    with asyncio.Runner(loop_factory=event_loop) as runner:
        assert runner.run(asyncio.sleep(0, "done")) == "done"
        home = type(runner.get_loop()).__module__
        assert home == ("asyncio.windows_events" if sys.platform == "win32" else "uvloop")


def test_without_uvloop_it_is_pythons_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with asyncio.Runner(loop_factory=event_loop) as runner:
        assert runner.run(asyncio.sleep(0, "done")) == "done"
        assert type(runner.get_loop()).__module__.startswith("asyncio.")
