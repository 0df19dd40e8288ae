"""What is clear of calls that are written slightly wrong: closing tags that are missing, doubled or called otherwise.

Nothing here is asked while a call can still be well-formed: whatever a well-formed one holds stays what it is.
"""

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from qwill.text.parsers.loose import UNFIT, as_json, read_json


class Closes(Enum):
    """What a closing tag ends."""

    PARAMETER = auto()
    FUNCTION = auto()
    CALL = auto()


_KINDS = {
    "parameter": Closes.PARAMETER, "parameters": Closes.PARAMETER, "param": Closes.PARAMETER,
    "argument": Closes.PARAMETER, "arguments": Closes.PARAMETER,
    "tool_call": Closes.CALL,
}  # fmt: skip
_WORD = rf"{'|'.join(_KINDS)}|function\w*|func|invoke|tools?|tool_calls|tool_use"
# A tag whose bracket is missing ends with its line.
_CLOSING_TAG = re.compile(rf"</({_WORD})(?:=[^<>\n]*)?[ \t]*(?:>|(?=\n))")
_CLOSING_TAG_AT_END = re.compile(rf"</(?:{_WORD})(?:=[^<>\n]*)?[ \t]*>?\Z")
_CLOSING_TAG_BEHIND = re.compile(rf"\s*</(?:{_WORD})(?:=[^<>\n]*)?[ \t]*(?:>|(?=\n))")
_LONGEST_TAG = 80
_PARAMETER_LINE = re.compile(r"\n<parameter=([^<>\n]+)>(?=\n)")


def closing_tag_at(text: str, position: int) -> tuple[int, Closes] | None:
    """Where the closing tag ends that stands there, and what it closes; None if none does."""
    found = _CLOSING_TAG.match(text, position)
    return None if found is None else (found.end(), _KINDS.get(found[1], Closes.FUNCTION))


def before_closing_tags(text: str, start: int, end: int) -> int:
    """Where the closing tags begin with which text[start:end] ends, white space between them; `end` if none does."""
    while True:
        last = end
        while last > start and text[last - 1].isspace():
            last -= 1
        found = _CLOSING_TAG_AT_END.search(text[max(start, last - _LONGEST_TAG) : last])
        if found is None:
            return end
        end = last - (found.end() - found.start())


def behind_closing_tags(text: str, position: int) -> int:
    """Where the closing tags end that stand there, white space between them; `position` if none does."""
    while (found := _CLOSING_TAG_BEHIND.match(text, position)) is not None:
        position = found.end()
    return position


def without_closing_tags(value: str) -> str:
    """A value that holds no text, without tags that came too often."""
    return value[: before_closing_tags(value, 0, len(value))]


def split_line(value: str, names: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """A value in which a line of its own begins the parameter of one of those names, as if the one before were closed:
    what stands before the line, the name, and what stands behind; None if there is no such line."""
    for line in _PARAMETER_LINE.finditer(value):
        if line[1].strip() in names:
            return value[: line.start() + 1], line[1].strip(), value[line.end() :]
    return None


def call_of_object(text: str, functions: Mapping[str, Any], name: str) -> tuple[str, dict[str, Any]] | None:
    """The call that a JSON object is, in the older syntax of the family: one of `functions` by its name, and its
    arguments. With a `name`, the object may be those alone. None if it is no such call."""
    parsed = read_json(text)
    if parsed is UNFIT:
        parsed = read_json(as_json(text))
    if not isinstance(parsed, dict):
        return None
    if isinstance(parsed.get("name"), str) and parsed.keys() <= {"name", "arguments", "parameters", "id", "type"}:
        arguments = parsed.get("arguments", parsed.get("parameters", {}))
        if isinstance(arguments, str):
            arguments = read_json(arguments)
        if isinstance(arguments, dict) and parsed["name"] in functions and name in ("", parsed["name"]):
            return parsed["name"], arguments
    return (name, parsed) if name else None
