"""Custom tools, whose input is a text of any form: to the model functions with this one argument."""

import json
from collections.abc import Mapping
from typing import Any

INPUT = "input"


def custom_function(
    description: str | None, syntax: str | None = None, definition: str | None = None
) -> dict[str, Any]:
    """What the model is told of a custom tool. A regular expression binds its input; a grammar is told alone."""
    text: dict[str, Any] = {"type": "string", "description": "The whole input, as it is"}
    function: dict[str, Any] = {"description": description} if description else {}
    bound = syntax == "regex" and bool(definition)
    if bound:
        text["pattern"] = f"^(?:{definition})$"
    elif definition:
        told = f"The input has to fit this grammar:\n{definition}"
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
