"""What is typed and pasted while nobody reads the terminal.

The system keeps 4095 bytes of it, and behind a longer paste no Ctrl-C would come through: whatever fills that room is
taken out.
"""

import re
import threading
from contextlib import suppress

from qwill.system.terminal import bytes_waiting, take_typed

ROOM = 3500  # bytes; fewer are left where they are, for the next line that is read
LOOK_SECONDS, QUIET_SECONDS = 0.1, 0.05
_PASTE = re.compile(r"\x1b\[200~(.*?)(?:\x1b\[201~|\Z)", re.DOTALL)
_CONTROLS = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|[\x00-\x08\x0b-\x1f\x7f]")


class TypedAhead:
    """Keeps the terminal's room free from `start` to `stop`."""

    def __init__(self) -> None:
        self._taken = b""
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._done.clear()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[list[str], str]:
        """Whole messages, and what was begun behind them."""
        if self._thread is None:
            return [], ""
        self._done.set()
        self._thread.join()
        self._thread = None
        taken, self._taken = self._taken, b""
        return messages(taken.decode("utf-8", "surrogateescape"))

    def _watch(self) -> None:
        with suppress(OSError):  # the terminal is gone
            while not self._done.wait(LOOK_SECONDS):
                if bytes_waiting() > ROOM or self._taken:
                    self._taken += take_typed(QUIET_SECONDS)


def messages(typed: str) -> tuple[list[str], str]:
    """Messages that were ended by Enter, a pasted text in one of them, and what was begun.

    So much that has no marks is one pasted text.
    """
    if not _PASTE.search(typed):
        text = _CONTROLS.sub("", typed.replace("\r", "\n"))
        return ([text], "") if text.endswith("\n") else ([], text)
    whole, begun, end = [], "", 0
    for paste in _PASTE.finditer(typed):
        lines = _lines(typed[end : paste.start()])
        whole += [begun + lines[0], *lines[1:-1]] if len(lines) > 1 else []
        begun = (lines[-1] if len(lines) > 1 else begun + lines[0]) + paste[1].replace("\r", "\n")
        end = paste.end()
    lines = _lines(typed[end:])
    return ([*whole, begun + lines[0], *lines[1:-1]], lines[-1]) if len(lines) > 1 else (whole, begun + lines[0])


def _lines(typed: str) -> list[str]:
    return _CONTROLS.sub("", typed.replace("\r", "\n")).split("\n")
