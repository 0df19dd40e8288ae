"""Splits the answer's text, as it streams, into reasoning, content and tool calls.

How the text is cut into pieces never changes the outcome. Newlines that the chat format puts around the parts belong to
none of them. Nothing else is lost: what looks like a tool call and is none is handed on as text.

Calls that are written slightly wrong are mended where nothing else can be meant: in the content, of a function that
there is, at the beginning of a line and not in a block of quoted code. Elsewhere only well-formed calls are calls.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from qwill.text.parsers.arguments import coerce_arguments, parameter_schemas, stays_text
from qwill.text.parsers.qwen import FUNCTION, OPENING, Status, ToolCallScanner
from qwill.text.quoting import Quoting

Kind = Literal["reasoning", "content", "tool_call_piece", "tool_call"]

_THINK = "<think>"
_END_THINK = "</think>"
# So much of a tag that an answer's limit cuts off is the tag, and no text.
_CERTAIN = len("<tool_")


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
class ToolCallPiece:
    """What is known of a call that is still being written: `text` goes on with the JSON of its arguments, one argument
    at a time. All pieces of a call together are its `arguments_json`, but for arguments that come twice: they do there,
    too."""

    index: int
    name: str
    text: str
    first: bool


@dataclass(frozen=True)
class CutCall:
    """A call that the limit on an answer's tokens cut off. `arguments` are those that came whole; `text` is all that
    came of their JSON, which lacks its end."""

    name: str
    arguments: dict[str, Any]
    text: str


@dataclass(frozen=True)
class Delta:
    """The next piece of an answer: text of the given kind, a piece of a tool call, or a whole one after its pieces.

    A call that is cut off may have pieces and never comes whole; what turns out to be none has no pieces, and comes as
    text. `end`: where in all that the router was fed a text, which stands there as it is, ends.
    """

    kind: Kind
    text: str = ""
    tool_call: ToolCallDelta | None = None
    piece: ToolCallPiece | None = None
    end: int = field(default=0, compare=False)


class Router:
    """Feed it the detokenized answer. `thinking` says that the prompt ended with an open `<think>`.

    Tool calls are looked for only when `tools` were given. Inside the reasoning a call counts only if it names one of
    them, since there the model may just as well be musing about the syntax, or with `calls_in_reasoning` false not at
    all.
    """

    def __init__(
        self,
        thinking: bool,
        tools: Sequence[Mapping[str, Any]] | None = None,
        calls_in_reasoning: bool = True,
        goes_on: bool = False,
    ) -> None:
        """`goes_on`: the prompt ended inside a part, whose next characters are all its own."""
        self._schemas = parameter_schemas(tools or [])
        self._calls_in_reasoning = calls_in_reasoning
        self._kind: Literal["reasoning", "content"] = "reasoning" if thinking else "content"
        self._buffer = ""
        self._fed = 0
        self._begun = goes_on
        self._scanner: ToolCallScanner | None = None
        self._bare = False  # the call that is being read lacks its `<tool_call>`
        self._quoting = Quoting(not goes_on)
        self._spurned = False  # a `<tool_call>` that begins no call stands before what comes next
        self._calls = 0
        self._told = 0  # how many arguments of the call that is being read pieces have
        self._told_text = ""  # those pieces
        self.cut_call: CutCall | None = None
        # Newlines are held back until it is known whether they stand inside a part or at its edge. Content that no call
        # can follow has no edge but its beginning.
        self._newlines = ""
        self._at_edge = not goes_on

    @property
    def reasoning(self) -> bool:
        """Whether the next text belongs to the reasoning, as far as is known."""
        return self._kind == "reasoning"

    def feed(self, text: str) -> list[Delta]:
        """Take the next text; return what it settles."""
        deltas: list[Delta] = []
        self._buffer += text
        self._fed += len(text)
        while self._step(deltas):
            pass
        return deltas

    def finish(self, cut_off: bool = False) -> list[Delta]:
        """The end of the answer: return all that was held back.

        `cut_off`: it was not to end here. Then a call of one of the tools that has begun is `cut_call`, and of one
        that has no name yet nothing is told.
        """
        deltas: list[Delta] = []
        while self._scanner is not None or self._buffer:
            if self._scanner is not None:
                self._end_scan(self._scanner, cut_off, deltas)
            elif cut_off and OPENING.startswith(self._buffer) and len(self._buffer) >= _CERTAIN and self._reads_calls:
                self._drop()
            else:
                self._begun = True
                self._write(self._take(len(self._buffer)), deltas)
        if self._newlines and not self._at_edge:
            deltas.append(Delta(self._kind, self._newlines, end=self._position))
        self._newlines = ""
        return deltas

    def _step(self, deltas: list[Delta]) -> bool:
        """Settle a stretch of the buffer; False when more text is needed."""
        if not self._begun:
            return self._begin()
        if self._scanner is not None:
            return self._scan(self._scanner, deltas)
        tags = [_END_THINK] if self._kind == "reasoning" else []
        if self._reads_calls:
            tags += [OPENING, FUNCTION] if self._kind == "content" else [OPENING]
        found = [(position, tag) for tag in tags if (position := self._buffer.find(tag)) >= 0]
        if not found:
            self._write(self._take(len(self._buffer) - _open_end(self._buffer, tags)), deltas)
            return False
        position, tag = min(found)
        self._write(self._take(position), deltas)
        if tag == _END_THINK:
            self._take(len(tag))
            self._turn_to("content")
            return True
        mends = self._kind == "content" and self._quoting.at_line_start
        if tag == FUNCTION and (self._spurned or not mends):
            self._write(self._take(len(tag)), deltas)
            return True
        self._bare = tag == FUNCTION
        if not self._bare:
            self._take(len(tag))
        self._scanner = ToolCallScanner(self._schemas if mends else None, self._bare)
        return True

    @property
    def _reads_calls(self) -> bool:
        return bool(self._schemas) and (self._calls_in_reasoning or self._kind == "content")

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
        self._tell(scanner, deltas)
        if status is Status.UNFINISHED and (not scanner.name or self._is_call(scanner)):
            return False
        if status is Status.COMPLETE and self._is_call(scanner):
            self._call(scanner, deltas)
            self._buffer = scanner.rest
            self._scanner = None
        else:
            self._reject(scanner, deltas)
        return True

    def _end_scan(self, scanner: ToolCallScanner, cut_off: bool, deltas: list[Delta]) -> None:
        """The answer ends in the midst of what may be a call."""
        complete = scanner.lacks_only_closing if cut_off else scanner.end()
        if complete and self._is_call(scanner):
            self._call(scanner, deltas)
            self._buffer = "" if cut_off else scanner.rest
            self._scanner = None
        elif cut_off and not self._bare and scanner.cut(self._schemas):
            self._drop()
        elif cut_off and not self._bare and scanner.name in self._schemas:
            self._cut(scanner, deltas)
            self._drop()
        else:
            self._reject(scanner, deltas)
        while self._step(deltas):
            pass

    def _drop(self) -> None:
        """Nothing more is told."""
        self._scanner, self._buffer, self._newlines = None, "", ""

    def _is_call(self, scanner: ToolCallScanner) -> bool:
        return self._kind == "content" or scanner.name in self._schemas

    def _tell(self, scanner: ToolCallScanner, deltas: list[Delta]) -> None:
        """Hand on the arguments that are complete, of what cannot turn out to be no call."""
        if scanner.mends:
            self._tell_pairs(scanner, scanner.sure, deltas)

    def _tell_pairs(self, scanner: ToolCallScanner, count: int, deltas: list[Delta]) -> None:
        for key, value in scanner.pairs[self._told : count]:
            argument = coerce_arguments({key: value}, self._schemas[scanner.name])
            text = json.dumps(argument, ensure_ascii=False)[1:-1]
            self._piece(scanner, (", " if self._told else "{") + text, deltas)
            self._told += 1

    def _piece(self, scanner: ToolCallScanner, text: str, deltas: list[Delta]) -> None:
        piece = ToolCallPiece(self._calls, scanner.name, text, first=self._told == 0)
        deltas.append(Delta("tool_call_piece", piece=piece))
        self._told_text += text

    def _call(self, scanner: ToolCallScanner, deltas: list[Delta]) -> None:
        arguments = scanner.arguments(self._schemas.get(scanner.name, {}))
        call = ToolCallDelta(self._calls, scanner.name, arguments)
        if scanner.mends:
            self._tell_pairs(scanner, len(scanner.pairs), deltas)
        self._piece(scanner, "}" if self._told else call.arguments_json, deltas)
        deltas.append(Delta("tool_call", tool_call=call))
        self._calls += 1
        self._told, self._told_text = 0, ""
        self._turn_to(self._kind)

    def _cut(self, scanner: ToolCallScanner, deltas: list[Delta]) -> None:
        """Hand on what came of the argument that is cut off: a text without its closing quote, never another value,
        which might look whole. So the JSON has no end whatever the model wrote."""
        schema = self._schemas[scanner.name]
        self._tell_pairs(scanner, len(scanner.pairs), deltas)
        rest = "" if self._told else "{"
        if scanner.begun is not None and stays_text(scanner.begun[0], schema):
            rest = (", " if self._told else "{") + json.dumps(dict([scanner.begun]), ensure_ascii=False)[1:-2]
        if rest:
            self._piece(scanner, rest, deltas)
        self.cut_call = CutCall(scanner.name, scanner.arguments(schema), self._told_text)

    def _reject(self, scanner: ToolCallScanner, deltas: list[Delta]) -> None:
        """Hand the opening tag on as text and look at the rest anew: a real call may stand there."""
        self._scanner = None
        self._buffer = scanner.text + self._buffer
        self._write(self._take(len(FUNCTION)) if self._bare else OPENING, deltas)
        self._spurned = not self._bare

    def _turn_to(self, kind: Literal["reasoning", "content"]) -> None:
        self._kind, self._newlines, self._at_edge = kind, "", True
        self._quoting.begin_line()
        self._spurned = False

    def _write(self, text: str, deltas: list[Delta]) -> None:
        """Hand on what was taken last."""
        if self._kind == "content":
            self._quoting.add(text)
            self._spurned = self._spurned and not text.strip()
        if self._at_edge:
            text = text.lstrip("\n")
        if not text:
            return
        body = text.rstrip("\n") if self._schemas or self._kind == "reasoning" else text
        if body:
            end = self._position - (len(text) - len(body))
            deltas.append(Delta(self._kind, self._newlines + body, end=end))
            self._newlines, self._at_edge = "", False
        self._newlines += text[len(body) :]

    @property
    def _position(self) -> int:
        """How much was taken so far."""
        return self._fed - len(self._buffer)

    def _take(self, length: int) -> str:
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken


def _open_end(text: str, tags: Sequence[str]) -> int:
    """Length of the longest end of `text` that may begin one of `tags`."""
    for length in range(min(len(text), max(map(len, tags), default=1) - 1), 0, -1):
        if any(tag.startswith(text[-length:]) for tag in tags):
            return length
    return 0
