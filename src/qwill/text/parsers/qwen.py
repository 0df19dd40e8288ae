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
"""

import json
import re
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Any

OPENING = "<tool_call>"
CLOSING = "</tool_call>"

_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"\s*([^\s<>][^<>\n]*)>")
_NAME_BEGUN = re.compile(r"[^<>\n]*")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)(\.0+)?")
_END_OF_VALUE = "</parameter>"
# Deeper chains of references and unions than any real schema has.
MAX_SCHEMA_DEPTH = 16


class Status(Enum):
    """What a scanner makes of the text so far."""

    UNFINISHED = auto()
    COMPLETE = auto()
    MALFORMED = auto()


class ToolCallScanner:
    """Reads one call, from just after `<tool_call>`, in text that arrives in pieces; linear in the text.

    After COMPLETE, `name` and `parameters` (key to raw value) are the call, `rest` is the text behind `</tool_call>`.
    `pairs` are the parameters that are complete so far, in their order, also those that come again. `text` is
    everything taken, for a call that turns out not to be one.
    """

    def __init__(self) -> None:
        self.name = ""
        self.pairs: list[tuple[str, str]] = []
        self.text = ""
        self._position = 0
        self._search_from = 0
        self._key: str | None = None
        self._expected: tuple[str, ...] = ("<function=",)

    def feed(self, text: str) -> Status:
        """Take more text and say where the call stands."""
        self.text += text
        while True:
            step = self._read_value() if self._key is not None else self._read_tag()
            if step is not None:
                return step

    @property
    def parameters(self) -> dict[str, str]:
        return dict(self.pairs)

    @property
    def begun(self) -> tuple[str, str] | None:
        """The parameter that is being read, and its value as far as it came, without what may be the end's syntax."""
        if self._key is None:
            return None
        end = self.text.find(_END_OF_VALUE, self._search_from)
        value = self.text[self._position : end if end >= 0 else None].removeprefix("\n")
        ends = [f"\n{_END_OF_VALUE}"[:length] for length in range(len(_END_OF_VALUE), 0, -1)]
        return self._key, value.removesuffix(next((begun for begun in ends if value.endswith(begun)), ""))

    @property
    def rest(self) -> str:
        return self.text[self._position :]

    @property
    def lacks_only_closing(self) -> bool:
        """The function is complete and nothing but (part of) `</tool_call>` is missing: models stop there at times."""
        return self._expected == (CLOSING,) and CLOSING.startswith(self.rest.strip())

    def _read_tag(self) -> Status | None:
        """Read one expected tag; None when there is more to read."""
        start, tag = self._find_tag(self._position)
        if tag is None:
            return Status.MALFORMED if start < 0 else Status.UNFINISHED
        if tag in ("<function=", "<parameter="):
            named = _NAME.match(self.text, start)
            if named is None:
                begun = _NAME_BEGUN.match(self.text, start)
                whole = begun is not None and begun.end() == len(self.text)
                return Status.UNFINISHED if whole else Status.MALFORMED
            start = named.end()
            if tag == "<function=":
                self.name = named[1].strip()
            else:
                self._key, self._search_from = named[1].strip(), start
        self._position = start
        if tag == CLOSING:
            return Status.COMPLETE
        self._expected = (CLOSING,) if tag == "</function>" else ("<parameter=", "</function>")
        return None

    def _read_value(self) -> Status | None:
        """Read a parameter's value up to the `</parameter>` that ends it; None when there is more to read."""
        assert self._key is not None
        while (end := self.text.find(_END_OF_VALUE, self._search_from)) >= 0:
            after = end + len(_END_OF_VALUE)
            start, tag = self._find_tag(after)
            if tag is not None:
                self.pairs.append((self._key, _strip_one_newline(self.text[self._position : end])))
                self._position, self._key = after, None
                return None
            if start >= 0:
                return Status.UNFINISHED
            self._search_from = after
        self._search_from = max(self._search_from, len(self.text) - len(_END_OF_VALUE) + 1)
        return Status.UNFINISHED

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


def function_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool's function, with or without the outer `function` object."""
    return tool["function"] if isinstance(tool.get("function"), Mapping) else tool


def parameter_schemas(tools: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The parameter schema of each function."""
    functions = [function_of(tool) for tool in tools]
    schemas = {
        function.get("name"): function.get("parameters") or function.get("input_schema") for function in functions
    }
    return {
        name: schema if isinstance(schema, Mapping) else {} for name, schema in schemas.items() if isinstance(name, str)
    }


def coerce_arguments(parameters: Mapping[str, str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The call's arguments as JSON values. What the schema does not know, or what does not fit it, stays text."""
    return {key: _coerce(value, _schema_of(key, schema), schema, 0) for key, value in parameters.items()}


def stays_text(key: str, schema: Mapping[str, Any]) -> bool:
    """Whether an argument is taken as it is written, whatever it holds."""
    return not _types(_schema_of(key, schema), schema, 0)


def _schema_of(key: str, schema: Mapping[str, Any]) -> Any:
    properties = schema.get("properties")
    return (properties if isinstance(properties, Mapping) else {}).get(key, schema.get("additionalProperties"))


def _coerce(value: str, schema: Any, root: Mapping[str, Any], depth: int) -> Any:
    for kind in _types(schema, root, depth):
        convert = _CONVERSIONS.get(kind)
        converted = convert(value.strip()) if convert is not None else _UNFIT
        if converted is not _UNFIT:
            return converted
    return value


def _types(schema: Any, root: Mapping[str, Any], depth: int) -> list[str]:
    """The JSON types that `schema` allows, the most particular first; text, which needs no conversion, is left out."""
    found = allowed_types(schema, root, depth)
    return [kind for kind in _CONVERSIONS if kind in found]


def allowed_types(schema: Any, root: Mapping[str, Any], depth: int = 0) -> set[str]:
    """The JSON types that `schema`, a part of `root`, names; none when it says nothing of types."""
    found: set[str] = set()
    if not isinstance(schema, Mapping) or depth > MAX_SCHEMA_DEPTH:
        return found
    declared = schema.get("type")
    if isinstance(declared, str | list):
        found.update([declared] if isinstance(declared, str) else [kind for kind in declared if isinstance(kind, str)])
    else:
        allowed = [schema["const"]] if "const" in schema else schema.get("enum")
        found.update(map(_type_of, allowed if isinstance(allowed, list) else []))
    for union in ("anyOf", "oneOf", "allOf"):
        branches = schema.get(union)
        for branch in branches if isinstance(branches, list) else []:
            found.update(allowed_types(branch, root, depth + 1))
    if isinstance(schema.get("$ref"), str):
        found.update(allowed_types(resolve(schema["$ref"], root), root, depth + 1))
    if schema.get("nullable") is True:
        found.add("null")
    return found


def resolve(reference: str, root: Mapping[str, Any]) -> Any:
    """What a reference into the same schema (`#/$defs/…`) points at; None if nothing."""
    if not reference.startswith("#/"):
        return None
    target: Any = root
    for key in reference[2:].split("/"):
        target = target.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(target, Mapping) else None
    return target


def _type_of(member: object) -> str:
    if member is None:
        return "null"
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (list, "array"), (dict, "object")):
        if isinstance(member, kind):
            return name
    return "string"


_UNFIT = object()


def _null(value: str) -> Any:
    return None if value.lower() in ("null", "none") else _UNFIT


def _boolean(value: str) -> Any:
    return {"true": True, "false": False}.get(value.lower(), _UNFIT)


def _integer(value: str) -> Any:
    # Longer numbers than Python's own limit on conversion are no meant integers.
    return int(value.partition(".")[0]) if len(value) <= 4000 and _INTEGER.fullmatch(value) else _UNFIT


def _number(value: str) -> Any:
    number = _json(value)
    return number if isinstance(number, int | float) and not isinstance(number, bool) else _UNFIT


def _object(value: str) -> Any:
    parsed = _json(value)
    return parsed if isinstance(parsed, dict) else _UNFIT


def _array(value: str) -> Any:
    parsed = _json(value)
    return parsed if isinstance(parsed, list) else _UNFIT


def _json(value: str) -> Any:
    try:
        parsed = json.loads(value)
        # Python reads more than it may send on: infinities, halves of surrogate pairs.
        json.dumps(parsed, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return _UNFIT
    return parsed


_CONVERSIONS = {
    "null": _null,
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "object": _object,
    "array": _array,
}


def _strip_one_newline(value: str) -> str:
    return value.removeprefix("\n").removesuffix("\n")
