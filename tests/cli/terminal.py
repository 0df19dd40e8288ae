"""A program at a terminal: what a person types and sees."""

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

# Makes the terminal on stdin the controlling one, so that Ctrl-C becomes a signal, then turns into the program.
_START = "import os, sys; os.login_tty(0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"
PATIENCE = 30.0  # seconds, for a busy machine


class Terminal:
    """`seen` holds all that was shown so far; `expect` looks at what came after the last thing expected."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self._process, self._master = process, master
        self.seen = ""
        self._rest = b""  # a carriage return whose newline may follow
        self._position = 0

    def type(self, text: str) -> None:
        """Types keys; a line needs its newline."""
        os.write(self._master, text.encode())

    def expect(self, pattern: str) -> re.Match[str]:
        """Waits until the pattern is shown."""
        deadline = time.monotonic() + PATIENCE
        while not (match := re.compile(pattern).search(self.seen, self._position)):
            going_on = time.monotonic() < deadline and self._read()
            assert going_on, f"{pattern!r} is not in {self.seen!r}"
        self._position = match.end()
        return match

    def leave(self, key: str = "") -> int:
        """Reads to the end and returns the exit code. `key` is pressed each second until then."""
        deadline, pressed = time.monotonic() + PATIENCE, 0.0
        while True:
            if key and time.monotonic() - pressed > 1:
                self.type(key)
                pressed = time.monotonic()
            if not self._read():
                return self._process.wait(PATIENCE)
            assert time.monotonic() < deadline, self.seen

    def close(self) -> None:
        os.close(self._master)

    def hang_up(self) -> int:
        """Closes the terminal and returns the exit code."""
        os.close(self._master)
        self._master = os.open(os.devnull, os.O_RDONLY)
        return self._process.wait(PATIENCE)

    def _read(self) -> bool:
        """Takes what is there; False at the end."""
        if not select.select([self._master], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # Linux reports the end so
            return False
        shown = self._rest + data
        self._rest = b"\r" if data and shown.endswith(b"\r") else b""
        self.seen += shown.removesuffix(self._rest).decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)


@contextmanager
def terminal(*arguments: str) -> Iterator[Terminal]:
    """Python with these arguments at a new terminal. Windows has none that a program can stand behind."""
    pty = pytest.importorskip("pty", reason="there are no terminals of POSIX here")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _START, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(slave)
    screen = Terminal(process, master)
    try:
        yield screen
    finally:
        process.kill()
        process.wait()
        screen.close()
