"""Examples of the text tasks, as their tests draw and read them."""

import random
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from training.examples import Example
from training.tokenizer import ADDED_TOKENS

from qwill.text.chat_template import ChatTemplate

TEMPLATE = Path(__file__).parents[1] / "training" / "assets" / "chat_template.jinja"
Task = Callable[[random.Random, bool], Example]


def drawn(task: Task, count: int, held_out: bool = False) -> Iterator[Example]:
    rng = random.Random(f"{task.__name__} {held_out}")
    return (task(rng, held_out) for _ in range(count))


def both_sides(task: Task, count: int) -> list[Example]:
    return [*drawn(task, count), *drawn(task, count, True)]


def question(example: Example) -> str:
    return str(example.messages[-1]["content"])


def checksum_says_held_out(content: str) -> bool:
    return zlib.crc32(content.lower().encode()) % 8 == 3


@cache
def template() -> ChatTemplate:
    return ChatTemplate(TEMPLATE.read_text(encoding="utf-8"), [content for content, _ in ADDED_TOKENS])


def rendered(example: Example) -> str:
    if example.raw:
        return question(example)
    return template().render(example.messages, example.tools, enable_thinking=example.thinking).text
