"""Simple schemas (sound.py) without branches whose values never come to an end, as a list that has to go on."""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]


def with_ends(node: Schema, definitions: Schema) -> tuple[Schema | None, Schema]:
    """A node and its definitions with what can come to an end alone; None when nothing can."""
    ending: set[str] = set()
    found = -1
    while found < len(ending) < len(definitions):
        found = len(ending)
        # Those that others refer to are made first, so that most are settled at once.
        ending.update(name for name in definitions if name not in ending and _ends(definitions[name], ending))
    if len(ending) == len(definitions):
        return node, definitions
    kept = {name: _pruned(definitions[name], ending) for name in definitions if name in ending}
    return _pruned(node, ending), {name: inner for name, inner in kept.items() if inner is not None}


def _ends(node: Any, ending: set[str]) -> bool:
    if isinstance(node, bool):
        return node
    if "$ref" in node:
        return node["$ref"].rpartition("/")[2] in ending
    if "anyOf" in node:
        return any(_ends(branch, ending) for branch in node["anyOf"])
    if node.get("type") == "object":
        return all(_ends(node["properties"][name], ending) for name in node.get("required", ()))
    if node.get("type") == "array":
        prefix, least = node.get("prefixItems", []), node.get("minItems", 0)
        needed = prefix[:least] + ([node.get("items", True)] if least > len(prefix) else [])
        return all(_ends(item, ending) for item in needed)
    return True


def _pruned(node: Any, ending: set[str]) -> Any:
    """The node without what has no end; None when it has none itself."""
    if isinstance(node, bool):
        return node
    if not _ends(node, ending):
        return None
    if "anyOf" in node:
        return {"anyOf": [inner for branch in node["anyOf"] if (inner := _pruned(branch, ending)) is not None]}
    found = dict(node)
    for key in ("properties", "patternProperties"):
        if key in found:
            found[key] = {name: _or_false(_pruned(inner, ending)) for name, inner in found[key].items()}
    for key in ("additionalProperties", "items"):
        if key in found:
            found[key] = _or_false(_pruned(found[key], ending))
    if "prefixItems" in found:
        items = [_pruned(item, ending) for item in found["prefixItems"]]
        count = items.index(None) if None in items else len(items)
        found["prefixItems"] = items[:count]
        if count < len(items):
            found |= {"items": False, "maxItems": min(found.get("maxItems", count), count)}
    if found.get("items") is False:
        count = len(found.get("prefixItems", []))
        found["maxItems"] = min(found.get("maxItems", count), count)
    return found


def _or_false(node: Mapping[str, Any] | bool | None) -> Any:
    return False if node is None else node
