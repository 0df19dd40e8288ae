"""The tools that a request to /v1/responses brings, and the choice among them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from qwill.server.custom_tools import custom_function, is_bound
from qwill.server.kinds import member, told_apart
from qwill.server.schemas import Open, Schema, other_than, type_of
from qwill.server.tools import (
    CHOICES,
    CUSTOM,
    FUNCTION,
    NAMESPACE,
    NO_CHOICE,
    NO_TYPE,
    OWN,
    Choice,
    Given,
    Known,
    Mode,
    given,
)

BRINGING = "additional_tools"  # an item that makes tools known
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class FunctionTool(Open):
    """A function that the model may call."""

    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None

    def given(self) -> Given:
        """The tool without words of this dialect."""
        about = self.model_dump(exclude={"type", "name"}, exclude_none=True)
        return Given(Known(FUNCTION, self.name), about)


class CustomFormat(Open):
    """What the input of a custom tool may be: any text, or one of a grammar."""

    type: Literal["text", "grammar"] = "text"
    syntax: Literal["lark", "regex"] | None = None
    definition: str | None = None

    def ignored_fields(self, place: str = "") -> Iterator[str]:
        """What only is told to the model, which is not held to it."""
        yield from super().ignored_fields(place)
        if not is_bound(self.syntax, self.definition):
            yield place.removesuffix(".")


class CustomTool(Open):
    """A function of one text."""

    type: Literal["custom"]
    name: Name
    description: str | None = None
    format: CustomFormat | None = None

    def given(self) -> Given:
        """The tool without words of this dialect."""
        form = self.format or CustomFormat()
        return Given(Known(CUSTOM, self.name), custom_function(self.description, form.syntax, form.definition))


def _any_type(value: Any) -> str | None:
    kind = type_of(value)
    return kind if kind in OWN else None if kind is None else "other"


Inner = Annotated[
    Annotated[FunctionTool, member("function")]
    | Annotated[CustomTool, member("custom")]
    | Annotated[dict[str, Any], other_than(FUNCTION, CUSTOM), member("other")],
    told_apart(lambda value: "other" if (kind := _any_type(value)) == NAMESPACE else kind, NO_TYPE),
]


class NamespaceTool(Open):
    """Functions that belong together. Their names are told with that of the namespace."""

    type: Literal["namespace"]
    name: Name
    description: str | None = None
    tools: list[Inner]


Tool = Annotated[
    Annotated[FunctionTool, member("function")]
    | Annotated[CustomTool, member("custom")]
    | Annotated[NamespaceTool, member("namespace")]
    | Annotated[dict[str, Any], other_than(*OWN), member("other")],
    told_apart(_any_type, NO_TYPE),
]


_TOOL: TypeAdapter[Any] = TypeAdapter(Tool)


class OneTool(Open):
    """A tool by its name."""

    type: Literal["function", "custom", "namespace"]
    name: Name
    namespace: Name | None = None


def _one_or_other(value: Any) -> str | None:
    kind = _any_type(value)
    return "one" if kind in OWN else kind


Named = Annotated[
    Annotated[OneTool, member("one")] | Annotated[dict[str, Any], other_than(*OWN), member("other")],
    told_apart(_one_or_other, NO_TYPE),
]


class AllowedTools(Open):
    """Those of the tools that may be called, or one of which must be."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[Named], Field(min_length=1)]


def _kind_of_choice(value: Any) -> str | None:
    if isinstance(value, str):
        return "mode"
    kind = type_of(value)
    return None if kind in CHOICES else "allowed_tools" if kind == "allowed_tools" else _one_or_other(value)


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], member("mode")]
    | Annotated[OneTool, member("one")]
    | Annotated[AllowedTools, member("allowed_tools")]
    | Annotated[dict[str, Any], other_than(*OWN, "allowed_tools"), member("other")],
    told_apart(_kind_of_choice, NO_CHOICE),
]


def given_tools(tools: Sequence[Any]) -> list[Given]:
    """A request's tools without words of this dialect, one after another where they come in namespaces."""
    return [one for tool in tools for one in (_inner(tool) if isinstance(tool, NamespaceTool) else [given(tool)])]


def brought_tools(item: Mapping[str, Any]) -> list[Given]:
    """The tools that an item of a conversation makes known, as far as they are well-formed and can be run."""
    tools = item.get("tools")
    if item.get("type") != BRINGING or not isinstance(tools, list):
        return []
    found: list[Any] = []
    for tool in tools:
        with suppress(ValidationError):
            found.append(_TOOL.validate_python(tool))
    return [one for one in given_tools(found) if one.function is not None]


def _inner(space: NamespaceTool) -> list[Given]:
    """The tools of a namespace, the first of which tells what all of them are about."""
    tools = [replace(one, tool=replace(one.tool, namespace=space.name)) for one in map(given, space.tools)]
    first = next((index for index, one in enumerate(tools) if one.function is not None), None)
    if space.description and first is not None:
        function = tools[first].function or {}
        told = f"About {space.name}: {space.description}"
        own = function.get("description")
        about = {"description": f"{own}\n\n{told}" if own else told}
        tools[first] = replace(tools[first], function={**about, **function, **about})
    return tools


def choice_of(stated: Mode | OneTool | AllowedTools | dict[str, Any] | None) -> Choice:
    """A request's choice without words of this dialect."""
    if stated is None or isinstance(stated, str):
        return Choice(stated or "auto", stated=f"tool_choice {stated}")
    if isinstance(stated, AllowedTools):
        among = [_known(tool) for tool in stated.tools]
        return Choice(stated.mode, among, True, "tool_choice of type allowed_tools", "tool_choice.tools")
    known = _known(stated)
    return Choice("required", [known], known.kind == NAMESPACE, f"tool_choice of type {known.kind}", "tool_choice.name")


def _known(tool: OneTool | Mapping[str, Any]) -> Known:
    if isinstance(tool, OneTool):
        return Known(tool.type, tool.name, tool.namespace)
    return Known(tool["type"], None)
