"""The interactive chat of `qwill run`."""

import os
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches

from qwill.cli.conversation import Conversation, check_text, user_message
from qwill.cli.lines import Lines
from qwill.cli.printer import AnswerPrinter, show_ending
from qwill.errors import InvalidArgument, QwillError, UserError
from qwill.media.image import load_image, read_source
from qwill.weights.hub.cache import DEMO

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
/bye           leave (also /exit, /quit, Ctrl-D)
A pasted text of several lines is one message. A line that ends in \\ goes on in the next one.
Ctrl-C stops the answer; at the prompt it clears the line."""
HOW_TO_LEAVE = "(Ctrl-D or /bye leaves, and so does another Ctrl-C)"
LEAVING = ("bye", "exit", "quit")
NAMES = ("image", "video", "system", "think", "save", "load", "clear", "help", *LEAVING)
# A path such as /etc/hosts at the beginning of a message is no command.
_COMMAND = re.compile(r"/(\w+|\?)(?:\s+(.*))?", re.DOTALL)


class Chat:
    """Reads messages, obeys commands, answers the rest. What is not an answer goes to stderr."""

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
        self._lines = Lines(lambda line: _command(line)[0] in NAMES)
        self._is_demo = model in ("", DEMO)
        self._file = ""  # where the conversation was saved or loaded last
        self._unsaved = False

    def loop(self) -> None:
        """Chats until the input ends or /bye. A mistake costs its line, not the conversation.

        Raises KeyboardInterrupt for whoever leaves by Ctrl-C.
        """
        leaving = False  # Ctrl-C was the last key
        with self._lines:
            if self._lines.terminal:
                self._note(NEWCOMER + WELCOME if self._is_demo else WELCOME)
            while True:
                try:
                    text = self._lines.message()
                    leaving = False
                    name, argument = (LEAVING[0], "") if text is None else _command(text)
                    if name in LEAVING:
                        if self._may_lose("leave"):
                            return
                    elif name:
                        self._obey(name, argument)
                    elif text:
                        self._answer(check_text(text, "the message"))
                except UserError as error:
                    self._note(f"qwill: {error}")
                except KeyboardInterrupt:
                    if not self._lines.terminal or (leaving and not self._lines.typed() and self._may_lose("leave")):
                        raise
                    leaving = True
                    self._note(f"\n{HOW_TO_LEAVE}")

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
                self._keep(name, os.path.expanduser(_unquoted(text)))
            case "clear":
                if self._may_lose("clear"):
                    conversation.messages = [each for each in conversation.messages if each["role"] == "system"]
                    self._images, self._videos = [], []
                    self._unsaved = False
            case "help" | "?":
                self._note(HELP)
            case _:
                near = get_close_matches(name, NAMES, 1)
                meant = f"did you mean /{near[0]}? " if near else ""
                raise InvalidArgument(f"/{name} is no command; {meant}/help lists them")

    def _keep(self, name: str, file: str) -> None:
        """Saves or loads. Asks before anything is lost."""
        if name == "load":
            if not self._may_lose("load"):
                return
            self._note(self._conversation.load(file))
        else:
            known = os.path.realpath(file) == self._file or not os.path.lexists(file)
            if not known and not self._agreed(f"{file} is there already. Write over it? y or n: "):
                return
            self._note(self._conversation.save(file))
        self._file, self._unsaved = os.path.realpath(file), False

    def _may_lose(self, doing: str) -> bool:
        """Whether the conversation may go: it is saved, or whoever sits at the terminal says so, or saves it now."""
        if not self._unsaved:
            return True
        return self._agreed(f"The conversation is not saved; {doing} anyway? y, n or /save FILE: ")

    def _agreed(self, question: str) -> bool:
        """Enter and the end of the input agree, and so does leaving again; in a pipe nobody is asked."""
        while self._lines.terminal and (reply := self._lines.answer(question)) is not None:
            name, argument = _command(reply)
            if name == "save":
                self._obey(name, argument)
                return not self._unsaved
            if reply.lower() in ("", "y", "yes") or (name in LEAVING and "leave" in question):
                return True
            if reply.lower() in ("n", "no"):
                return False
        return True

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
        attached = self._images, self._videos
        messages.append(user_message(text, *attached))
        self._images, self._videos = [], []
        try:
            with AnswerPrinter(sys.stdout, self._show_reasoning) as printer:
                completion = self._conversation.stream(printer)
            show_ending(completion)
        except KeyboardInterrupt:
            if len(messages) > before + 1:
                self._note("(stopped)")
            else:
                del messages[before:]
                self._images, self._videos = attached
                with_it = ", what was to go with it is kept for the next one" * any(attached)
                self._note(f"(stopped before the first word; your message is taken back{with_it})")
        except QwillError:
            del messages[before:]
            raise
        finally:
            self._unsaved = self._unsaved or len(messages) > before

    def _note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _command(text: str) -> tuple[str, str]:
    """A command's name and what follows it; no name where the text is a message.

    Of several lines, which are a pasted text or a path in one, only a system message is made of.
    """
    match = _COMMAND.fullmatch(text)
    if match is None or ("\n" in text and match[1].lower() != "system"):
        return "", ""
    return match[1].lower(), (match[2] or "").strip()


def _unquoted(text: str) -> str:
    """A file name as a terminal pastes it: in quotes, or with backslashes before spaces."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text.replace("\\ ", " ")
