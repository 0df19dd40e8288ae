"""Values of JSON: which of them an answer can have, which are the same, and which fit a simple schema (sound.py)."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from qwill.text.schemas.patterns import matches

Schema = Mapping[str, Any]

# The numbers are those that are whole, and "fraction", the others.
ALL_TYPES = frozenset({"null", "boolean", "integer", "fraction", "string", "array", "object"})
MOST_DIGITS = 400
_DEEPEST = 32
_MOST_MEMBERS = 1000
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def type_of(value: Any) -> str:
    """The type of a value, one of ALL_TYPES."""
    if value is None:
        return "null"
    for kind, name in ((bool, "boolean"), (int, "integer"), (str, "string"), (list, "array"), (dict, "object")):
        if isinstance(value, kind):
            return name
    return "integer" if value.is_integer() else "fraction"


def sayable(member: Any, depth: int = 0) -> bool:
    """Whether an answer can have the value: it is finite, neither too deep nor too long, and its texts are Unicode."""
    if isinstance(member, list | dict):
        inner = [*member, *member.values()] if isinstance(member, dict) else member
        return depth < _DEEPEST and len(member) <= _MOST_MEMBERS and all(sayable(one, depth + 1) for one in inner)
    if isinstance(member, str):
        return member.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in member)
    return not isinstance(member, float) or math.isfinite(member)


def same(member: Any) -> Any:
    """What is equal for values that are equal in JSON: 1 and 1.0, not 1 and true."""
    if isinstance(member, list):
        return "array", tuple(same(one) for one in member)
    if isinstance(member, dict):
        return "object", frozenset((key, same(one)) for key, one in member.items())
    kind = "number" if isinstance(member, int | float) and not isinstance(member, bool) else type(member).__name__
    return kind, member


def exact(value: float) -> Decimal:
    """A number as it is written."""
    return Decimal(value) if isinstance(value, int) else Decimal(repr(value))


def is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 10**MOST_DIGITS if isinstance(value, int) else math.isfinite(value)


def within(value: float, bounds: Schema) -> bool:
    """Whether a number lies within the bounds that a schema has, in the words of any draft, and is a multiple as asked.
    Bounds that are no numbers bind nothing."""
    number = exact(value)
    ends = {key: exact(bounds[key]) for key in (*_BOUNDS, "multipleOf") if is_number(bounds.get(key))}
    for key, draft4 in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bounds.get(key) is True and draft4 in ends:
            ends[key] = ends[draft4]
    step = ends.get("multipleOf", Decimal(0))
    return (
        ends.get("minimum", number) <= number <= ends.get("maximum", number)
        and ("exclusiveMinimum" not in ends or number > ends["exclusiveMinimum"])
        and ("exclusiveMaximum" not in ends or number < ends["exclusiveMaximum"])
        and (step <= 0 or (Fraction(number) / Fraction(step)).denominator == 1)
    )


def accepts(node: Any, value: Any, definitions: Schema) -> bool:
    """Whether a value fits a simple schema. A definition that is still being made fits anything."""
    if isinstance(node, bool):
        return node
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        return name not in definitions or accepts(definitions[name], value, definitions)
    if "anyOf" in node:
        return any(accepts(branch, value, definitions) for branch in node["anyOf"])
    if "enum" in node:
        return same(value) in map(same, node["enum"])
    if not node:
        return True
    kind, wanted = type_of(value), node["type"]
    if kind not in (("integer", "fraction") if wanted == "number" else (wanted,)):
        return False
    if kind in ("integer", "fraction"):
        return within(value, node)
    if kind == "string":
        patterns = [node] if "pattern" in node else node.get("allOf", [])
        return node.get("minLength", 0) <= len(value) <= node.get("maxLength", len(value)) and all(
            matches(one["pattern"], value) for one in patterns
        )
    if kind == "array":
        return _accepts_array(node, value, definitions)
    return kind != "object" or _accepts_object(node, value, definitions)


def _accepts_array(node: Schema, value: Sequence[Any], definitions: Schema) -> bool:
    head, rest = node.get("prefixItems", []), node.get("items", True)
    return node.get("minItems", 0) <= len(value) <= node.get("maxItems", len(value)) and all(
        accepts(head[place] if place < len(head) else rest, item, definitions) for place, item in enumerate(value)
    )


def _accepts_object(node: Schema, value: Mapping[str, Any], definitions: Schema) -> bool:
    if not set(node.get("required", ())) <= value.keys():
        return False
    if not node.get("minProperties", 0) <= len(value) <= node.get("maxProperties", len(value)):
        return False
    properties, patterns = node.get("properties", {}), node.get("patternProperties", {})
    for key, member in value.items():
        said = [properties[key]] if key in properties else []
        said += [inner for pattern, inner in patterns.items() if matches(pattern, key)]
        if not all(accepts(inner, member, definitions) for inner in said or [node.get("additionalProperties", True)]):
            return False
    return True


def distinct(nodes: Sequence[Schema], definitions: Schema) -> bool:
    """Whether no value can fit two of the nodes, as far as is easily seen."""
    return all(_apart(node, other, definitions, 0) for place, node in enumerate(nodes) for other in nodes[place + 1 :])


def _apart(node: Any, other: Any, definitions: Schema, depth: int) -> bool:
    if depth > 8:
        return False
    if node is False or other is False:
        return True
    for one, against in ((node, other), (other, node)):
        if "$ref" in one:
            return _apart(definitions.get(one["$ref"].rpartition("/")[2], {}), against, definitions, depth + 1)
        if "anyOf" in one:
            return all(_apart(branch, against, definitions, depth + 1) for branch in one["anyOf"])
    if not node or not other:
        return False
    if "enum" in node and "enum" in other:
        return not {same(member) for member in node["enum"]} & {same(member) for member in other["enum"]}
    kinds = [_kinds(one) for one in (node, other)]
    if not kinds[0] & kinds[1]:
        return True
    if kinds[0] != {"object"} or kinds[1] != {"object"} or "enum" in node or "enum" in other:
        return False
    return any(
        _apart(_member(node, name), _member(other, name), definitions, depth + 1)
        for name in [*node.get("required", ()), *other.get("required", ())]
    )


def _member(node: Schema, name: str) -> Any:
    return node.get("properties", {}).get(
        name, node.get("additionalProperties", {}) if "patternProperties" not in node else {}
    )


def _kinds(node: Schema) -> set[str]:
    if "enum" in node:
        kinds = set(map(type_of, node["enum"]))
        return {"number" if kind in ("integer", "fraction") else kind for kind in kinds}
    return {"number" if node["type"] == "integer" else node["type"]}
