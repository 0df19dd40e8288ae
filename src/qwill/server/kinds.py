"""Unions in requests: which of several things a value is meant to be, so that a mistake is told of that one alone.

pydantic puts the name of a union's member into the place of a mistake; `without_members` takes it out again, since
clients know their own fields alone.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from qwill.server.schemas import Open


def without_members(place: Iterable[int | str]) -> list[str]:
    """The fields and numbers that lead to a mistake."""
    return [str(part) for part in place if not (isinstance(part, str) and part[:1] == "<" and part[-1:] == ">")]


def as_member(kind: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
    """The same as the tag of a union's member, which `without_members` knows."""

    def tag(value: Any) -> str | None:
        found = kind(value)
        return None if found is None else f"<{found}>"

    return tag


class TextOr:
    """Annotates a union of a text and something else, which `what` describes."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        (other,) = (member for member in get_args(source) if member is not str)
        bare = other.__origin__ if hasattr(other, "__metadata__") else other
        form: Any = list if get_origin(bare) is list else (Mapping, BaseModel)

        def member(value: Any) -> str:
            return "<text>" if isinstance(value, str) else "<other>"

        def check(value: Any) -> Any:
            if not isinstance(value, str) and not isinstance(value, form):
                raise ValueError(f"must be a text or {self._what}")
            return value

        members = {"<text>": handler.generate_schema(str), "<other>": handler.generate_schema(other)}
        union = core_schema.tagged_union_schema(members, member)
        return core_schema.no_info_before_validator_function(check, union)


class ByType:
    """Annotates a union of models that a field's value tells apart. `what` is the plural of what they are.

    Values of the field that no model has are refused, unless `other` is one of the models: it takes all that are not
    among those `elsewhere`, which have a meaning in other places.
    """

    def __init__(
        self,
        what: str,
        field: str = "type",
        other: type[Open] | None = None,
        elsewhere: Collection[str] = (),
    ) -> None:
        self._what = what
        self._field = field
        self._other = other
        self._elsewhere = elsewhere

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        models = get_args(source)
        names = {kind: f"<{model.__name__}>" for model in models if model is not self._other
                 for kind in get_args(model.model_fields[self._field].annotation)}  # fmt: skip
        known = ", ".join(names)

        def member(value: Any) -> str | None:
            kind = value.get(self._field) if isinstance(value, Mapping) else getattr(value, self._field, None)
            if not isinstance(kind, str):
                return None
            if kind in names or self._other is None or kind in self._elsewhere:
                return names.get(kind)
            return f"<{self._other.__name__}>"

        def check(value: Any) -> Any:
            if not isinstance(value, Mapping | BaseModel):
                raise ValueError(f"must be an object whose {self._field} is one of {known}")
            if member(value) is None:
                kind = value.get(self._field) if isinstance(value, Mapping) else None
                told = f"{kind!r} is none of them" if kind is not None else "this has none"
                raise ValueError(f"the {self._field}s of {self._what} here are {known}; {told}")
            return value

        members = {f"<{model.__name__}>": handler.generate_schema(model) for model in models}
        union = core_schema.tagged_union_schema(members, member)
        return core_schema.no_info_before_validator_function(check, union)
