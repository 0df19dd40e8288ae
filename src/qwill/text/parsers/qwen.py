"""The tool-call syntax of Qwen 3.5:

    <tool_call>
    <function=NAME>
    <parameter=KEY>
    value, on any number of lines
    </parameter>
    </function>
    </tool_call>

A value is whatever stands before a `</parameter>` that another parameter or the function's end follows; one newline on
each side belongs to the syntax. Values are text; the schema of the function's parameters says what to make of them.

Models make mistakes in it. A call that is well-formed is read by these rules alone, whatever its values hold. Where it
cannot be well-formed any more, and is one of the functions that are mended, what is still clear is read: closing tags
that are missing, come twice or have another name, names in quotes or without their bracket, and the older syntax of the
family, `{"name": NAME, "arguments": {...}}` inside `<tool_call>`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from qwill.text.parsers.arguments import (
    MAX_SCHEMA_DEPTH,
    allowed_types,
    coerce_arguments,
    fitted_arguments,
    function_of,
    misfits,
    parameter_schemas,
    properties_of,
    required_of,
    resolve,
    takes_text,
)
from qwill.text.parsers.loose import ObjectEnd
from qwill.text.parsers.repair import (
    Closes,
    before_closing_tags,
    behind_closing_tags,
    call_of_object,
    closing_tag_at,
    split_line,
)

__all__ = [  # the syntax, and what its users know of tools
    "CLOSING",
    "FUNCTION",
    "MAX_SCHEMA_DEPTH",
    "OPENING",
    "Status",
    "ToolCallScanner",
    "allowed_types",
    "coerce_arguments",
    "function_of",
    "parameter_schemas",
    "resolve",
]

OPENING = "<tool_call>"
CLOSING = "</tool_call>"
FUNCTION = "<function="

_PARAMETER = "<parameter="
_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"\s*([^\s<>][^<>\n]*)>")
_NAME_BEGUN = re.compile(r"\s*[^<>\n]*")
_NAME_UNCLOSED = re.compile(r"[ \t]*([^<>\n]+)\n")
_TAG_BEGUN = re.compile(r"<[^<>\n]{0,80}\Z")
_OPENING_LINES = re.compile(r"<tool_call>\n<function=([^<>\n]+)>\n")
_OPENING_LINES_BEGUN = re.compile(r"<tool_call>(\n(<function=[^<>\n]*>?|<functio?n?|<func?t?i?|<fu?|<)?)?\Z")
_NAME_IN_OBJECT = re.compile(r"""["']name["']\s*:\s*["']([^"']*)["']""")
_END_OF_VALUE = "</parameter>"
_END_OF_FUNCTION = "</function>"


class Status(Enum):
    """What a scanner makes of the text so far."""

    UNFINISHED = auto()
    COMPLETE = auto()
    MALFORMED = auto()


class ToolCallScanner:
    """Reads one call, from just after `<tool_call>`, in text that arrives in pieces; linear in the text.

    After COMPLETE, `name` and `arguments` are the call, `rest` is the text behind it. `pairs` are the parameters (key
    and raw value) that are complete so far, in their order, also those that come again; the first `sure` of them stay
    what they are. `text` is everything taken, for a call that turns out not to be one. A mended one that has a sure
    parameter is one for certain.
    """

    def __init__(self, functions: Mapping[str, Mapping[str, Any]] | None = None, bare: bool = False) -> None:
        """`functions`: schemas of the parameters of those whose calls are mended. `bare`: `<tool_call>` is missing, so
        that the call must be one of these, and well-formed up to `</function>`."""
        self.name = ""
        self.pairs: list[tuple[str, str]] = []
        self.text = ""
        self._functions = functions or {}
        self._bare = bare
        self._position = 0
        self._search_from = 0
        self._key: str | None = None
        self._object: ObjectEnd | None = None
        self._object_start = 0
        self._object_arguments: dict[str, Any] | None = None
        self._last = _Value("", 0)
        self._closed: _Closed | None = None
        # In a value: whether, and from where on, to look for another call's beginning.
        self._looks_for_opening, self._opening_from = True, 0
        self._expected: tuple[str, ...] = (FUNCTION,)

    def feed(self, text: str) -> Status:
        """Take more text and say where the call stands."""
        self.text += text
        while True:
            if self._key is not None:
                step = self._read_value(self._key)
            elif self._object is not None:
                step = self._read_object(self._object)
            else:
                step = self._read_tag()
            if step is not None:
                return step

    def end(self) -> bool:
        """No more text comes: whether what came is a call, with `rest` behind it."""
        if self._key is not None:
            return self.mends and (self._end_closed() or self._end_value(self._key, at_end=True))
        if self._expected == (CLOSING,):
            complete, end = self.lacks_only_closing, len(self.text)
            begun = self.text[self._position : before_closing_tags(self.text, self._position, end)]
            if CLOSING.startswith(begun.strip()):
                self._position = end
            return complete
        return self.mends and bool(self.pairs)

    @property
    def mends(self) -> bool:
        """Whether the call is one of those that are mended."""
        return self.name in self._functions and not self._bare

    @property
    def sure(self) -> int:
        return self._last.number if self._expected == (CLOSING,) else len(self.pairs)

    @property
    def begun(self) -> tuple[str, str] | None:
        """The parameter that is being read, and its value as far as it came, without what may be the end's syntax."""
        if self._key is None:
            return None
        return self._key, self.text[self._position : self._begun_end].removeprefix("\n")

    @property
    def _begun_end(self) -> int:
        """Where the value ends that is being read, as far as it came."""
        end = self.text.find(_END_OF_VALUE, self._search_from)
        end = end if end >= 0 else len(self.text)
        ends = [f"\n{_END_OF_VALUE}"[:length] for length in range(len(_END_OF_VALUE), 0, -1)]
        return end - next((len(begun) for begun in ends if self.text.endswith(begun, self._position, end)), 0)

    @property
    def rest(self) -> str:
        return self.text[self._position :]

    @property
    def lacks_only_closing(self) -> bool:
        """The function is complete and nothing but (part of) `</tool_call>` is missing: models stop there at times."""
        return self._expected == (CLOSING,) and (self.mends or self._bare or CLOSING.startswith(self.rest.strip()))

    def cut(self, names: Iterable[str]) -> bool:
        """The text was cut off: whether that was before the function's name, which might have been one of those."""
        begun = self.rest.lstrip()
        if self._object is not None and not self.name:
            named = _NAME_IN_OBJECT.search(begun)
            self.name = named[1] if named is not None else ""
            return not self.name
        if self.name or self._bare:
            return False
        if not begun.startswith(FUNCTION):
            return FUNCTION.startswith(begun)
        begun = begun.removeprefix(FUNCTION).strip("\"' ")
        return any(name.startswith(begun) for name in names)

    @property
    def parameters(self) -> dict[str, str]:
        """The raw values by their keys."""
        return dict(self.pairs)

    def arguments(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments, coerced to the types of the function's schema."""
        if self._object_arguments is not None:
            return fitted_arguments(self._object_arguments, schema)
        return coerce_arguments(self.parameters, schema)

    def _read_tag(self) -> Status | None:
        """Read one expected tag; None when there is more to read."""
        start, tag = self._find_tag(self._position)
        if tag is None:
            return Status.UNFINISHED if start == 0 else self._mend_tag()
        if tag in (FUNCTION, _PARAMETER):
            named = _NAME.match(self.text, start)
            if named is not None:
                name, start = named[1].strip(), named.end()
            else:
                begun = _NAME_BEGUN.match(self.text, start)
                if begun is not None and begun.end() == len(self.text):
                    return Status.UNFINISHED
                name, start = self._name_without_bracket(tag, start)
                if not name:
                    return Status.COMPLETE if self.pairs and self.mends else Status.MALFORMED
            name = _without_quotes(name, self._known(tag))
            if tag == FUNCTION:
                self.name = name
                if self._bare and name not in self._functions:
                    return Status.MALFORMED
            else:
                self._key, self._search_from, self._closed = name, start, None
                self._looks_for_opening, self._opening_from = True, start
        self._position = start
        if tag == CLOSING:
            return Status.COMPLETE
        self._expected = (CLOSING,) if tag == _END_OF_FUNCTION else (_PARAMETER, _END_OF_FUNCTION)
        return None

    @property
    def _may_be_object(self) -> bool:
        """Whether the call, or its arguments, may come as JSON."""
        if self._bare or self.pairs or self._expected == (CLOSING,):
            return False
        return self.mends if self.name else bool(self._functions)

    def _known(self, tag: str) -> Mapping[str, Any]:
        """The names that a tag of a mended call may have."""
        return self._functions if tag == FUNCTION else properties_of(self._functions.get(self.name, {}))

    def _name_without_bracket(self, tag: str, start: int) -> tuple[str, int]:
        """A known name that its line ends instead of a bracket, and where; no name if none does."""
        named = _NAME_UNCLOSED.match(self.text, start)
        if named is None or self._bare:
            return "", start
        known = self._known(tag)
        name = _without_quotes(named[1].strip(), known)
        return (name, named.end() - 1) if name in known else ("", start)

    def _mend_tag(self) -> Status | None:
        """Something else than an expected tag stands there."""
        if self._bare and self._expected == (CLOSING,):
            return Status.COMPLETE
        space = _SPACE.match(self.text, self._position)
        assert space is not None
        start = space.end()
        if self.text[start] == "{" and self._may_be_object:
            self._object, self._object_start = ObjectEnd(start), start
            return None
        if not self.mends:
            return Status.MALFORMED
        if _TAG_BEGUN.match(self.text, start):
            return Status.UNFINISHED
        closing = closing_tag_at(self.text, start)
        if closing is None and self._expected == (CLOSING,) and self._last.key:
            self._go_on()
            return None
        if closing is None:
            return Status.COMPLETE if self.pairs or self._expected == (CLOSING,) else Status.MALFORMED
        self._position, closes = closing
        if closes is Closes.FUNCTION:
            self._expected = (CLOSING,)
        return Status.COMPLETE if closes is Closes.CALL else None

    def _go_on(self) -> None:
        """No `</tool_call>` stands behind the function's end: the last value may go on, and hold what looks like the
        end. That is known when a whole end comes, or another call, or nothing more."""
        last = self._last
        self._closed = self._closed or _Closed(self.pairs[last.number :], self._position)
        del self.pairs[last.number :]
        self._key, self._position = last.key, last.start
        self._expected = (_PARAMETER, _END_OF_FUNCTION)
        self._looks_for_opening, self._opening_from = True, self._closed.end

    def _end_closed(self) -> bool:
        """End the call where its function's end stood first, if it did."""
        if self._closed is None:
            return False
        self.pairs += self._closed.pairs
        self._key, self._position = None, self._closed.end
        return True

    def _read_object(self, end_of: ObjectEnd) -> Status | None:
        """Read a call, or its arguments, as JSON."""
        end = end_of.find(self.text)
        if end is None:
            return Status.UNFINISHED
        call = call_of_object(self.text[self._object_start : end], self._functions, self.name)
        if call is None:
            return Status.MALFORMED
        self.name, self._object_arguments = call
        self._object, self._position, self._expected = None, end, (CLOSING,)
        return None

    def _read_value(self, key: str) -> Status | None:
        """Read a parameter's value up to the `</parameter>` that ends it; None when there is more to read."""
        opening = self._opening_inside()
        while (end := self.text.find(_END_OF_VALUE, self._search_from)) >= 0:
            if 0 <= opening < end:
                break
            after = end + len(_END_OF_VALUE)
            start, tag = self._find_tag(after)
            if tag is not None:
                self._last = _Value(key, self._position, len(self.pairs))
                self._add(key, self.text[self._position : end])
                self._search_from = after
                self._position, self._key = after, None
                return None
            if start >= 0:
                return Status.UNFINISHED
            self._search_from = after
        if opening >= 0:
            if self._end_closed() or self._end_value(key):
                return Status.COMPLETE
            self._looks_for_opening = False
            return None
        self._search_from = max(self._search_from, len(self.text) - len(_END_OF_VALUE) + 1)
        return Status.UNFINISHED

    def _opening_inside(self) -> int:
        """Where the first `<tool_call>` in the value stands, if it begins another call, on a line of its own, of a
        function that is mended; else -1, also as long as that is not known."""
        if not (self.mends and self._looks_for_opening):
            return -1
        start = self.text.find(OPENING, self._opening_from)
        if start < 0:
            self._opening_from = max(self._opening_from, len(self.text) - len(OPENING) + 1)
            return -1
        self._opening_from = start
        if self._begins_call(start):
            return start
        self._looks_for_opening = _OPENING_LINES_BEGUN.match(self.text, start) is not None
        return -1

    def _begins_call(self, start: int) -> bool:
        """Whether lines of their own begin a call there, of a function that is mended."""
        named = _OPENING_LINES.match(self.text, start)
        return named is not None and named[1].strip() in self._functions and self.text[start - 1] == "\n"

    def _end_value(self, key: str, at_end: bool = False) -> bool:
        """End the call with a value that no tag ends as it should: where another call or the whole text ends. False if
        it is not clear how; at the end it is made clear if other parameters are known already."""
        opening = self._opening_inside()
        limit = opening if opening >= 0 else len(self.text)
        found = self._clear_end(key, limit)
        if found is None and at_end and self.pairs:
            found = self._likely_end(limit)
        if found is None:
            return False
        tag = closing_tag_at(self.text, found[0])
        value = self.text[self._position : found[0]]
        if tag is None or tag[1] is not Closes.PARAMETER:
            value = value.removesuffix("\n")  # the line break before the tag that is missing, or the one behind it
        self._add(key, value, is_closed=False)
        self._key, self._position = None, found[1]
        return True

    def _clear_end(self, key: str, limit: int) -> tuple[int, int] | None:
        """Where a value ends before closing tags, one of which is missing or wrong, and where the call does."""
        start, closing = self._position, self.text.find(CLOSING, self._position, limit)
        end = before_closing_tags(self.text, start, limit if closing < 0 else closing)
        if any(self.text.find(tag, start, end) >= 0 for tag in (OPENING, _END_OF_VALUE)):
            return None
        if closing < 0:
            schema = self._functions[self.name]
            is_no_text = not takes_text(key, schema) and not misfits(key, self.text[start:end], schema)
            return (end, limit) if end < limit or (is_no_text and limit < len(self.text)) else None
        after = behind_closing_tags(self.text, closing)
        other = self.text.find(CLOSING, after, limit)
        on_own_line = end < closing or self.text[end - 1] == "\n" or "\n" not in self.text[start:end]
        if not on_own_line or self.text[after : after + 1] not in ("", "\n", "<"):
            return None
        return (end, after) if other < 0 or self.text.find(OPENING, after, other) >= 0 else None

    def _likely_end(self, limit: int) -> tuple[int, int]:
        """The same where it is not clear, but some end there must be."""
        opening = self.text.find(OPENING, self._position, limit)
        limit = opening if opening >= 0 and self._begins_call(opening) else limit
        closing = self.text.find(CLOSING, self._position, limit)
        if closing >= 0:
            return before_closing_tags(self.text, self._position, closing), behind_closing_tags(self.text, closing)
        end = before_closing_tags(self.text, self._position, limit)
        return (self._begun_end if end == len(self.text) else end), limit

    def _add(self, key: str, value: str, is_closed: bool = True) -> None:
        """Take a value, and the parameters that begin inside it because it lacks its own end."""
        if self.mends and f"\n{_PARAMETER}" in value:
            schema = self._functions[self.name]
            names = dict.fromkeys(properties_of(schema))
            for given, _ in [*self.pairs, (key, "")]:
                names.pop(given, None)
            while (found := split_line(value, names)) is not None:
                before, name, behind = found
                if not _are_two(key, before, name, behind, schema, is_closed):
                    break
                self.pairs.append((key, _strip_one_newline(before.removesuffix("\n"))))
                key, value = name, behind
                del names[name]
        self.pairs.append((key, _strip_one_newline(value)))

    def _find_tag(self, position: int) -> tuple[int, str | None]:
        """The expected tag behind white space and where it ends; (-1, None) if something else stands there, (0, None)
        if the text is too short to tell."""
        space = _SPACE.match(self.text, position)
        assert space is not None
        position = space.end()
        for tag in self._expected:
            if self.text.startswith(tag, position):
                return position + len(tag), tag
        tail = self.text[position : position + len(CLOSING)]
        return (0 if any(tag.startswith(tail) for tag in self._expected) else -1), None


@dataclass(frozen=True)
class _Value:
    """The last value that was read: where it starts, and how many parameters came before it. Without a key there is
    none."""

    key: str
    start: int
    number: int = 0


@dataclass(frozen=True)
class _Closed:
    """A function's end that may be part of a value: the last parameters if it is none, and where it ends."""

    pairs: list[tuple[str, str]]
    end: int


def _are_two(key: str, before: str, name: str, behind: str, schema: Mapping[str, Any], is_closed: bool) -> bool:
    """Whether a line in a value that begins another of the function's parameters does so, and is no text of the value.

    Both values must be some, and fit the schema. If a tag closes the value as it should, the line could still be text:
    not if the schema wants the other parameter, or one of the two to be no text.
    """
    if _END_OF_VALUE in behind or not (before.strip() and behind.strip()):
        return False
    if misfits(key, before, schema) or misfits(name, behind, schema):
        return False
    return not is_closed or name in required_of(schema) or not (takes_text(key, schema) and takes_text(name, schema))


def _without_quotes(name: str, known: Mapping[str, Any]) -> str:
    """A name, or what stands in its quotes if that is the known one."""
    bare = name.strip("\"'")
    return bare if name not in known and bare in known else name


def _strip_one_newline(value: str) -> str:
    return value.removeprefix("\n").removesuffix("\n")
