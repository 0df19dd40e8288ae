"""What the scripted model says to the questions of `drives/questions.py`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from scripted import Message, call, results, text_of

from clients.drives import questions as q

COUNTED = " ".join(map(str, range(4000)))


def script(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> str | None:
    """Greets, counts, and calls tools; what needs the model itself, as structures and pictures do, is left to it."""
    question = next((text_of(message) for message in reversed(messages) if message["role"] == "user"), "")
    answered = results(messages)
    if q.GREET in question:
        return q.GREETING
    if q.COUNT in question:
        return COUNTED
    if q.COMPARE in question:
        if len(answered) == len(q.CALLED):
            return f"Rome is {answered[-1]} degrees warmer."
        name, given = q.CALLED[len(answered)]
        return call(name, **given)
    if q.ABOUT_ANNA in question and tools:  # a structure that is asked for as the arguments of a call
        return call(_name(tools[0]), **q.ANNA)
    if q.LOOK_UP_ANNA in question:
        if not answered:
            return call("age", name="Anna")
        person = {"name": "Anna", "age": int(answered[-1])}
        forms = [name for name in map(_name, tools) if name != "age"]  # some ask for the structure as a call
        return call(forms[0], **person) if forms else json.dumps(person)
    return None


def _name(tool: Mapping[str, Any]) -> str:
    return tool.get("function", tool)["name"]
