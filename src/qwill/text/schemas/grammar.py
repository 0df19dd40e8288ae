"""Grammars of JSON that fits a schema in the simple form of sound.py.

llguidance makes grammars of such schemas by itself, but it reads every number as a double. Where that could change one,
the number and the objects and arrays around it are written as Lark here.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from qwill.text.lark import WHITE_SPACE, bounded, literal, regex_terminal
from qwill.text.schemas.numbers import Bound, decimals, integers
from qwill.text.schemas.types import SMALL, exact, places

Schema = Mapping[str, Any]

# With the white space that llguidance's own JSON has here, its rules and ours can stand side by side.
_BEGINNING = f'%llguidance {{"ignore_once": true}}\n%ignore {regex_terminal(WHITE_SPACE)}'
_KEY = r"""/"([^"\\\x00-\x1F\x7F]|\\["\\bfnrt]|\\u00[01][0-9a-f])*"/"""
_FEW = 8  # rules that a rule names one behind the other
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
    """Writes the Lark of a schema."""

    def __init__(self, definitions: Schema) -> None:
        self._definitions = definitions
        self._rules: list[str] = []
        self._referred: dict[str, None] = {}
        self._shared: dict[str, str] = {}  # what is written once: an expression, and its name
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
        return self._object(node) if node["type"] == "object" else self._once(number_terminal(node))

    def _json(self, node: Any) -> str:
        names = _reached(node, self._definitions)[1]
        definitions = {"$defs": {name: self._definitions[name] for name in names}} if names else {}
        return self._once(f"%json {json.dumps(bounded({**node, **definitions}))}", terminal=False)

    def _once(self, expression: str, terminal: bool = True) -> str:
        """The name of a rule or terminal for an expression that may come again."""
        if expression not in self._shared:
            name = self._new_name()
            self._shared[expression] = name.upper() if terminal else name
            self._rules.append(f"{self._shared[expression]}: {expression}")
        return self._shared[expression]

    def _new_name(self) -> str:
        self._count += 1
        return f"n{self._count}"

    def _members(self, members: Sequence[Any]) -> str:
        alone = [one for one in members if not isinstance(one, list | dict)]
        texts = [self._member(one) for one in members if isinstance(one, list | dict)]
        if alone:
            texts.append(self._once(" | ".join(map(self._member, alone))))
        return f"({' | '.join(texts)})"

    def _member(self, member: Any) -> str:
        if isinstance(member, dict):
            pairs = [f'{_text(key)} ":" {self._member(value)}' for key, value in member.items()]
            return " ".join(['"{"', ' "," '.join(pairs), '"}"'])
        if isinstance(member, list):
            return " ".join(['"["', ' "," '.join(map(self._member, member)), '"]"'])
        return _text(member)

    def _array(self, node: Schema) -> str:
        prefix, least, most = node.get("prefixItems", []), node.get("minItems", 0), node.get("maxItems")
        prefix = prefix if most is None else prefix[:most]
        count, rest = len(prefix), node.get("items", {})
        room = None if most is None else most - count
        item = None if rest is False or room == 0 else self._expression(rest)
        if not prefix:
            return f'"[" {_list(item, least, room) if item is not None else ""} "]"'
        others = _list_behind(item, max(least - count, 0), room) if item is not None else ""
        heads = [('"," ' if place else "") + self._expression(head) for place, head in enumerate(prefix)]
        if least >= count:
            return f'"[" {self._all(heads)} {others} "]"'
        needed, more = heads[:least], heads[least:]
        some = self._once(f"{self._some(more)} | {self._all(more)} {others}", terminal=False)
        return f'"[" {self._all(needed)} {some} "]"'

    def _all(self, expressions: Sequence[str]) -> str:
        """One behind the other. Rules name no more than a few others, so that none is deep, however many there are."""
        if len(expressions) <= _FEW:
            return " ".join(expressions)
        half = len(expressions) // 2
        return self._once(f"{self._all(expressions[:half])} {self._all(expressions[half:])}", terminal=False)

    def _some(self, expressions: Sequence[str]) -> str:
        """The first ones, as many as there are or fewer."""
        if len(expressions) == 1:
            return f"({expressions[0]})?"
        half = len(expressions) // 2
        more = f"{self._all(expressions[:half])} {self._some(expressions[half:])}"
        return self._once(f"{more} | {self._some(expressions[:half])}", terminal=False)

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
        """An object of these properties, in their order, and then others."""
        members = [
            (f'{_text(key)} ":" {self._expression(value)}', key in required) for key, value in properties.items()
        ]
        other = self._other_member(node, properties)
        room = None if most is None else most - len(required)
        if other is None or room == 0:
            others = first_others = ""
        else:
            others, first_others = _list_behind(other, least, room), _list(other, least, room)
        if not members:
            return f'"{{" {first_others} "}}"'
        more = [f'("," {member})' + ("" if needed else "?") for member, needed in members]
        first = f"{self._first(members, more)} {others}"
        if any(needed for _, needed in members):
            return f'"{{" {first} "}}"'
        none = first_others or '""'
        return f'"{{" ({first} | {none}) "}}"'

    def _first(self, members: Sequence[tuple[str, bool]], more: Sequence[str]) -> str:
        """One member or more, all that are needed among them. `more`: each with a comma before it."""
        if len(members) == 1:
            return members[0][0]
        half = len(members) // 2
        forms = [f"{self._first(members[:half], more[:half])} {self._all(more[half:])}"]
        if not any(needed for _, needed in members[:half]):
            forms.append(self._first(members[half:], more[half:]))
        return self._once(" | ".join(forms), terminal=False)

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
        taken = " | ".join(map(_text, node.get("properties", {})))
        name = self._once(_KEY + (f" & ~({taken})" if taken else ""))
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
