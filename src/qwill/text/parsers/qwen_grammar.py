"""Grammars of the tool calls that parsers/qwen.py reads: known functions, all required parameters, fitting values.

Parameters may come in any order, each at most once. A value is JSON where the schema allows no text; one of a list
where it names one; else text, of the lengths and pattern that the schema asks for, without `</parameter>`.
"""

import json
from collections.abc import Mapping
from typing import Any

from qwill.errors import InvalidArgument
from qwill.text.lark import bounded, full_match, literal, regex_terminal
from qwill.text.parsers.qwen import CLOSING, MAX_SCHEMA_DEPTH, OPENING, allowed_types, resolve

Schema = Mapping[str, Any]

_END = '"\\n</parameter>"'
_END_OF_LINE = r"""/(?s:.*)[^\n]<\/parameter>(?s:.*)/"""
_AT_ONCE = r"""/<\/parameter>(?s:.*)/"""
_COMMON = rf"""
calls: call ("\n" call)*
call: {OPENING} "\n<function=" function "</function>\n" {CLOSING}
text[lazy]: TEXT
TEXT: /(?s:.*)\n<\/parameter>/ & ~{_END_OF_LINE} & ~{_AT_ONCE}
"""
_MOST_PARAMETERS = 64  # the bits that tell which of them a call has


def call_rules(functions: Mapping[str, Schema | None]) -> str:
    """Rules in Lark: `calls` is one call or more of the functions, by their names.

    A function's schema is that of its parameters; None lets it have any parameters. Raises InvalidArgument for names
    that the syntax cannot hold and for more than 64 parameters.
    """
    lines = [_COMMON]
    for number, (name, schema) in enumerate(functions.items()):
        if not _sayable(name):
            raise InvalidArgument(f"a tool cannot be called {name!r}: the model's syntax has no place for such a name")
        lines += _any_parameters(number) if schema is None else _parameters(number, name, schema)
    names = [literal(f"{name}>\n") + f" f{number}" for number, name in enumerate(functions)]
    return "\n".join([*lines, f"function: {' | '.join(names)}", ""])


def _sayable(name: str) -> bool:
    return bool(name.strip()) and name == name.strip() and not set(name) & set("<>\n")


def _any_parameters(number: int) -> list[str]:
    return [
        f"f{number}: any{number}*",
        f'any{number}: "<parameter=" KEY{number} ">\\n" text "\\n"',
        rf"KEY{number}: /[^\s<>]([^<>\n]*[^\s<>])?/",
    ]


def _parameters(number: int, name: str, schema: Schema) -> list[str]:
    """A rule whose parameter is a set of bits, one for each of the function's parameters that the call has so far."""
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    listed = schema.get("required")
    required = list(dict.fromkeys(key for key in listed if isinstance(key, str))) if isinstance(listed, list) else []
    values = {key: properties.get(key, {}) for key in [*required, *properties]}
    if len(values) > _MOST_PARAMETERS:
        raise InvalidArgument(f"tool {name} has {len(values)} parameters; calls by a schema have at most 64")
    if not values:
        return [f'f{number}: ""']
    complete = f" %if is_ones([0:{len(required)}])" if required else ""
    lines = [f"f{number}: f{number}_with::0", f'f{number}_with::_ : ""{complete}']
    rules = []
    for bit, (key, value) in enumerate(values.items()):
        if not _sayable(key):
            raise InvalidArgument(
                f"a parameter of {name} cannot be called {key!r}: the model's syntax has no place for it"
            )
        rule = f"f{number}_v{bit}"
        tag = literal(f"<parameter={key}>\n")
        lines.append(f'| {tag} {rule} "\\n" f{number}_with::set_bit({bit}) %if bit_clear({bit})')
        rules += _value(rule, value, schema)
    return lines + rules


def _value(rule: str, schema: Any, root: Schema) -> list[str]:
    """Rules for a value and the tag behind it."""
    members = _members(schema, root, 0)
    if members:
        texts = [member if isinstance(member, str) else json.dumps(member, ensure_ascii=False) for member in members]
        return [f"{rule}: ({' | '.join(map(literal, dict.fromkeys(texts)))}) {_END}"]
    types = allowed_types(schema, root, 0)
    if types == {"string"} and (kept := _text(_target(schema, root))):
        terminal = rule.upper()
        return [f"{rule}[lazy]: {terminal}", f"{terminal}: ({' & '.join(kept)}) {_END}"]
    if not types or "string" in types:
        return [f"{rule}: text"]
    shared = {key: root[key] for key in ("$defs", "definitions") if key in root}
    return [f"{rule}: %json {json.dumps(bounded({**shared, **schema}))} {_END}"]


def _text(schema: Schema) -> list[str]:
    """Terminals that a text must be, all of them, when its schema says more than that it is one."""
    kept = []
    if isinstance(pattern := schema.get("pattern"), str):
        before, after = "" if pattern.startswith("^") else "(?s:.*)", "" if pattern.endswith("$") else "(?s:.*)"
        kept.append(regex_terminal(f"{before}({full_match(pattern)}){after}"))
    least, most = schema.get("minLength", 0), schema.get("maxLength", "")
    if (least, most) != (0, ""):
        kept.append(f"/(?s:.{{{least},{most}}})/")
    return [*kept, r"~/(?s:.*)<\/parameter>(?s:.*)/"] if kept else []


def _members(schema: Any, root: Schema, depth: int) -> list[Any] | None:
    """All values of a schema that has few: an enumeration, truth values, null and unions of these; else None."""
    if not isinstance(schema, Mapping) or depth > MAX_SCHEMA_DEPTH:
        return None
    if isinstance(schema.get("$ref"), str):
        return _members(resolve(schema["$ref"], root), root, depth + 1)
    found: list[Any] | None = None
    kinds = allowed_types({"type": schema.get("type")}, root)
    if "const" in schema:
        found = [schema["const"]]
    elif isinstance(schema.get("enum"), list):
        found = schema["enum"]
    elif isinstance(branches := schema.get("anyOf", schema.get("oneOf")), list):
        parts = [_members(branch, root, depth + 1) for branch in branches]
        found = None if None in parts else [member for part in parts for member in part or []]
    elif kinds and kinds <= {"boolean", "null"}:
        found = ([True, False] if "boolean" in kinds else []) + ([None] if "null" in kinds else [])
    return [*found, None] if found is not None and schema.get("nullable") is True else found


def _target(schema: Any, root: Schema) -> Schema:
    """The schema itself or what it refers to."""
    for _ in range(MAX_SCHEMA_DEPTH):
        if not isinstance(schema, Mapping) or not isinstance(schema.get("$ref"), str):
            break
        schema = resolve(schema["$ref"], root)
    return schema if isinstance(schema, Mapping) else {}
