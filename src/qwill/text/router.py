"""Splits the answer's text, as it streams, into reasoning, content and tool calls.

How the text is cut into pieces never changes the outcome. Newlines that the chat format puts around the parts belong to
none of them. Nothing else is lost: what looks like a tool call and is none is handed on as text.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qwill.text.parsers.qwen import OPENING, Status, ToolCallScanner, coerce_arguments, parameter_schemas

Kind = Literal["reasoning", "content", "tool_call"]

_THINK = "<think>"
_END_THINK = "</think>"


@dataclass(frozen=True)
class ToolCallDelta:
    """One whole call: its place in the answer, the function's name, and arguments coerced to the types of its
    schema."""

    index: int
    name: str
    arguments: dict[str, Any]

    @property
    def arguments_json(self) -> str:
        """The arguments as the JSON text that the OpenAI form wants."""
        return json.dumps(self.arguments, ensure_ascii=False)


@dataclass(frozen=True)
class Delta:
    """The next piece of an answer: text of the given kind, or a tool call."""

    kind: Kind
    text: str = ""
    tool_call: ToolCallDelta | None = None


class Router:
    """Feed it the detokenized answer. `thinking` says that the prompt ended with an open `<think>`.

    Tool calls are looked for only when `tools` were given. Inside the reasoning a call counts only if it names one of
    them, since there the model may just as well be musing about the syntax, or with `calls_in_reasoning` false not at
    all.
    """

    def __init__(
        self, thinking: bool, tools: Sequence[Mapping[str, Any]] | None = None, calls_in_reasoning: bool = True
    ) -> None:
        self._schemas = parameter_schemas(tools or [])
        self._calls_in_reasoning = calls_in_reasoning
        self._kind: Literal["reasoning", "content"] = "reasoning" if thinking else "content"
        self._buffer = ""
        self._begun = False
        self._scanner: ToolCallScanner | None = None
        self._calls = 0
        # Newlines are held back until it is known whether they stand inside a part or at its edge.
        self._newlines = ""
        self._at_edge = True

    def feed(self, text: str) -> list[Delta]:
        """Take the next text; return what it settles."""
        deltas: list[Delta] = []
        self._buffer += text
        while self._step(deltas):
            pass
        return deltas

    def finish(self) -> list[Delta]:
        """The end of the answer: return all that was held back."""
        deltas: list[Delta] = []
        while self._scanner is not None or self._buffer:
            if self._scanner is None:
                self._begun = True
                self._write(self._take(len(self._buffer)), deltas)
            elif self._scanner.lacks_only_closing and self._is_call(self._scanner):
                self._call(self._scanner, deltas)
                self._scanner = None
            else:
                self._reject(self._scanner, deltas)
                while self._step(deltas):
                    pass
        if self._newlines and not self._at_edge:
            deltas.append(Delta(self._kind, self._newlines))
        self._newlines = ""
        return deltas

    def _step(self, deltas: list[Delta]) -> bool:
        """Settle a stretch of the buffer; False when more text is needed."""
        if not self._begun:
            return self._begin()
        if self._scanner is not None:
            return self._scan(self._scanner, deltas)
        calls = self._schemas and (self._calls_in_reasoning or self._kind == "content")
        tags = ([_END_THINK] if self._kind == "reasoning" else []) + ([OPENING] if calls else [])
        found = [(position, tag) for tag in tags if (position := self._buffer.find(tag)) >= 0]
        if not found:
            self._write(self._take(len(self._buffer) - _open_end(self._buffer, tags)), deltas)
            return False
        position, tag = min(found)
        self._write(self._take(position), deltas)
        self._take(len(tag))
        if tag == OPENING:
            self._scanner = ToolCallScanner()
        else:
            self._turn_to("content")
        return True

    def _begin(self) -> bool:
        """A `<think>` that opens the answer, whether or not the prompt had one already, belongs to the format."""
        text = self._buffer.lstrip()
        if text.startswith(_THINK):
            self._buffer = text[len(_THINK) :]
            self._kind = "reasoning"
        elif _THINK.startswith(text):
            return False
        self._begun = True
        return True

    def _scan(self, scanner: ToolCallScanner, deltas: list[Delta]) -> bool:
        status = scanner.feed(self._take(len(self._buffer)))
        if status is Status.UNFINISHED and (not scanner.name or self._is_call(scanner)):
            return False
        if status is Status.COMPLETE and self._is_call(scanner):
            self._call(scanner, deltas)
            self._buffer = scanner.rest
            self._scanner = None
        else:
            self._reject(scanner, deltas)
        return True

    def _is_call(self, scanner: ToolCallScanner) -> bool:
        return self._kind == "content" or scanner.name in self._schemas

    def _call(self, scanner: ToolCallScanner, deltas: list[Delta]) -> None:
        arguments = coerce_arguments(scanner.parameters, self._schemas.get(scanner.name, {}))
        deltas.append(Delta("tool_call", tool_call=ToolCallDelta(self._calls, scanner.name, arguments)))
        self._calls += 1
        self._turn_to(self._kind)

    def _reject(self, scanner: ToolCallScanner, deltas: list[Delta]) -> None:
        """Hand the opening tag on as text and look at the rest anew: a real call may stand there."""
        self._write(OPENING, deltas)
        self._buffer = scanner.text + self._buffer
        self._scanner = None

    def _turn_to(self, kind: Literal["reasoning", "content"]) -> None:
        self._kind, self._newlines, self._at_edge = kind, "", True

    def _write(self, text: str, deltas: list[Delta]) -> None:
        if self._at_edge:
            text = text.lstrip("\n")
        if not text:
            return
        body = text.rstrip("\n")
        if body:
            deltas.append(Delta(self._kind, self._newlines + body))
            self._newlines, self._at_edge = "", False
        self._newlines += text[len(body) :]

    def _take(self, length: int) -> str:
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken


def _open_end(text: str, tags: Sequence[str]) -> int:
    """Length of the longest end of `text` that may begin one of `tags`."""
    for length in range(min(len(text), max(map(len, tags), default=1) - 1), 0, -1):
        if any(tag.startswith(text[-length:]) for tag in tags):
            return length
    return 0
