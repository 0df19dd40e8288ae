"""What a person types or pastes, a message at a time; of a pipe its lines.

A pasted text of several lines is one message. Terminals mark pastes for programs that ask for it ("bracketed paste"),
and GNU readline gathers what lies between the marks into one line. Elsewhere (libedit, Windows, a terminal without
marks) the lines that wait when one has been read came with it: nobody types so fast.
"""

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Self

from qwill.cli.printer import CONTROLS
from qwill.system.signals import woken
from qwill.system.streams import read_utf8
from qwill.system.terminal import Modes, hide_typing, line_editor, more_waits, show_typing

if TYPE_CHECKING:
    from qwill.cli.typed_ahead import TypedAhead

PROMPT, GOES_ON = ">>> ", "... "
PASTE_SECONDS = 0.02  # between the lines of a paste, at most
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
        self._marked = self._libedit = self._ended = False
        self._editor: ModuleType | None = None
        self._modes: Modes | None = None  # of the terminal, while what is typed is kept
        self._ahead: TypedAhead | None = None
        self._whole: list[str] = []  # messages that were pasted while nobody read
        self._begun = ""

    def __enter__(self) -> Self:
        if self.terminal and (editor := line_editor()):
            self._editor = editor
            self._libedit = "libedit" in (editor.__doc__ or "")
            if not self._libedit:
                # Python turns its setting off. Prompts ask for marks, which then come while the model answers, too.
                editor.parse_and_bind(r'"\e[200~": bracketed-paste-begin')
                self._marked = os.environ.get("TERM", "dumb") != "dumb"
        read_utf8(sys.stdin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show_typing()
        if self._marked:
            print(_LEAVE_PASTES, end="", flush=True)

    def message(self) -> str | None:
        """The next message, without blank lines around it; None at the end of the input. Raises KeyboardInterrupt."""
        self._collect()
        if self._whole:
            print(f"{PROMPT}{self._whole[0].translate(CONTROLS)}")
            return _trimmed(self._whole.pop(0))
        lines: list[str] = []
        # Pastes have marks even when the model answers: without them these lines were typed, each a message.
        typed_ahead = self._marked and more_waits(0)
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
            if not self.terminal or alone or not more_waits(PASTE_SECONDS):
                break
        if not lines:
            self._ended = False  # a terminal can be read again
            return None
        return _trimmed("\n".join(lines))

    def answer(self, question: str) -> str | None:
        """One line, in answer to a question that is asked at a terminal; None at the end of the input."""
        try:
            return self._line(question, offer=False).strip()
        except EOFError:
            print()
            return None

    def typed(self) -> bool:
        """Whether there was anything on the line that Ctrl-C has cleared."""
        return self._editor is not None and bool(self._editor.get_line_buffer())

    def _line(self, prompt: str, offer: bool = True) -> str:
        if not self.terminal:
            return input()
        self._show_typing()
        self._begin(self._begun if offer else "")
        try:
            # libedit takes the second interruption of its waiting for the end of the input.
            with nullcontext() if self._libedit else woken():
                return input(prompt + _MARK_PASTES * self._marked)
        finally:
            self._keep_typing()

    def _keep_typing(self) -> None:
        if self._modes is not None or self._editor is None:  # without an editor the terminal must gather lines itself
            return
        self._modes = hide_typing()
        if self._modes is None:
            return
        if self._ahead is None:
            from qwill.cli.typed_ahead import TypedAhead

            self._ahead = TypedAhead()
        self._ahead.start()

    def _show_typing(self) -> None:
        if self._modes is not None:
            self._collect()
            show_typing(self._modes)
            self._modes = None

    def _collect(self) -> None:
        """Takes over what was more than the terminal keeps."""
        if self._ahead is not None:
            whole, begun = self._ahead.stop()
            self._whole, self._begun = self._whole + whole, self._begun + begun

    def _begin(self, text: str) -> None:
        """Puts a text on the next line, to be gone on with."""
        editor = self._editor
        if editor is not None:
            editor.set_startup_hook((lambda: editor.insert_text(text)) if text else None)
            self._begun = self._begun.removeprefix(text)


def _trimmed(text: str) -> str:
    """Without blank lines around it, and of one line without blanks."""
    text = text.strip("\r\n")
    return text.rstrip() if text.strip().count("\n") else text.strip()
