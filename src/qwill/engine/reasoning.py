"""Where an answer's reasoning begins and ends, read from its tokens as the router reads its text."""

from collections.abc import Sequence
from enum import Enum, auto

from qwill.text.tokenizer import Tokenizer

OPENING, CLOSING = b"<think>", b"</think>"
GAP = "\n\n"  # what the chat format puts between reasoning and content


class Part(Enum):
    """The part of the answer that the next token belongs to."""

    BEGINNING = auto()
    REASONING = auto()
    CONTENT = auto()


class Reasoning:
    """Follows one answer. `part` is that of the next token, `count` the number of tokens of reasoning so far."""

    def __init__(self, tokenizer: Tokenizer, part: Part) -> None:
        """`part`: REASONING when the prompt ended inside an opened `<think>`; BEGINNING when the answer may open it."""
        self._tokenizer = tokenizer
        self._text = b""  # of the beginning, or the end of the reasoning that may begin a `</think>`
        self.part = part
        self.count = 0

    def add(self, token: int) -> None:
        """Takes the next token."""
        if self.part is Part.CONTENT:
            return
        shown = token not in self._tokenizer.special_ids
        self._text += self._tokenizer.token_bytes(token) if shown else b""
        if self.part is Part.BEGINNING:
            self._begin()
            return
        if CLOSING in self._text:
            self.part = Part.CONTENT
            return
        self.count += 1
        self._text = self._text[1 - len(CLOSING) :]

    @property
    def closing_begun(self) -> int:
        """How many bytes of a `</think>` the reasoning ends with."""
        lengths = range(len(CLOSING) - 1, 0, -1)
        return next((length for length in lengths if self._text.endswith(CLOSING[:length])), 0)

    @property
    def at_line_start(self) -> bool:
        """Whether the reasoning ends with a newline of its own."""
        return self._text.endswith(b"\n")

    def _begin(self) -> None:
        text = self._text.lstrip()
        if text.startswith(OPENING):
            self.part, self._text = Part.REASONING, text[len(OPENING) :]
        elif not OPENING.startswith(text):
            self.part = Part.CONTENT


def opened(tokenizer: Tokenizer, token_ids: Sequence[int]) -> bool:
    """Whether a prompt of `token_ids` ends inside reasoning: its last `<think>` is not closed."""
    tags = {tokenizer.added_tokens.get(tag.decode()): tag is OPENING for tag in (OPENING, CLOSING)}
    tags.pop(None, None)
    return next((tags[token] for token in reversed(token_ids) if token in tags), False)
