"""Parts of a JSON schema with their places in it, what references point at, and names of what a grammar leaves out."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urljoin

_UNSAFE = re.compile(r"[^A-Za-z0-9_$-]")
_MOST_NAMES = 32
_LONGEST_NAME = 160
_MOST_COUNTED = 2**20  # letters or items, more than any answer has


@dataclass(frozen=True)
class Part:
    """A schema, and the dotted name of its place."""

    schema: Any
    place: str

    def at(self, *keys: str | int) -> str:
        """The name of a place in it."""
        return dotted(self.place, *keys)

    def inner(self, *keys: str | int) -> "Part":
        """The part that is found by these keys."""
        schema = self.schema
        for key in keys:
            schema = schema[key]
        return Part(schema, self.at(*keys))


def dotted(place: str, *keys: str | int) -> str:
    """A place by its keys, in characters that a header can have."""
    return ".".join([place, *(_UNSAFE.sub("_", str(key))[:48] for key in keys)])


@dataclass
class LeftOut:
    """Names of what cannot be held to. `hints` restrict nothing; leaving them out loses nothing. `mistakes` say of what
    stands for nothing in any grammar what is wrong with it."""

    names: dict[str, None] = field(default_factory=dict)
    hints: dict[str, None] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)

    def add(self, place: str, hint: bool = False, mistake: str = "") -> None:
        (self.hints if hint else self.names)[place[:_LONGEST_NAME]] = None
        if mistake:
            self.mistakes.append(f"{place[:_LONGEST_NAME]}: {mistake}")

    @property
    def lost(self) -> tuple[str, ...]:
        return _first(self.names)

    @property
    def all(self) -> tuple[str, ...]:
        return _first({**self.names, **self.hints})


def count_of(part: Part, key: str, left_out: LeftOut) -> int | None:
    """A keyword that counts something; what is no count, or asks for more than any answer has, is left out."""
    value = part.schema.get(key)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or value < 0
        or (key.startswith("min") and value > _MOST_COUNTED)
    ):
        left_out.add(part.at(key))
        return None
    return value


def _first(names: Mapping[str, None]) -> tuple[str, ...]:
    shown = tuple(names)[:_MOST_NAMES]
    return shown if len(names) <= _MOST_NAMES else (*shown, f"and_{len(names) - _MOST_NAMES}_more")


class References:
    """What the references of a schema point at, in the schema itself."""

    def __init__(self, root: Part) -> None:
        self._root = root
        self._named: dict[str, Part] | None = None

    def find(self, reference: Any) -> Part | None:
        """The part that a reference names by a path, an anchor or an id; None for one outside."""
        if not isinstance(reference, str):
            return None
        if reference in ("", "#"):
            return self._root
        if reference.startswith("#/"):
            return _follow(self._root, [unquote(key) for key in reference[2:].split("/")])
        if self._named is None:
            self._named = dict(self._names())
        if reference in self._named:
            return self._named[reference]
        document, _, fragment = reference.partition("#")
        base = self._root if not document else self._named.get(document)
        if base is None or not fragment.startswith("/"):
            return base if base is not None and not fragment else None
        return _follow(base, [unquote(key) for key in fragment[1:].split("/")])

    def _names(self) -> Iterator[tuple[str, Part]]:
        """Ids, as they are written and joined with that of the root, and anchors."""
        root = self._root.schema
        base = root.get("$id", root.get("id")) if isinstance(root, Mapping) else None
        base = base if isinstance(base, str) else ""
        pending = [self._root]
        while pending:
            part = pending.pop()
            if isinstance(part.schema, Mapping):
                for key in ("$anchor", "$dynamicAnchor"):
                    if isinstance(anchor := part.schema.get(key), str):
                        yield f"#{anchor}", part
                for key in ("$id", "id"):
                    if isinstance(id := part.schema.get(key), str):
                        yield id.removesuffix("#"), part
                        yield _joined(base, id), part
                pending += [part.inner(key) for key in part.schema if isinstance(part.schema[key], Mapping | list)]
            elif isinstance(part.schema, list):
                pending += [part.inner(index) for index in range(len(part.schema))]


def _joined(base: str, id: str) -> str:
    try:
        return urljoin(base, id).removesuffix("#")
    except ValueError:
        return id


def _follow(part: Part, keys: list[str]) -> Part | None:
    for key in keys:
        key = key.replace("~1", "/").replace("~0", "~")
        schema = part.schema
        if isinstance(schema, Mapping) and key in schema:
            part = part.inner(key)
        elif isinstance(schema, list) and key.isascii() and key.isdigit() and int(key[:9]) < len(schema):
            part = part.inner(int(key[:9]))
        else:
            return None
    return part
