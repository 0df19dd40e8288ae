"""Tools, alike in all dialects: from what a request gives and chooses to the functions that a model is offered, and
from the name by which it calls one to the tool that the client knows."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from qwill.guide import ToolChoice
from qwill.server.errors import Refusal

FUNCTION, CUSTOM, NAMESPACE = "function", "custom", "namespace"
Mode = Literal["auto", "none", "required"]
OWN = frozenset({FUNCTION, CUSTOM, NAMESPACE})
NO_TYPE = "a tool needs a type, such as function"
NO_CHOICE = "give none, auto, required, or an object whose type is function, custom or allowed_tools"
CHOICES = frozenset({"auto", "none", "required", "any", "tool"})  # of several APIs: as the type of an object no tools
_UNSAYABLE = re.compile(r"[<>\s]")  # in the syntax of calls


@dataclass(frozen=True)
class Known:
    """A tool as its client knows it. `kind` is its type in the OpenAI API."""

    kind: str
    name: str | None
    namespace: str | None = None

    @property
    def base(self) -> str:
        """The name that the model is to call it by, unless another tool has it."""
        name = self.name or ""
        if self.kind == FUNCTION and self.namespace is None:
            return name
        if self.namespace is not None:
            name = f"{self.namespace.rstrip('_')}__{name}"
        return _UNSAYABLE.sub("_", name)


@dataclass(frozen=True)
class Given:
    """A tool of a request. `function`: what the model is told of it beside its name, in the form of chat completions;
    None for a tool that only the servers of the API's maker run."""

    tool: Known
    function: Mapping[str, Any] | None = None


def given(tool: Any) -> Given:
    """A tool of a body: a model that knows what it is, or as it came, if only the servers of the API's maker run it."""
    if not isinstance(tool, Mapping):
        known: Given = tool.given()
        return known
    name = tool.get("name")
    return Given(Known(tool["type"], name if isinstance(name, str) else None))


@dataclass(frozen=True)
class Choice:
    """Whether there may or must be calls. `among`: of which tools alone, all if it is empty. `narrows`: only these are
    shown. `stated` is the client's word, `place` the field that names tools, both for refusals."""

    mode: Mode = "auto"
    among: Sequence[Known] = ()
    narrows: bool = False
    stated: str = "tool_choice"
    place: str = "tool_choice"


@dataclass(frozen=True)
class Offered:
    """What a model is offered: `functions` in the form of chat completions, and the choice among them. `told_as`: the
    tools that the client knows otherwise, by the names that the model calls them by. `left_out`: what of the request
    is not offered, as the answer's header names it."""

    functions: list[dict[str, Any]] = field(default_factory=list)
    choice: ToolChoice = "auto"
    told_as: Mapping[str, Known] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    names: Mapping[Known, str] = field(default_factory=dict)

    def name_of(self, tool: Known) -> str:
        """What the model calls a tool; one of the history may be offered no longer."""
        return self.names.get(tool, tool.base)


NOTHING = Offered()


def offer(tools: Sequence[Given], choice: Choice) -> Offered:
    """What the model is offered of a request's tools.

    Raises Refusal when the choice names no tool, or one that is not run here, and when none can be called.
    """
    usable = {one.tool: one.function for one in tools if one.function is not None}
    hosted = list(dict.fromkeys(one.tool for one in tools if one.function is None))
    kinds = {tool.kind for tool in hosted}
    if choice.mode == "required" and not tools:
        raise Refusal(400, f"{choice.stated} needs tools", param="tool_choice")
    names = _flat_names(list(usable))
    chosen, foreign = _chosen(choice, names, hosted)
    if hosted and not usable and choice.mode != "none":
        raise Refusal(
            400, f"tools: none is left, since this server does not run {', '.join(sorted(kinds))}; give functions",
            param="tools",
        )  # fmt: skip
    allowed = set(chosen) if choice.narrows else set(names.values())
    functions = [
        {"type": "function", "function": {"name": names[one.tool], **one.function}}
        for one in tools
        if one.function is not None and names[one.tool] in allowed
    ]
    wanted: ToolChoice = choice.mode
    if choice.mode == "required" and choice.among and not choice.narrows:
        wanted = {"type": "function", "function": {"name": chosen[0]}}
    told_as = {flat: tool for tool, flat in names.items() if tool.kind == CUSTOM or tool.namespace is not None}
    left_out = [f"tools.{kind}" for kind in kinds]
    left_out += [f"tool_choice.{tool.kind}" for tool in foreign if tool.kind not in kinds]
    return Offered(functions, wanted, told_as, left_out, names)


def _flat_names(tools: Sequence[Known]) -> dict[Known, str]:
    """A name for each tool, the client's own for plain functions, and no name twice."""
    names = {tool: tool.base for tool in tools if tool.kind == FUNCTION and tool.namespace is None}
    taken, numbers = set(names.values()), Counter[str]()
    for tool in tools:
        if tool in names:
            continue
        flat = tool.base
        while flat in taken:
            numbers[tool.base] += 1
            flat = f"{tool.base}_{numbers[tool.base] + 1}"
        names[tool] = flat
        taken.add(flat)
    return names


def _chosen(choice: Choice, names: Mapping[Known, str], hosted: Sequence[Known]) -> tuple[list[str], list[Known]]:
    """The names of the tools that a choice names, and those of them that are not run here."""
    spaces: dict[str | None, list[str]] = {}
    alike: dict[str | None, set[str]] = {}
    for tool, flat in names.items():
        spaces.setdefault(tool.namespace, []).append(flat)
        for name in (tool.name, flat):
            alike.setdefault(name, set()).add(flat)
    kinds: dict[str | None, str] = {tool.name: tool.kind for tool in hosted if tool.name is not None}
    chosen: list[str] = []
    foreign: list[Known] = []
    for wanted in choice.among:
        if wanted.kind == NAMESPACE:
            found = spaces.get(wanted.name, [])
        elif wanted in names:
            found = [names[wanted]]
        else:  # the name is enough where no other tool has it
            found = list(alike.get(wanted.name, ())) if wanted.namespace is None and wanted.kind in OWN else []
        if len(found) == 1 or (found and wanted.kind == NAMESPACE):
            chosen += found
        elif wanted.kind not in OWN or wanted.name in kinds:
            foreign.append(Known(kinds.get(wanted.name, wanted.kind), wanted.name))
        else:
            raise Refusal(400, f"tool_choice names {_shown(wanted)}; {_all(names)}", param=choice.place)
    if foreign and not chosen:
        message = (
            f"tool_choice names a tool of type {foreign[0].kind!r}, which this server does not run; name a function"
        )
        raise Refusal(400, message, param="tool_choice")
    return chosen, foreign


def _shown(tool: Known) -> str:
    return repr(tool.name) if tool.namespace is None else f"{tool.name!r} of namespace {tool.namespace!r}"


def _all(names: Mapping[Known, str]) -> str:
    return f"the tools are {', '.join(names.values())}" if names else "there are no tools"
