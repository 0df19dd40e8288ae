"""The tools that a chat request brings, and the choice among them."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from qwill.server.custom_tools import custom_function
from qwill.server.kinds import as_member
from qwill.server.schemas import Function, Open, other_than, type_of
from qwill.server.tools import CUSTOM, FUNCTION, Choice, Given, Known, Mode

NO_TYPE = "a tool needs a type, such as function"


class FunctionTool(Open):
    """A function that the model may call."""

    type: Literal["function"]
    function: Function

    def given(self) -> Given:
        """The tool without words of this dialect."""
        about = self.function.model_dump(exclude={"name"}, exclude_none=True)
        return Given(Known(FUNCTION, self.function.name), about)


class Grammar(Open):
    """What an input may be."""

    syntax: Literal["lark", "regex"]
    definition: str


class CustomFormat(Open):
    """What the input of a custom tool may be: any text, or one of a grammar."""

    type: Literal["text", "grammar"] = "text"
    grammar: Grammar | None = None

    def ignored_fields(self, place: str = "") -> Iterator[str]:
        """A grammar is told to the model, which is not held to it."""
        yield from super().ignored_fields(place)
        if self.grammar is not None and self.grammar.syntax == "lark":
            yield place.removesuffix(".")


class Custom(Open):
    """What a custom tool is for."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    description: str | None = None
    format: CustomFormat | None = None


class CustomTool(Open):
    """A function of one text."""

    type: Literal["custom"]
    custom: Custom

    def given(self) -> Given:
        """The tool without words of this dialect."""
        grammar = self.custom.format.grammar if self.custom.format is not None else None
        bounds = (grammar.syntax, grammar.definition) if grammar is not None else ()
        return Given(Known(CUSTOM, self.custom.name), custom_function(self.custom.description, *bounds))


def _kind_of_tool(value: Any) -> str | None:
    kind = type_of(value)
    return kind if kind in (FUNCTION, CUSTOM) else None if kind is None else "other"


Tool = Annotated[
    Annotated[FunctionTool, Tag("<function>")]
    | Annotated[CustomTool, Tag("<custom>")]
    | Annotated[dict[str, Any], other_than(FUNCTION, CUSTOM), Tag("<other>")],
    Discriminator(as_member(_kind_of_tool), custom_error_type="no_type", custom_error_message=NO_TYPE),
]


class Name(Open):
    """The name of a tool."""

    name: str


class NamedFunction(Open):
    """A function by its name."""

    type: Literal["function"]
    function: Name


class NamedCustom(Open):
    """A custom tool by its name."""

    type: Literal["custom"]
    custom: Name


Named = Annotated[
    Annotated[NamedFunction, Tag("<function>")]
    | Annotated[NamedCustom, Tag("<custom>")]
    | Annotated[dict[str, Any], other_than(FUNCTION, CUSTOM), Tag("<other>")],
    Discriminator(as_member(_kind_of_tool), custom_error_type="no_type", custom_error_message=NO_TYPE),
]


class Allowed(Open):
    """Those of the tools that may be called, or one of which must be."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[Named], Field(min_length=1)]


class AllowedTools(Open):
    """Those of the tools that may be called, or one of which must be."""

    type: Literal["allowed_tools"]
    allowed_tools: Allowed


def _kind_of_choice(value: Any) -> str | None:
    if isinstance(value, str):
        return "mode"
    return "allowed_tools" if type_of(value) == "allowed_tools" else _kind_of_tool(value)


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<mode>")]
    | Annotated[NamedFunction, Tag("<function>")]
    | Annotated[NamedCustom, Tag("<custom>")]
    | Annotated[AllowedTools, Tag("<allowed_tools>")]
    | Annotated[dict[str, Any], other_than(FUNCTION, CUSTOM, "allowed_tools"), Tag("<other>")],
    Discriminator(
        as_member(_kind_of_choice),
        custom_error_type="no_choice",
        custom_error_message="give none, auto, required, or an object whose type is function, custom or allowed_tools",
    ),
]


def choice_of(stated: Mode | NamedFunction | NamedCustom | AllowedTools | dict[str, Any] | None) -> Choice:
    """A request's choice without words of this dialect."""
    if stated is None or isinstance(stated, str):
        return Choice(stated or "auto", stated=f"tool_choice {stated}")
    if isinstance(stated, AllowedTools):
        among = [_known(tool) for tool in stated.allowed_tools.tools]
        allowed = stated.allowed_tools
        return Choice(allowed.mode, among, True, "tool_choice of type allowed_tools", "tool_choice.allowed_tools.tools")
    known = _known(stated)
    place = f"tool_choice.{known.kind}.name"
    return Choice("required", [known], stated=f"tool_choice of type {known.kind}", place=place)


def _known(tool: NamedFunction | NamedCustom | dict[str, Any]) -> Known:
    if isinstance(tool, NamedFunction):
        return Known(FUNCTION, tool.function.name)
    return Known(CUSTOM, tool.custom.name) if isinstance(tool, NamedCustom) else Known(tool["type"], None)
