"""Grammars of JSON that fits a schema in the simple form of schemas.py.

llguidance makes grammars of such schemas by itself, but it reads every number as a double. Where that could change one,
the number and the objects and arrays around it are written as Lark here.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from qwill.text.lark import WHITE_SPACE, bounded, literal, regex_terminal
from qwill.text.numbers import Bound, decimals, integers
from qwill.text.schema_types import SMALL, exact, places

Schema = Mapping[str, Any]

# With the white space that llguidance's own JSON has here, its rules and ours can stand side by side.
_BEGINNING = f'%llguidance {{"ignore_once": true}}\n%ignore {regex_terminal(WHITE_SPACE)}'
_KEY = r"""/"([^"\\\x00-\x1F\x7F]|\\["\\bfnrt]|\\u00[01][0-9a-f])*"/"""
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def json_grammar(schema: Schema, options: Any = None) -> dict[str, Any]:
    """A grammar, as llguidance takes it, of the values that fit. `options`: the `x-guidance` of the schema."""
    if is_plain(schema, schema.get("$defs", {})):
        return {"json_schema": bounded(schema if options is None else {**schema, "x-guidance": options})}
    return {"lark_grammar": _Writing(schema.get("$defs", {})).whole(schema)}


def value_grammar(forms: Sequence[Schema], definitions: Schema) -> dict[str, Any]:
    """A grammar of JSON that fits one of the nodes, where texts that are listed stand as they are, without quotes."""
    listed = [one for form in forms for one in form.get("enum", ()) if isinstance(one, str)]
    others = [{**form, "enum": rest} if "enum" in form else form for form in forms
              if (rest := [one for one in form.get("enum", [None]) if not isinstance(one, str)])]  # fmt: skip
    return {"lark_grammar": _Writing(definitions).whole({"anyOf": others}, listed)}


def number_terminal(node: Schema) -> str:
    """The terminal of the numbers of a node."""
    if node["type"] == "integer":
        return regex_terminal(integers(node.get("minimum"), node.get("maximum")))
    low, high = _end(node, "inimum"), _end(node, "aximum")
    return regex_terminal(decimals(low, high, places(node.get("multipleOf"))))


def _end(node: Schema, name: str) -> Bound | None:
    if f"m{name}" in node:
        return Bound(exact(node[f"m{name}"]))
    return Bound(exact(node[f"exclusiveM{name}"]), open=True) if f"exclusiveM{name}" in node else None


def is_plain(node: Any, definitions: Schema) -> bool:
    """Whether llguidance reads all numbers of a node, and of what it refers to, as they are."""
    return all(_is_plain_alone(one) for one in _reached(node, definitions)[0])


def _reached(node: Any, definitions: Schema) -> tuple[list[Schema], list[str]]:
    """All nodes in a node, itself among them, and the definitions that they refer to."""
    found: list[Schema] = []
    names: dict[str, None] = {}
    pending = [node]
    while pending:
        one = pending.pop()
        if isinstance(one, bool):
            continue
        found.append(one)
        if "$ref" in one and _name(one) not in names:
            names[_name(one)] = None
            pending.append(definitions[_name(one)])
        for key in ("anyOf", "prefixItems"):
            pending += one.get(key, [])
        for key in ("properties", "patternProperties"):
            pending += one.get(key, {}).values()
        pending += [one[key] for key in ("items", "additionalProperties") if key in one]
    return found, list(names)


def _name(node: Schema) -> str:
    return str(node["$ref"].rpartition("/")[2])


def _is_plain_alone(node: Schema) -> bool:
    if "enum" in node:
        return all(map(_is_plain_member, node["enum"]))
    if node.get("type") == "integer":
        return all(abs(node[key]) <= SMALL for key in _BOUNDS if key in node)
    return node.get("type") != "number" or not any(key in node for key in (*_BOUNDS, "multipleOf"))


def _is_plain_member(member: Any) -> bool:
    if isinstance(member, list | dict):
        return all(map(_is_plain_member, member.values() if isinstance(member, dict) else member))
    if isinstance(member, float):
        return "e" not in repr(member) and len(repr(member)) <= 16 and (member != 0 or repr(member) == "0.0")
    return isinstance(member, bool) or not isinstance(member, int) or abs(member) <= SMALL


class _Writing:
    """Writes the Lark of a schema: a rule for each definition and for each place in an object or array."""

    def __init__(self, definitions: Schema) -> None:
        self._definitions = definitions
        self._rules: list[str] = []
        self._referred: dict[str, None] = {}
        self._count = 0

    def whole(self, schema: Schema, texts: Sequence[str] = ()) -> str:
        """The grammar of values that fit, or are one of the texts."""
        start = self._expression({key: value for key, value in schema.items() if key != "$defs"})
        start = " | ".join([start, *map(literal, texts)])
        written = 0
        while written < len(self._referred):
            name = list(self._referred)[written]
            self._rules.append(f"of_{name}: {self._expression(self._definitions[name])}")
            written += 1
        return "\n".join([_BEGINNING, f"start: {start}", *self._rules, ""])

    def _expression(self, node: Any) -> str:
        if is_plain(node, self._definitions):
            return self._json(node)
        if "$ref" in node:
            self._referred[_name(node)] = None
            return f"of_{_name(node)}"
        if "anyOf" in node:
            return f"({' | '.join(self._expression(branch) for branch in node['anyOf'])})"
        if "enum" in node:
            return self._members(node["enum"])
        if node["type"] == "array":
            return self._array(node)
        return self._object(node) if node["type"] == "object" else number_terminal(node)

    def _json(self, node: Any) -> str:
        names = _reached(node, self._definitions)[1]
        definitions = {"$defs": {name: self._definitions[name] for name in names}} if names else {}
        return f"%json {json.dumps(bounded({**node, **definitions}))}"

    def _new_name(self) -> str:
        self._count += 1
        return f"n{self._count}"

    def _members(self, members: Sequence[Any]) -> str:
        alone = [one for one in members if not isinstance(one, list | dict)]
        texts = [self._member(one) for one in members if isinstance(one, list | dict)]
        if alone:
            name = self._new_name().upper()
            self._rules.append(f"{name}: {' | '.join(map(self._member, alone))}")
            texts.append(name)
        return f"({' | '.join(texts)})"

    def _member(self, member: Any) -> str:
        if isinstance(member, dict):
            pairs = [f'{_text(key)} ":" {self._member(value)}' for key, value in member.items()]
            return " ".join(['"{"', ' "," '.join(pairs), '"}"'])
        if isinstance(member, list):
            return " ".join(['"["', ' "," '.join(map(self._member, member)), '"]"'])
        return _text(member)

    def _array(self, node: Schema) -> str:
        """A rule for each of the first items, with what comes behind it."""
        prefix, least, most = node.get("prefixItems", []), node.get("minItems", 0), node.get("maxItems")
        prefix = prefix if most is None else prefix[:most]
        name, count = self._new_name(), len(prefix)
        rest = node.get("items", {})
        room = None if most is None else most - count
        if rest is False or room == 0:
            tail, alone = '""', '""'
        else:
            item, needed = self._expression(rest), max(least - count, 0)
            tail, alone = _list_behind(item, needed, room), _list(item, needed, room)
        self._rules.append(f"{name}_{count}: {tail if prefix else alone}")
        for place, item in enumerate(prefix):
            comma, end = '"," ' if place else "", ' | ""' if place >= least else ""
            self._rules.append(f"{name}_{place}: {comma}{self._expression(item)} {name}_{place + 1}{end}")
        return f'"[" {name}_0 "]"'

    def _object(self, node: Schema) -> str:
        required = set(node.get("required", ()))
        properties = {key: value for key, value in node.get("properties", {}).items() if value is not False}
        optional = [key for key in properties if key not in required]
        least, most = node.get("minProperties", 0), node.get("maxProperties")
        if not optional or (least == 0 and most is None):
            return self._members_of(node, properties, required, max(least - len(required), 0), most)
        # At most, exactly or at least one of those that are optional, and no others.
        forms = [({**properties}, required | {key}) for key in optional]
        if most is not None:
            forms = [({key: properties[key] for key in properties if key in needed}, needed) for _, needed in forms]
            forms += [({key: properties[key] for key in properties if key in required}, required)] if not least else []
        return f"({' | '.join(self._members_of(node, inner, needed, 0, None) for inner, needed in forms)})"

    def _members_of(self, node: Schema, properties: Schema, required: set[str], least: int, most: int | None) -> str:
        """Two rules for each property: for objects that have a member already, and for those that have none."""
        name, count = self._new_name(), len(properties)
        other = self._other_member(node, properties)
        room = None if most is None else most - len(required)
        if other is None or room == 0:
            more, first = '""', '""'
        else:
            more, first = _list_behind(other, least, room), _list(other, least, room)
        self._rules += [f"{name}_more_{count}: {more}", f"{name}_first_{count}: {first}"]
        for place, (key, value) in enumerate(properties.items()):
            member = f'{_text(key)} ":" {self._expression(value)} {name}_more_{place + 1}'
            without = "" if key in required else f" | {name}_{{}}_{place + 1}"
            self._rules.append(f'{name}_more_{place}: "," {member}' + without.format("more"))
            self._rules.append(f"{name}_first_{place}: {member}" + without.format("first"))
        return f'"{{" {name}_first_0 "}}"'

    def _other_member(self, node: Schema, properties: Schema) -> str | None:
        """A member that no property names. With patterns, other names are left to objects of plain numbers: there they
        can be told from those that match."""
        patterns = node.get("patternProperties", {})
        if patterns:
            forms = [] if node.get("properties") else [
                f'{self._json({"type": "string", "pattern": key})} ":" {self._expression(value)}'
                for key, value in patterns.items() if value is not False
            ]  # fmt: skip
            return f"({' | '.join(forms)})" if forms else None
        rest = node.get("additionalProperties", {})
        if rest is False:
            return None
        name = self._new_name().upper()
        taken = " | ".join(map(_text, node.get("properties", {})))
        self._rules.append(f"{name}: {_KEY}" + (f" & ~({taken})" if taken else ""))
        return f'{name} ":" {self._expression(rest)}'


def _text(value: Any) -> str:
    """The terminal of a value's JSON."""
    return literal(json.dumps(value, ensure_ascii=False))


def _list(item: str, least: int, most: int | None) -> str:
    """From `least` to `most` items with commas between them; `most` is at least 1."""
    found = f"({item} {_list_behind(item, max(least - 1, 0), None if most is None else most - 1)})"
    return found if least else f"{found}?"


def _list_behind(item: str, least: int, most: int | None) -> str:
    """The same with a comma before each."""
    if most == 0:
        return '""'
    return f'("," {item})' + ("*" if (least, most) == (0, None) else f"{{{least},{'' if most is None else most}}}")
