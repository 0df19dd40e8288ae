"""Custom tools, whose input is a text of any form: to the model functions with this one argument."""

import json
from collections.abc import Mapping
from typing import Any

from qwill.text.schemas.patterns import matched, usable

INPUT = "input"
KINDS = {"lark": "grammar", "regex": "regular expression"}


def is_bound(syntax: str | None, definition: str | None) -> bool:
    """Whether the input of a custom tool is held to what its format says. It is not to a grammar, nor to a regular
    expression with look-around and the like."""
    return not definition or (syntax == "regex" and _pattern(definition) is not None)


def _pattern(expression: str) -> str | None:
    """The pattern of texts that an expression matches; None for an expression that cannot bind one."""
    whole = matched(expression)
    pattern = f"^(?:{whole})$"
    return pattern if whole is not None and usable(pattern) else None


def custom_function(
    description: str | None, syntax: str | None = None, definition: str | None = None
) -> dict[str, Any]:
    """What the model is told of a custom tool: in words what its input is not bound to."""
    text: dict[str, Any] = {"type": "string", "description": "The whole input, as it is"}
    function: dict[str, Any] = {"description": description} if description else {}
    bound = bool(definition) and is_bound(syntax, definition)
    if definition and bound:
        text["pattern"] = _pattern(definition)
    elif definition:
        told = f"The input has to fit this {KINDS.get(syntax or '', 'grammar')}:\n{definition}"
        function["description"] = f"{description}\n\n{told}" if description else told
    parameters = {"type": "object", "properties": {INPUT: text}, "required": [INPUT], "additionalProperties": False}
    return {**function, "parameters": parameters} | ({"strict": True} if bound else {})


def arguments_of(text: str) -> str:
    """The arguments of a call with this input, as JSON."""
    return json.dumps({INPUT: text}, ensure_ascii=False)


def input_of(arguments: Mapping[str, Any]) -> str:
    """The input of a call. A model may have called its one argument something else."""
    value = arguments.get(INPUT, next(iter(arguments.values())) if len(arguments) == 1 else arguments or "")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def begun_input(text: str) -> str:
    """What came of the input, from arguments whose JSON may lack its end."""
    for end in ("", "}", '"}'):
        try:
            return input_of(json.loads(text + end))
        except (ValueError, RecursionError, AttributeError):
            continue
    return ""
