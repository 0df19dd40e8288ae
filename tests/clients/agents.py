"""What agents are asked, and what the scripted model has them do: their real tools are called, in a folder of the
test's own."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripted import Message, Script, call, text_of

from clients.drives import questions as q
from clients.script import COUNTED

WORK = "Write greeting.txt, count its lines and read it."
GREETED = "hello\nworld\n"
WORKED = "It has 2 lines, and the second is world."
LOOK = "Look at circle.png."
LOOKED = "I see 1 picture."
READ_ALL = "Read the long log, then write done.txt."
SUMMARY = "The log ends with seven herons. What is left is done.txt."
CONTINUED = "All is done after the summary."
HERONS = "seven herons\n"
QUESTIONS = (WORK, LOOK, READ_ALL, q.GREET, q.COUNT, q.LOOK_UP_ANNA)
PIECES = 12  # of the long log that are read before the test gives up


@dataclass(frozen=True)
class Hands:
    """How a program's tools are called: each function makes the text of a call. `look` reads a picture."""

    write: Callable[[str, str], str]
    shell: Callable[[str], str]
    read: Callable[[str], str]
    look: Callable[[str], str] | None = None


def agent(hands: Hands, folder: Path) -> Script:
    """Says what comes next in each of the conversations that `QUESTIONS` begin."""

    def script(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> str:
        texts = [text_of(message) for message in messages]
        if any(SUMMARY in text for text in texts):
            return _after_the_summary(messages, hands, folder)
        asked = max((index for index, text in enumerate(texts) if _question(text)), default=None)
        if asked is None:  # what came first was left out to make room for the summary
            return SUMMARY
        if not tools and messages[-1]["role"] == "user" and _ends_with_a_question(texts[-1]):
            return "A title"
        question, done = _question(texts[asked]), _results(messages[asked:])
        if question == q.GREET:
            return q.GREETING
        if question == q.COUNT:
            return COUNTED
        if question == WORK:
            return _work(done, hands, folder)
        if question == LOOK:
            return _look(messages[asked:], hands, folder)
        if question == q.LOOK_UP_ANNA:
            return _structure(done, tools)
        if messages[-1]["role"] == "tool" or (tools and asked == len(messages) - 1):
            assert len(done) < PIECES, "the program has not compacted the conversation"
            return hands.shell(f"seq -s ' ' {1000 * len(done)} {1000 * len(done) + 2500}")
        return SUMMARY

    return script


def _work(done: Sequence[str], hands: Hands, folder: Path) -> str:
    file = str(folder / "greeting.txt")
    steps = [hands.write(file, GREETED), hands.shell("wc -l < greeting.txt"), hands.read(file)]
    if len(done) < len(steps):
        return steps[len(done)]
    lines = re.findall(r'^(?:Output: |.*"result":")?(\d+)(?:\\n.*)?$', done[1], re.MULTILINE)[-1]
    second = re.findall(r"world", done[2])[0]
    return f"It has {lines} lines, and the second is {second}."


def _look(messages: Sequence[Message], hands: Hands, folder: Path) -> str:
    parts = [part for message in messages for part in _parts(message)]
    seen = sum(part.get("type") in ("image", "image_url") for part in parts)
    if seen or _results(messages) or hands.look is None:
        return f"I see {seen} picture."
    return hands.look(str(folder / "circle.png"))


def _structure(done: Sequence[str], tools: Sequence[Mapping[str, Any]]) -> str:
    """Some programs ask for a structure as the arguments of a call."""
    names = [tool["function"]["name"] for tool in tools]
    forms = [name for name in names if name.lower().replace("_", "") == "structuredoutput"]
    if forms and not done:
        return call(forms[0], **q.ANNA)
    return json.dumps(q.ANNA)


def _after_the_summary(messages: Sequence[Message], hands: Hands, folder: Path) -> str:
    calls = [message["tool_calls"] for message in messages if message.get("tool_calls")]
    if "done.txt" in str(calls):
        return CONTINUED
    return hands.write(str(folder / "done.txt"), HERONS)


def _question(text: str) -> str | None:
    return next((question for question in QUESTIONS if question in text), None)


def _ends_with_a_question(text: str) -> bool:
    return text.strip(' "\n').endswith(QUESTIONS)


def _results(messages: Sequence[Message]) -> list[str]:
    return [text_of(message) for message in messages if message["role"] == "tool"]


def _parts(message: Message) -> list[Mapping[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, list) else []
