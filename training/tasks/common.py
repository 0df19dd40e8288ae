"""What the text tasks share: the split into trained and held-out content, one-question examples, made-up words."""

import random
import zlib
from collections.abc import Callable, Sequence
from typing import TypeVar

from training.examples import Example
from training.tasks.words import JOINED_ELSEWHERE

Drawn = TypeVar("Drawn")

CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"


def is_held_out(content: str) -> bool:
    """Whether this content, in whatever case, is kept for the evaluation: one in eight, by its checksum."""
    return zlib.crc32(content.lower().encode()) % 8 == 3


def draw_until(draw: Callable[[], Drawn], content: Callable[[Drawn], str], held_out: bool) -> Drawn:
    """The first draw whose content lies on the wanted side of the split."""
    while True:
        drawn = draw()
        if is_held_out(content(drawn)) == held_out:
            return drawn


def pick(rng: random.Random, words: Sequence[str], held_out: bool) -> str:
    """One of `words` from the wanted side of the split."""
    return draw_until(lambda: rng.choice(words), str, held_out)


def syllables(rng: random.Random, held_out: bool) -> str:
    """A word of two or three syllables that means nothing and can only be copied."""

    def draw() -> str:
        return "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(rng.choice((2, 2, 3))))

    return draw_until(draw, str, held_out)


def around_letters(rng: random.Random, held_out: bool) -> str:
    """Such a word with letters in it that the tokenizer joins because of other texts, and that are seldom drawn: at its
    start, in its middle, at its end, or all of it."""

    def syllable() -> str:
        return rng.choice(CONSONANTS) + rng.choice(VOWELS)

    def draw() -> str:
        letters = rng.choice(JOINED_ELSEWHERE)
        before, after = rng.choice((("", ""), (syllable(), ""), ("", syllable())))
        before += rng.choice(CONSONANTS) if letters[0] in VOWELS else ""
        after = (rng.choice(VOWELS) if letters[-1] in CONSONANTS else "") + after
        word = before + letters + after
        return word if len(word) >= 4 else word + syllable()

    return draw_until(draw, str, held_out)


def made_up(rng: random.Random, held_out: bool) -> str:
    """A word that means nothing and can only be copied. In training a quarter of them have seldom letters, without
    which the few that hold such by chance are not copied but replaced; the evaluation draws them by chance alone."""
    return (syllables if held_out or rng.random() < 0.75 else around_letters)(rng, held_out)


def different(rng: random.Random, held_out: bool, draw: Callable[[random.Random, bool], str], count: int) -> list[str]:
    """`count` different words."""
    words: dict[str, None] = {}
    while len(words) < count:
        words[draw(rng, held_out)] = None
    return list(words)


def ask(
    rng: random.Random, task: str, question: str, answer: str, reasoning: str, thinking_share: float = 0.35
) -> Example:
    """One user turn; with reasoning in `thinking_share` of the cases."""
    messages = [{"role": "user", "content": question}]
    return Example(task, messages, answer, reasoning, thinking=rng.random() < thinking_share)
