"""JSON schemas in one simple form that grammars are made of, and names of what grammars cannot hold to.

The form is JSON schema itself. A schema in it is `{}`, or `enum` with its members, or one `type` with keywords of that
type, or `anyOf` of such, or a `$ref` into the `$defs` beside it: nothing is to be combined any more. What fits it fits
all of the given schema but for what is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from qwill.errors import InvalidArgument
from qwill.text.schemas.ends import with_ends
from qwill.text.schemas.parts import LeftOut, Part, References
from qwill.text.schemas.shapes import array_shape, object_shape
from qwill.text.schemas.types import CONSTRAINTS, number, string, types_of, unheld
from qwill.text.schemas.values import ALL_TYPES, accepts, distinct, same, sayable, type_of, within

Schema = dict[str, Any]
Node = Schema | None  # None: nothing fits

LARGEST = 20_000  # parts of a schema, as often as they are combined
DEEPEST = 90  # levels of JSON; llguidance reads 128
MOST_COMBINATIONS = 1024  # of the branches of several unions in one place
MOST_BRANCHES = 128  # of a oneOf that are compared with each other
_ORDER = ("null", "boolean", "number", "integer", "string", "array", "object")
_COMBINING = ("$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf")


@dataclass(frozen=True)
class Sound:
    """A schema in the simple form; None when nothing can fit. `left_out`: all that it does not hold to, by dotted
    names; `lost`: those of them that restrict values; `mistakes`: what is wrong with those that mean nothing."""

    schema: Node
    left_out: tuple[str, ...]
    lost: tuple[str, ...]
    mistakes: tuple[str, ...] = ()


def sound(schema: Any, place: str) -> Sound:
    """The simple form of a schema. `place`: what names of its parts begin with.

    Raises InvalidArgument for one with too many parts.
    """
    left_out = LeftOut()
    making = _Making(Part(schema, place), left_out)
    node = making.whole()
    return Sound(node, left_out.all, left_out.lost, tuple(left_out.mistakes))


@dataclass(eq=False)
class _Made:
    """A combination of parts and what became of it; its node is shared once it is met again."""

    node: Node = None
    name: str | None = None
    begun: bool = False
    done: bool = False


class _Making:
    """Makes nodes of combinations of parts, each combination once."""

    def __init__(self, root: Part, left_out: LeftOut) -> None:
        self.left_out = left_out
        self._root = root
        self._references = References(root)
        self._made: dict[tuple[int, ...], _Made] = {}
        self._bare: dict[int, Part] = {}
        self._definitions: Schema = {}
        self._exclusive: list[tuple[str, list[Node]]] = []
        self._count = 0
        self._told: set[int] = set()
        self._here: set[tuple[int, ...]] = set()  # combinations that are being made for the same place of an answer

    def whole(self) -> Node:
        node = self.node([self._root], 0)
        for place, branches in self._exclusive:
            resolved = [branch for branch in branches if branch is not None]
            if len(resolved) > MOST_BRANCHES or not distinct(resolved, self._definitions):
                self.left_out.add(place)
        if node is None:
            return None
        node, definitions = with_ends(node, self._definitions)
        return node if node is None or not definitions else {**node, "$defs": definitions}

    def node(self, parts: Sequence[Part], depth: int) -> Node:
        """What fits all the parts."""
        parts = list(
            {id(part.schema): part for part in parts if part.schema is not True and part.schema != {}}.values()
        )
        if not parts:
            return {}
        key = tuple(sorted(id(part.schema) for part in parts))
        if key in self._here:  # a branch of itself, which adds no values to its others
            return None
        made = self._made.setdefault(key, _Made())
        if made.done or made.name is not None:
            return self._again(made)
        if made.begun:
            made.name = self._new_name()
            return {"$ref": f"#/$defs/{made.name}"}
        made.begun = True
        self._here.add(key)
        built = self._build(parts, depth)
        self._here.discard(key)
        made.done = True
        if made.name is not None:
            self._definitions[made.name] = {"enum": []} if built is None else built
            built = None if built is None else {"$ref": f"#/$defs/{made.name}"}
        made.node = built
        return built

    def _inner(self, parts: Sequence[Part], depth: int) -> Node:
        """What fits all the parts, for an item or a member of the values that are looked at."""
        outside, self._here = self._here, set()
        node = self.node(parts, depth)
        self._here = outside
        return node

    def _again(self, made: _Made) -> Node:
        if not made.done:
            return {"$ref": f"#/$defs/{made.name}"}
        node = made.node
        if node is None or not node.keys() & {
            "anyOf",
            "properties",
            "items",
            "prefixItems",
            "additionalProperties",
            "enum",
        }:
            return node if node is None else dict(node)
        if made.name is None:
            made.name = self._new_name()
            self._definitions[made.name] = dict(node)
            node.clear()
            node["$ref"] = f"#/$defs/{made.name}"
        return node

    def _new_name(self) -> str:
        self._count += 1
        return f"d{self._count}"

    def _build(self, parts: Sequence[Part], depth: int) -> Node:
        self._count += 1
        if self._count > LARGEST:
            raise InvalidArgument(f"{parts[0].place}: the schema has more than {LARGEST} parts; use a simpler one")
        if depth > DEEPEST:
            self.left_out.add(parts[0].place)
            return {}
        found = self._flatten(parts)
        if found is None:
            return None
        groups, unions = found
        return self._union(groups, unions, depth) if unions else self._typed(groups, depth)

    def _flatten(self, parts: Sequence[Part]) -> tuple[list[Part], list[Part]] | None:
        """The keywords that apply side by side, those of references and `allOf` among them, and the unions beside
        them; None when one of them is false."""
        groups: list[Part] = []
        unions: list[Part] = []
        pending, seen = list(parts), set()
        while pending:
            part = pending.pop(0)
            if part.schema is False:
                return None
            if part.schema is True or id(part.schema) in seen:
                continue
            seen.add(id(part.schema))
            if not isinstance(part.schema, Mapping):
                self.left_out.add(part.place)
                continue
            self._tell(part)
            groups.append(self._without_combining(part))
            further = [found for key in _COMBINING[:3] if key in part.schema and (found := self._referred(part, key))]
            for key in _COMBINING[3:]:
                branches = part.schema.get(key)
                if key in part.schema and not (isinstance(branches, list) and branches):
                    self.left_out.add(part.at(key))
                elif key == "allOf" and branches:
                    further += [part.inner(key, index) for index in range(len(branches))]
                elif branches:
                    unions.append(part.inner(key))
            pending = further + pending
        return groups, unions

    def _tell(self, part: Part) -> None:
        """Names the keywords that no grammar holds to."""
        if id(part.schema) not in self._told:
            self._told.add(id(part.schema))
            for key in unheld(part.schema):
                self.left_out.add(part.at(key))

    def _without_combining(self, part: Part) -> Part:
        """The part's own keywords; the same object each time, since combinations are known by their objects."""
        if not any(key in part.schema for key in _COMBINING):
            return part
        own = {key: value for key, value in part.schema.items() if key not in _COMBINING}
        if own.get("unevaluatedProperties") is False:
            self.left_out.add(part.at("unevaluatedProperties"))
        if own.get("unevaluatedItems") is False:
            self.left_out.add(part.at("unevaluatedItems"))
        own = {key: value for key, value in own.items() if not key.startswith("unevaluated")}
        return self._bare.setdefault(id(part.schema), Part(own if own.keys() & CONSTRAINTS else True, part.place))

    def _referred(self, part: Part, key: str) -> Part | None:
        found = self._references.find(part.schema[key])
        if found is None:
            reference = str(part.schema[key])[:80]
            nowhere = f"{reference!r} points at nothing in the schema" if reference.startswith("#") else ""
            self.left_out.add(part.at(key), mistake=nowhere if key == "$ref" else "")
        return found

    def _union(self, groups: Sequence[Part], unions: Sequence[Part], depth: int) -> Node:
        """One branch of each union, and all the groups."""
        kept: list[tuple[Part, list[Part]]] = []
        combinations = 1
        for union in unions:
            branches = [Part(branch, union.at(index)) for index, branch in enumerate(union.schema)]
            if kept and combinations * len(branches) > MOST_COMBINATIONS:
                self.left_out.add(union.place)
                continue
            combinations *= len(branches)
            kept.append((union, branches))
        chosen = list(product(*(branches for _, branches in kept)))
        nodes = [self.node([*groups, *branches], depth + 2) for branches in chosen]
        for union, branches in kept:
            if union.place.endswith(".oneOf"):
                apart = nodes if len(kept) == 1 else [self.node([branch], depth + 2) for branch in branches]
                self._exclusive.append((union.place, apart))
        return _one_of_them([node for node in nodes if node is not None])

    def _typed(self, groups: Sequence[Part], depth: int) -> Node:
        groups = [group for group in groups if group.schema is not True]
        types = ALL_TYPES
        for group in groups:
            types = types & types_of(group, self.left_out)
        members = self._members(groups)
        if members is not None:
            fitting = self._fitting([member for member in members if type_of(member) in types], groups, depth)
            return {"enum": fitting} if fitting else None
        if types == ALL_TYPES and not any(group.schema.keys() & CONSTRAINTS for group in groups):
            return {}
        kinds = types - {"integer", "fraction"} | {"number"} if "fraction" in types else types
        nodes = [self._of_type(kind, groups, depth) for kind in _ORDER if kind in kinds]
        return _one_of_them([node for node in nodes if node is not None])

    def _of_type(self, kind: str, groups: Sequence[Part], depth: int) -> Node:
        if kind in ("number", "integer"):
            return number(groups, kind == "integer", self.left_out)
        if kind == "string":
            return string(groups, self.left_out)
        if kind == "array":
            return array_shape(groups, self.left_out, lambda parts: self._inner(parts, depth + 2))
        if kind == "object":
            return object_shape(groups, self.left_out, lambda parts: self._inner(parts, depth + 2))
        return {"type": kind}

    def _fitting(self, members: Sequence[Any], groups: Sequence[Part], depth: int) -> list[Any]:
        """The members of an enumeration that fit the other keywords."""
        kinds = set(map(type_of, members))
        nodes = {kind: self._of_type(kind, groups, depth) for kind in kinds - {"integer", "fraction"}}
        return [
            member
            for member in members
            if (
                all(within(member, group.schema) for group in groups)
                if (kind := type_of(member)) in ("integer", "fraction")
                else nodes[kind] is not None and accepts(nodes[kind], member, self._definitions)
            )
        ]

    def _members(self, groups: Sequence[Part]) -> list[Any] | None:
        """The values that all `const` and `enum` have; None without any."""
        found: list[Any] | None = None
        for group in groups:
            for key in ("const", "enum"):
                if key not in group.schema:
                    continue
                listed = [group.schema[key]] if key == "const" else group.schema[key]
                if not isinstance(listed, list) or not all(map(sayable, listed)):
                    self.left_out.add(group.at(key))
                if not isinstance(listed, list) or not any(map(sayable, listed)):
                    continue
                members = {same(member): member for member in listed if sayable(member)}
                found = list(members.values()) if found is None else [one for one in found if same(one) in members]
        return found


def _one_of_them(nodes: list[Schema]) -> Node:
    if {} in nodes:
        return {}
    return None if not nodes else nodes[0] if len(nodes) == 1 else {"anyOf": nodes}
