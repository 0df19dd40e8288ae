"""Which answers count as right."""

import json
from typing import Any

from qwill import Completion
from training.evaluation.asking import Turn

JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "array": (list,),
    "object": (dict,),
}


def follows(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a JSON value is what the schema says: of the keywords that the generators use, and no other."""
    if isinstance(value, bool) and schema["type"] != "boolean":
        return False
    if not isinstance(value, JSON_TYPES[schema["type"]]) or value not in schema.get("enum", [value]):
        return False
    if isinstance(value, dict):
        known = schema["properties"]
        return value.keys() <= known.keys() and all(follows(item, known[key]) for key, item in value.items())
    return not isinstance(value, list) or all(follows(item, schema["items"]) for item in value)


def same(one: Any, other: Any) -> bool:
    """Equal as JSON values: numbers by their value, but truth values are no numbers."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def right_json(text: str, wanted: str, schema: dict[str, Any]) -> bool:
    """Nothing but JSON, equal to what is wanted, and valid."""
    try:
        given = json.loads(text)
    except json.JSONDecodeError:
        return False
    return same(given, json.loads(wanted)) and follows(given, schema)


def is_right(turn: Turn, given: Completion) -> bool:
    """The expected text, letter by letter but for space around it (JSON: as a value); and the expected calls, by name
    and typed arguments, in their order, and no others.
    """
    if not same(given.tool_calls, turn.calls):
        return False
    if turn.schema is not None:
        return right_json(given.text, turn.text, turn.schema)
    return given.text.strip() == turn.text.strip()
