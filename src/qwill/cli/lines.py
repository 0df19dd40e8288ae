"""What a person types or pastes, a message at a time; of a pipe its lines.

A pasted text of several lines is one message. Terminals mark pastes for programs that ask for it ("bracketed paste"),
and GNU readline gathers what lies between the marks into one line. Elsewhere (libedit, Windows, a terminal without
marks) the lines that wait when one has been read came with it: nobody types so fast.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self

PROMPT, GOES_ON = ">>> ", "... "
PASTE_SECONDS = 0.02  # between the lines of a paste, at most
WAKE_SECONDS = 0.1
# In a prompt, between the signs for what takes no room on the line.
_MARK_PASTES, _LEAVE_PASTES = "\x01\x1b[?2004h\x02", "\x1b[?2004l"


class Lines:
    """Reads messages from stdin while it is entered. `stands_alone` tells lines that no others belong to: commands.

    Between two prompts of a terminal what is typed is kept unseen for the next one, so that it does not run into an
    answer, and whole: a terminal that gathers lines itself cuts them after 4095 bytes.
    """

    def __init__(self, stands_alone: Callable[[str], bool]) -> None:
        self.terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self._stands_alone = stands_alone
        self._marked = self._edited = self._ended = False
        self._modes: list[Any] | None = None  # of the terminal, while what is typed is kept

    def __enter__(self) -> Self:
        if self.terminal and find_spec("readline"):
            import readline  # gives input() its editing and history

            self._edited = True
            if "libedit" not in (readline.__doc__ or ""):
                # Python turns its setting off. Prompts ask for marks, which then come while the model answers, too.
                readline.parse_and_bind(r'"\e[200~": bracketed-paste-begin')
                self._marked = os.environ.get("TERM", "dumb") != "dumb"
        # So that bytes that are not UTF-8 cost their message and not the conversation.
        sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show_typing()
        if self._marked:
            print(_LEAVE_PASTES, end="", flush=True)

    def message(self) -> str | None:
        """The next message, without blank lines around it; None at the end of the input. Raises KeyboardInterrupt."""
        lines: list[str] = []
        # Pastes have marks even when the model answers: without them these lines were typed, each a message.
        typed_ahead = self._marked and self._waits(0)
        while not self._ended:
            try:
                line = self._line(GOES_ON if lines else PROMPT)
            except EOFError:
                self._ended = True
                if self.terminal:
                    print()
                break
            lines.append(line.removesuffix("\\"))
            if line.endswith("\\"):
                continue
            alone = typed_ahead or (len(lines) == 1 and self._stands_alone(line.strip()))
            if not self.terminal or alone or not self._waits(PASTE_SECONDS):
                break
        if not lines:
            self._ended = False  # a terminal can be read again
            return None
        text = "\n".join(lines).strip("\r\n")
        return text.rstrip() if text.strip().count("\n") else text.strip()

    def answer(self, question: str) -> str | None:
        """One line, in answer to a question that is asked at a terminal; None at the end of the input."""
        try:
            return self._line(question).strip()
        except EOFError:
            print()
            return None

    def typed(self) -> bool:
        """Whether there was anything on the line that Ctrl-C has cleared."""
        if not self._edited:
            return False
        import readline

        return bool(readline.get_line_buffer())

    def _line(self, prompt: str) -> str:
        if not self.terminal:
            return input()
        self._show_typing()
        try:
            with _woken():
                return input(prompt + _MARK_PASTES * self._marked)
        finally:
            self._keep_typing()

    def _waits(self, seconds: float) -> bool:
        """Whether there is more to read by then."""
        if sys.platform == "win32":  # pragma: no cover
            import msvcrt

            time.sleep(seconds)
            return msvcrt.kbhit()
        return bool(select.select([sys.stdin], [], [], seconds)[0])

    def _keep_typing(self) -> None:
        if self._modes is not None or not self._edited:  # without an editor the terminal must gather lines itself
            return
        import termios

        self._modes = termios.tcgetattr(sys.stdin)
        modes = termios.tcgetattr(sys.stdin)
        # Ctrl-C stays a signal, and throws away nothing of what was typed.
        modes[3] = modes[3] & ~(termios.ICANON | termios.ECHO) | termios.NOFLSH
        modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
        termios.tcsetattr(sys.stdin, termios.TCSANOW, modes)

    def _show_typing(self) -> None:
        if self._modes is None:
            return
        import termios

        termios.tcsetattr(sys.stdin, termios.TCSANOW, self._modes)
        self._modes = None


@contextmanager
def _woken() -> Iterator[None]:
    """Interrupts what waits inside again and again: input() misses a Ctrl-C that comes just before it waits."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, lambda _number, _frame: None)
    signal.setitimer(signal.ITIMER_REAL, WAKE_SECONDS, WAKE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
