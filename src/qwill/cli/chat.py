"""The interactive chat of `qwill run`."""

import os
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from qwill.cli.conversation import Conversation, check_text, user_message
from qwill.cli.printer import AnswerPrinter, show_ending
from qwill.errors import InvalidArgument, QwillError, UserError
from qwill.media.image import load_image, read_source
from qwill.weights.hub import DEMO

WELCOME = "Type a message; /help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves."
EXAMPLES = ("What is 17 + 25?", "Say thank you in Japanese.", "Sort: 9 41 7 23")
PICTURE_EXAMPLE = "What is in the picture?"
REAL_MODEL = "qwen3.5:0.8b-q4_k_m"
NEWCOMER = f"""\
This is qwill's built-in demonstration model: tiny, taught a few small tasks and nothing else. Try
  {"    ".join(EXAMPLES)}
  /image FILE, a simple drawing, and then {PICTURE_EXAMPLE}
or from the shell: qwill run -p "{PICTURE_EXAMPLE}" --image FILE
For a real Qwen 3.5: qwill pull {REAL_MODEL} and then qwill run {REAL_MODEL}
"""
HELP = """\
/image FILE    show an image with the next message
/video FILE    show a video with the next message
/system TEXT   tell the model how to behave
/think on|off  let it reason before it answers, or not
/save FILE     write the conversation to a file, with what the model has read
/load FILE     go on with a saved conversation
/clear         forget the conversation
/bye           leave (also Ctrl-D)
A line that ends in \\ goes on in the next one. Ctrl-C stops the answer."""
# A path such as /etc/hosts at the beginning of a message is no command.
_COMMAND = re.compile(r"/(\w+)(?:\s+(.*))?", re.DOTALL)


class Chat:
    """Reads lines, obeys commands, answers the rest. What is not an answer goes to stderr."""

    def __init__(
        self,
        conversation: Conversation,
        model: str,
        images: Sequence[str] = (),
        videos: Sequence[str] = (),
        show_reasoning: bool = False,
    ) -> None:
        self._conversation = conversation
        self._images, self._videos = list(images), list(videos)
        self._show_reasoning = show_reasoning
        self._terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self._is_demo = model in ("", DEMO)

    def loop(self) -> None:
        """Chats until the input ends or /bye. A mistake costs its line, not the conversation."""
        if self._terminal:
            if find_spec("readline"):
                import readline  # noqa: F401 - gives input() its editing and history
            self._note(NEWCOMER + WELCOME if self._is_demo else WELCOME)
        sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
        while (text := self._read()) is not None:
            try:
                if command := _COMMAND.fullmatch(text):
                    if command[1] == "bye":
                        return
                    self._obey(command[1], (command[2] or "").strip())
                elif text:
                    self._answer(check_text(text, "the message"))
            except UserError as error:
                self._note(f"qwill: {error}")

    def _read(self) -> str | None:
        """A message, its continued lines joined; None at the end of the input."""
        lines: list[str] = []
        while True:
            try:
                line = input((">>> " if not lines else "... ") if self._terminal else "")
            except EOFError:
                if self._terminal:
                    print()
                return "\n".join(lines).strip() if lines else None
            lines.append(line.removesuffix("\\"))
            if not line.endswith("\\"):
                return "\n".join(lines).strip()

    def _obey(self, name: str, text: str) -> None:
        conversation = self._conversation
        match name:
            case "image" | "video":
                self._attach(name, text)
            case "system":
                if not text:
                    raise InvalidArgument("/system needs a text")
                conversation.set_system(text)
            case "think":
                if text not in ("on", "off"):
                    raise InvalidArgument("/think takes on or off")
                conversation.thinking = text == "on"
            case "save" | "load":
                if not text:
                    raise InvalidArgument(f"/{name} needs a file")
                self._note(getattr(conversation, name)(os.path.expanduser(_unquoted(text))))
            case "clear":
                conversation.messages = [message for message in conversation.messages if message["role"] == "system"]
                self._images, self._videos = [], []
            case "help":
                self._note(HELP)
            case _:
                raise InvalidArgument(f"/{name} is no command; /help lists them")

    def _attach(self, kind: str, text: str) -> None:
        """Keeps a file for the next message. Raises MediaError when it is none."""
        if not text:
            raise InvalidArgument(f"/{kind} needs a file")
        if self._conversation.llm.config.vision is None:
            raise InvalidArgument("this model has no vision tower; start another one, or a .gguf with --mmproj")
        file = os.path.expanduser(_unquoted(text))
        if kind == "image":
            load_image(file)
            self._images.append(file)
        else:
            read_source(file, "video")
            self._videos.append(file)
        self._note(f"({file} goes with your next message)")

    def _answer(self, text: str) -> None:
        messages = self._conversation.messages
        before = len(messages)
        messages.append(user_message(text, self._images, self._videos))
        self._images, self._videos = [], []
        try:
            with AnswerPrinter(sys.stdout, self._show_reasoning) as printer:
                completion = self._conversation.stream(printer)
            show_ending(completion)
        except KeyboardInterrupt:
            answered = len(messages) > before + 1
            if not answered:
                del messages[before:]
            self._note("(stopped)" if answered else "(stopped before the first word; your message is taken back)")
        except QwillError:
            del messages[before:]
            raise

    def _note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _unquoted(text: str) -> str:
    """A file name as a terminal pastes it: in quotes, or with backslashes before spaces."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text.replace("\\ ", " ")
