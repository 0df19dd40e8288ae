"""Arguments of tool calls: values are text, of which the schema of the function's parameters says what to make."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from qwill.text.parsers.loose import UNFIT, as_json, read_json
from qwill.text.parsers.repair import without_closing_tags

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)(\.0+)?")
# Deeper chains of references and unions than any real schema has.
MAX_SCHEMA_DEPTH = 16
_COMBINING = ("anyOf", "oneOf", "allOf")


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
    return {key: _coerce(value, _schema_of(key, schema), schema) for key, value in parameters.items()}


def fitted_arguments(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that came as JSON; texts where the schema allows none are read as `coerce_arguments` reads them."""
    return {
        key: _coerce(value, _schema_of(key, schema), schema)
        if isinstance(value, str) and not takes_text(key, schema)
        else value
        for key, value in arguments.items()
    }


def takes_text(key: str, schema: Mapping[str, Any]) -> bool:
    """Whether an argument may be a text, as far as the schema says."""
    return _allows_text(_schema_of(key, schema), schema)


def misfits(key: str, value: str, schema: Mapping[str, Any]) -> bool:
    """Whether an argument must be something else than a text, and the value is nothing of the kind."""
    return not takes_text(key, schema) and isinstance(_coerce(value, _schema_of(key, schema), schema), str)


def stays_text(key: str, schema: Mapping[str, Any]) -> bool:
    """Whether an argument is taken as it is written, whatever it holds."""
    return not _types(_schema_of(key, schema), schema, 0)


def _schema_of(key: str, schema: Mapping[str, Any]) -> Any:
    """What a schema says of a parameter, also by what it combines and refers to."""
    found: list[Any] = []
    pending: list[Any] = [schema]
    seen: set[int] = set()
    while pending:
        part = pending.pop(0)
        if not isinstance(part, Mapping) or id(part) in seen:
            continue
        seen.add(id(part))
        found += [properties_of(part)[key]] if key in properties_of(part) else []
        pending += [branch for name in _COMBINING if isinstance(part.get(name), list) for branch in part[name]]
        pending += [resolve(part["$ref"], schema)] if isinstance(part.get("$ref"), str) else []
    return schema.get("additionalProperties") if not found else found[0] if len(found) == 1 else {"anyOf": found}


def properties_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters that a function's schema names."""
    properties = schema.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def required_of(schema: Mapping[str, Any]) -> Sequence[Any]:
    """The parameters that a function's schema asks for."""
    required = schema.get("required")
    return required if isinstance(required, list) else ()


def _allows_text(schema: Any, root: Mapping[str, Any]) -> bool:
    types = allowed_types(schema, root)
    return "string" in types or not types & _CONVERSIONS.keys()


def _coerce(value: str, schema: Any, root: Mapping[str, Any]) -> Any:
    types = _types(schema, root, 0)
    converted = _convert(value, types)
    if converted is UNFIT and not _allows_text(schema, root):
        converted = _convert(as_json(without_closing_tags(value)), types)
    return value if converted is UNFIT else converted


def _convert(value: str, types: Sequence[str]) -> Any:
    for kind in types:
        converted = _CONVERSIONS[kind](value.strip())
        if converted is not UNFIT:
            return converted
    return UNFIT


def _types(schema: Any, root: Mapping[str, Any], depth: int) -> list[str]:
    """The JSON types that `schema` allows, the most particular first; text, which needs no conversion, is left out."""
    found = allowed_types(schema, root, depth)
    return [kind for kind in _CONVERSIONS if kind in found]


def allowed_types(schema: Any, root: Mapping[str, Any], depth: int = 0, seen: set[int] | None = None) -> set[str]:
    """The JSON types that `schema`, a part of `root`, names; none when it says nothing of types."""
    found: set[str] = set()
    seen = set() if seen is None else seen  # of parts that a schema may refer to again and again
    if not isinstance(schema, Mapping) or depth > MAX_SCHEMA_DEPTH or id(schema) in seen:
        return found
    seen.add(id(schema))
    declared = schema.get("type")
    if isinstance(declared, str | list):
        found.update([declared] if isinstance(declared, str) else [kind for kind in declared if isinstance(kind, str)])
    else:
        allowed = [schema["const"]] if "const" in schema else schema.get("enum")
        found.update(map(_type_of, allowed if isinstance(allowed, list) else []))
    for union in _COMBINING:
        branches = schema.get(union)
        for branch in branches if isinstance(branches, list) else []:
            found.update(allowed_types(branch, root, depth + 1, seen))
    if isinstance(schema.get("$ref"), str):
        found.update(allowed_types(resolve(schema["$ref"], root), root, depth + 1, seen))
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


def _null(value: str) -> Any:
    return None if value.lower() in ("null", "none") else UNFIT


def _boolean(value: str) -> Any:
    return {"true": True, "false": False}.get(value.lower(), UNFIT)


def _integer(value: str) -> Any:
    # Longer numbers than Python's own limit on conversion are no meant integers.
    return int(value.partition(".")[0]) if len(value) <= 4000 and _INTEGER.fullmatch(value) else UNFIT


def _number(value: str) -> Any:
    number = read_json(value)
    return number if isinstance(number, int | float) and not isinstance(number, bool) else UNFIT


def _object(value: str) -> Any:
    parsed = read_json(value)
    return parsed if isinstance(parsed, dict) else UNFIT


def _array(value: str) -> Any:
    parsed = read_json(value)
    return parsed if isinstance(parsed, list) else UNFIT


_CONVERSIONS = {
    "null": _null,
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "object": _object,
    "array": _array,
}
