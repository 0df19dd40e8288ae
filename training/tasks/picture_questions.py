"""Conversations about a picture, a pair of pictures or a video, and the words they share."""

import random
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from training.examples import Example, Picture, Video

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight")


class Turn(NamedTuple):
    """A question with its answer, and the thought between them."""

    task: str
    question: str
    answer: str
    reasoning: str


def is_held_out(content: str) -> bool:
    """One text in eight is never trained on."""
    return zlib.crc32(content.encode()) % 8 == 3


def sentence(words: str) -> str:
    return words[0].upper() + words[1:] + "."


def with_article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def number(count: int) -> str:
    return sentence(NUMBERS[count])


def picture_question(
    rng: random.Random,
    held_out: bool,
    media: list[Picture | Video],
    last: Turn,
    before: Iterable[Turn] = (),
    thinking_share: float = 0.25,
) -> Example:
    """The example that asks `last`, in training after those of `before` whose answer and thought are others."""
    turns = {} if held_out else {turn[2:]: turn for turn in before if turn[2:] != last[2:]}
    messages: list[dict[str, Any]] = []
    for turn in turns.values():
        messages += [{"role": "user", "content": turn.question}, {"role": "assistant", "content": turn.answer}]
    messages.append({"role": "user", "content": last.question})
    parts = [{"type": "image" if isinstance(item, Picture) else "video"} for item in media]
    messages[0]["content"] = [*parts, {"type": "text", "text": messages[0]["content"]}]
    thinking = rng.random() < thinking_share
    return Example(
        last.task, messages, last.answer, reasoning=last.reasoning if thinking else "", thinking=thinking, media=media
    )
