"""Grammars of the tool calls that parsers/qwen.py reads: known functions, all required parameters, fitting values.

Parameters may come in any order, each at most once. A value is JSON where the schema allows no text; one of a list
where it names one; else text, of the lengths and pattern that the schema asks for, without `</parameter>`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qwill.errors import InvalidArgument
from qwill.text.lark import literal, regex_terminal
from qwill.text.parsers.qwen import CLOSING, OPENING
from qwill.text.schemas.grammar import json_grammar, number_terminal, value_grammar
from qwill.text.schemas.parts import LeftOut, dotted
from qwill.text.schemas.patterns import searched
from qwill.text.schemas.sound import sound

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
_WITHOUT_END = r"~/(?s:.*)<\/parameter>(?s:.*)/"
_TOGETHER = 64  # parameters in any order: the bits that tell which of them a call has


@dataclass
class Calls:
    """Rules in Lark: `calls` is one call or more. `grammars` are others that they name. `left_out` has all that they do
    not hold to, `lost` for each function what of it restricts its arguments."""

    rules: str = ""
    grammars: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    lost: dict[str, tuple[str, ...]] = field(default_factory=dict)


def call_rules(functions: Mapping[str, Schema | None]) -> Calls:
    """The grammar of calls of the functions, by their names.

    A function's schema is that of its parameters; None lets it have any parameters. Raises InvalidArgument when the
    syntax can hold none of the names, and for a schema with too many parts.
    """
    calls, lines, names = Calls(), [_COMMON], []
    for number, (name, schema) in enumerate(functions.items()):
        left_out = LeftOut()
        if not _sayable(name):
            left_out.add(dotted("tools", name, "name"))
        else:
            names.append(literal(f"{name}>\n") + f" f{number}")
            lines += (
                _any_parameters(number) if schema is None else _Function(number, name, calls, left_out).rules(schema)
            )
        calls.left_out += left_out.all
        calls.lost[name] = left_out.lost
    if not names:
        listed = ", ".join(map(repr, functions))
        raise InvalidArgument(f"a tool cannot be called {listed}: the model's syntax has no place for such a name")
    calls.rules = "\n".join([*lines, f"function: {' | '.join(names)}", ""])
    return calls


def _sayable(name: str) -> bool:
    return bool(name.strip()) and name == name.strip() and not set(name) & set("<>\n") and _is_text(name)


def _is_text(name: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _any_parameters(number: int) -> list[str]:
    return [
        f"f{number}: any{number}*",
        f'any{number}: "<parameter=" KEY{number} ">\\n" text "\\n"',
        rf"KEY{number}: /[^\s<>]([^<>\n]*[^\s<>])?/",
    ]


class _Function:
    """Writes the rules of one function."""

    def __init__(self, number: int, name: str, calls: Calls, left_out: LeftOut) -> None:
        self._number = number
        self._place = dotted("tools", name, "parameters")
        self._calls = calls
        self._left_out = left_out
        self._definitions: Schema = {}

    def rules(self, schema: Schema) -> list[str]:
        found = sound(schema, self._place)
        for name in found.left_out:
            self._left_out.add(name, hint=name not in found.lost)
        self._definitions = (found.schema or {}).get("$defs", {})
        forms = [] if found.schema is None else self._alternatives(found.schema)
        objects = [form for form in forms if form.get("type") == "object"] + ([{}] if {} in forms else [])
        if not objects:  # no arguments fit
            self._left_out.add(self._place)
            return _any_parameters(self._number)
        rules = [rule for place, form in enumerate(objects) for rule in self._form(f"f{self._number}_{place}", form)]
        return [f"f{self._number}: " + " | ".join(f"f{self._number}_{place}" for place in range(len(objects))), *rules]

    def _alternatives(self, node: Schema) -> list[Schema]:
        """What a node allows, without unions and references."""
        found: list[Schema] = []
        pending, seen = [node], set()
        while pending:
            one = pending.pop(0)
            if "anyOf" in one:
                pending = [*one["anyOf"], *pending]
            elif "$ref" in one:
                name = one["$ref"].rpartition("/")[2]
                pending = ([] if name in seen else [self._definitions[name]]) + pending
                seen.add(name)
            else:
                found.append({key: value for key, value in one.items() if key != "$defs"})
        return found

    def _form(self, rule: str, node: Schema) -> list[str]:
        """Rules of one set of parameters: those that are required and then the others, in any order among as many as
        there are bits for. A rule's parameter is a set of bits, one for each that the call has so far."""
        for key in ("minProperties", "maxProperties"):
            if key in node:
                self._left_out.add(f"{self._place}.{key}")
        properties = node.get("properties", {})
        required = [key for key in node.get("required", ()) if self._has_place(key)]
        names = [*required, *(key for key in properties if key not in required and self._has_place(key))]
        values = {key: properties[key] for key in names if properties[key] is not False}
        if not values:
            return [f'{rule}: ""']
        groups = [list(values)[start : start + _TOGETHER] for start in range(0, len(values), _TOGETHER)]
        rules = [f"{rule}: " + " ".join(f"{rule}_{place}::0" for place in range(len(groups)))]
        for place, group in enumerate(groups):
            needed = sum(key in required for key in group)
            complete = f" %if is_ones([0:{needed}])" if needed else ""
            rules.append(f'{rule}_{place}::_ : ""{complete}')
            inner = []
            for bit, key in enumerate(group):
                value = f"{rule}_{place}_v{bit}"
                tag = literal(f"<parameter={key}>\n")
                rules.append(f'| {tag} {value} "\\n" {rule}_{place}::set_bit({bit}) %if bit_clear({bit})')
                inner += self._value(value, values[key], dotted(self._place, "properties", key))
            rules += inner
        return rules

    def _has_place(self, key: str) -> bool:
        """Whether the syntax has a place for a parameter's name. One that it has none for is left out."""
        if not _sayable(key):
            self._left_out.add(dotted(self._place, "properties", key))
        return _sayable(key)

    def _value(self, rule: str, node: Schema, place: str) -> list[str]:
        """Rules for a value and the tag behind it."""
        forms = self._alternatives(node)
        texts = [form for form in forms if form.get("type") == "string"]
        nested = [form for form in forms if form.get("type") in ("array", "object") or _is_counted(form)]
        kept = [self._text(form, place) for form in texts]
        if not forms or {} in forms or [] in kept:
            return [f"{rule}: text"]
        if nested and texts:
            for form in texts:
                for key in form.keys() - {"type"}:
                    self._left_out.add(f"{place}.{key}")
            return [f"{rule}: text"]
        if nested:
            return [f"{rule}: {self._json(rule, node, forms)} {_END}"]
        terminals = [terminal for form in forms if form not in texts for terminal in _terminals(form)]
        if not texts:
            return [f"{rule}: ({' | '.join(dict.fromkeys(terminals))}) {_END}"]
        name = rule.upper()
        either = " | ".join([*(f"({' & '.join(one)})" for one in kept), *terminals])
        return [f"{rule}[lazy]: {name}", f"{name}: ({either}) {_END}"]

    def _json(self, rule: str, node: Schema, forms: Sequence[Schema]) -> str:
        """A value that is JSON, or one of some texts as they are."""
        plain = [member for form in forms for member in form.get("enum", ()) if isinstance(member, str)]
        whole = {**node, "$defs": self._definitions} if self._definitions else node
        grammar = value_grammar(forms, self._definitions) if plain else json_grammar(whole)
        if "json_schema" in grammar:
            return f"%json {json.dumps(grammar['json_schema'])}"
        self._calls.grammars.append({**grammar, "name": rule})
        return f"@{rule}"

    def _text(self, form: Schema, place: str) -> list[str]:
        """Terminals that a text must be, all of them; none when any text will do."""
        kept = []
        for pattern in [form["pattern"]] if "pattern" in form else [one["pattern"] for one in form.get("allOf", ())]:
            whole = searched(pattern)
            if whole is None:
                self._left_out.add(f"{place}.pattern")
            else:
                kept.append(regex_terminal(whole))
        least, most = form.get("minLength", 0), form.get("maxLength", "")
        if (least, most) != (0, ""):
            kept.append(f"/(?s:.{{{least},{most}}})/")
        return [*kept, _WITHOUT_END] if kept else []


def _is_counted(form: Schema) -> bool:
    """Whether numbers are multiples of one that no expression counts."""
    return form.get("type") == "integer" and "multipleOf" in form


def _terminals(form: Schema) -> list[str]:
    """The terminals of values that are no free text: texts as they are, others as JSON."""
    if form.get("type") in ("integer", "number"):
        return [number_terminal(form)]
    members = form.get("enum", {"boolean": [True, False], "null": [None]}.get(form.get("type", ""), []))
    return [literal(one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)) for one in members]
