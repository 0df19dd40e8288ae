"""What the keywords of arrays and objects say together, in the simple form of sound.py."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qwill.errors import InvalidArgument
from qwill.text.schemas.parts import LeftOut, Part, count_of
from qwill.text.schemas.patterns import disjoint, matches
from qwill.text.schemas.values import sayable

Schema = dict[str, Any]
Node = Schema | None
Inner = Callable[[list[Part]], Node]

MOST_PROPERTIES = 1000  # that a grammar names one behind the other
MOST_ITEMS = 2**20  # as many as no answer has
ARRAYS = ("items", "prefixItems", "additionalItems", "minItems", "maxItems", "unevaluatedItems")
OBJECTS = ("properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties",
            "unevaluatedProperties")  # fmt: skip


def array_shape(groups: Sequence[Part], left_out: LeftOut, inner: Inner) -> Node:
    """Arrays whose items fit all that is said of them."""
    least, most, heads, rests = 0, None, [], []
    for group in groups:
        if (count := count_of(group, "minItems", left_out)) is not None:
            least = max(least, count)
        if (count := count_of(group, "maxItems", left_out)) is not None:
            most = count if most is None else min(most, count)
        head, rest = _items(group, left_out)
        heads.append(head)
        rests.append(rest)
    prefix: list[Node] = []
    for place in range(max(map(len, heads), default=0)):
        parts = [head[place] if place < len(head) else rest for head, rest in zip(heads, rests, strict=True)]
        node = inner([part for part in parts if part is not None])
        if node is None:
            most = place if most is None else min(most, place)
            break
        prefix.append(node)
    rest_node = inner([rest for rest in rests if rest is not None])
    if rest_node is None:
        most = len(prefix) if most is None else min(most, len(prefix))
    if most is not None and least > most:
        return None
    found: Schema = {"type": "array"}
    if prefix:
        found["prefixItems"] = prefix
    if rest_node != {}:
        found["items"] = False if rest_node is None else rest_node
    if least:
        found["minItems"] = least
    if most is not None and most <= MOST_ITEMS:
        found["maxItems"] = most
    return found


def _items(group: Part, left_out: LeftOut) -> tuple[list[Part], Part | None]:
    """The schemas of the first items and of all others, in the words of any draft."""
    schema = group.schema
    listed = "items" if isinstance(schema.get("items"), list) else "prefixItems"
    head = schema.get(listed, [])
    if not isinstance(head, list):
        left_out.add(group.at(listed))
        head = []
    others = "additionalItems" if listed == "items" else "items"
    if others not in schema:
        others = "unevaluatedItems"
    rest = group.inner(others) if others in schema else None
    return [group.inner(listed, place) for place in range(len(head))], rest


def object_shape(groups: Sequence[Part], left_out: LeftOut, inner: Inner) -> Node:
    """Objects whose members fit all that is said of them, in the order of their properties."""
    groups = [group for group in groups if group.schema.keys() & set(OBJECTS)]
    properties = [_map_of(group, "properties", left_out) for group in groups]
    patterns = _patterns(groups, left_out)
    others = [_additional(group) for group in groups]
    required = _required(groups, left_out)
    members: Schema = {}
    for name in dict.fromkeys([*(name for found in properties for name in found), *required]):
        if not sayable(name):
            left_out.add(groups[0].at("properties", name))
            continue
        parts: list[Part | None] = []
        for found, matched, other in zip(properties, patterns, others, strict=True):
            said = [found[name]] if name in found else []
            said += [part for pattern, part in matched.items() if matches(pattern, name)]
            parts += said or [other]
        node = inner([part for part in parts if part is not None])
        if node is None and name in required:
            return None
        members[name] = False if node is None else node
    if len(members) > MOST_PROPERTIES:
        members = _as_many_as_fit(groups, members, required, left_out)
    shape: Schema = {"type": "object"}
    if members:
        shape["properties"] = members
    matching: Schema = {}
    for pattern in dict.fromkeys(pattern for found in patterns for pattern in found):
        parts = [found.get(pattern, other) for found, other in zip(patterns, others, strict=True)]
        node = inner([part for part in parts if part is not None])
        matching[pattern] = False if node is None else node
    if matching:
        shape["patternProperties"] = matching
    rest = inner([other for other in others if other is not None])
    if rest != {}:
        shape["additionalProperties"] = False if rest is None else rest
    if kept := [name for name in required if name in members]:
        shape["required"] = kept
    return _counted(groups, shape, left_out)


def _as_many_as_fit(groups: Sequence[Part], members: Schema, required: Sequence[str], left_out: LeftOut) -> Schema:
    """The properties that are required and the first of the others; the rest answers do without."""
    room = MOST_PROPERTIES - len(required)
    if room < 0:
        raise InvalidArgument(
            f"{groups[0].place}: an object has {len(required)} required properties; grammars hold to {MOST_PROPERTIES}"
        )
    needed = set(required)
    dropped = dict.fromkeys([name for name in members if name not in needed][room:])
    for name in dropped:
        left_out.add(groups[0].at("properties", name))
    return {name: False if name in dropped else node for name, node in members.items()}


def _patterns(groups: Sequence[Part], left_out: LeftOut) -> list[dict[str, Part]]:
    """The `patternProperties` of each group; none where they cannot be told apart."""
    found = [_map_of(group, "patternProperties", left_out) for group in groups]
    together = tuple(dict.fromkeys(pattern for part in found for pattern in part))
    if not together or disjoint(together):
        return found
    for group, part in zip(groups, found, strict=True):
        if part:
            left_out.add(group.at("patternProperties"))
    return [{} for _ in groups]


def _map_of(group: Part, key: str, left_out: LeftOut) -> dict[str, Part]:
    found = group.schema.get(key, {})
    if not isinstance(found, Mapping):
        left_out.add(group.at(key))
        return {}
    return {name: group.inner(key, name) for name in found}


def _additional(group: Part) -> Part | None:
    for key in ("additionalProperties", "unevaluatedProperties"):
        if key in group.schema:
            return group.inner(key)
    return None


def _required(groups: Sequence[Part], left_out: LeftOut) -> list[str]:
    found: dict[str, None] = {}
    for group in groups:
        listed = group.schema.get("required")
        if isinstance(listed, list) and all(isinstance(name, str) for name in listed):
            found.update(dict.fromkeys(listed))
        elif listed is not None and not isinstance(listed, bool):  # draft 3 says so in the property
            left_out.add(group.at("required"))
    return list(found)


def _counted(groups: Sequence[Part], shape: Schema, left_out: LeftOut) -> Node:
    """The shape with the bounds on how many members there are, as far as grammars count them."""
    least = max([count_of(group, "minProperties", left_out) or 0 for group in groups], default=0)
    bounds = [count for group in groups if (count := count_of(group, "maxProperties", left_out)) is not None]
    most = min(bounds, default=None)
    required, properties = set(shape.get("required", ())), shape.get("properties", {})
    optional = [name for name, node in properties.items() if node is not False and name not in required]
    closed = shape.get("additionalProperties") is False and "patternProperties" not in shape
    if most is not None and (most < least or most < len(required)):
        return None
    if closed and least > len(required) + len(optional):
        return None
    if most is not None and closed and most >= len(required) + len(optional):
        most = None
    if least <= len(required):
        least = 0
    one_more = least in (0, len(required) + 1) and most in (None, len(required) + 1)
    # Members with names that match a pattern are not counted beside others.
    countable = "patternProperties" not in shape and (not optional or (closed and one_more))
    # Names that no property has may come twice, and then count once: no more than one of them is sure.
    sure = least if closed else min(least, len(required) + 1)
    for key, bound, held in (("minProperties", least or None, sure), ("maxProperties", most, most)):
        if bound is not None and countable:
            shape[key] = held
        if bound is not None and not (countable and bound == held):
            for group in groups:
                if key in group.schema:
                    left_out.add(group.at(key))
    return shape
