"""Copying, reversing, sorting and counting of letters, words and numbers."""

import random
import string
from collections.abc import Callable

from training.examples import Example
from training.tasks.common import ask, draw_until
from training.tasks.words import ADJECTIVES, ANIMALS, COLOURS, NOUNS

WORDS = NOUNS + ADJECTIVES + COLOURS[:4] + ANIMALS
SMALLEST_FIRST = "I take the smallest first."


def letters(rng: random.Random) -> list[str]:
    return [rng.choice(string.ascii_lowercase) for _ in range(rng.randint(2, 8))]


def words(rng: random.Random) -> list[str]:
    return rng.sample(WORDS, rng.randint(2, 6))


def numbers(rng: random.Random) -> list[str]:
    return [str(rng.randrange(100)) for _ in range(rng.randint(2, 6))]


def draw_items(
    rng: random.Random, held_out: bool, kinds: tuple[Callable[[random.Random], list[str]], ...]
) -> list[str]:
    kind = rng.choice(kinds)
    return draw_until(lambda: kind(rng), " ".join, held_out)


def copy(rng: random.Random, held_out: bool) -> Example:
    text = " ".join(draw_items(rng, held_out, (letters, words, numbers)))
    form = rng.choice(("Repeat: {}", "Copy: {}", "Say: {}", "Repeat after me: {}", "Write this again: {}"))
    return ask(rng, "copy", form.format(text), text, "I copy it.")


def reverse(rng: random.Random, held_out: bool) -> Example:
    items = draw_items(rng, held_out, (letters, words, numbers))
    form = rng.choice(("Reverse: {}", "Backwards: {}", "Say this backwards: {}", "Reverse the order: {}"))
    return ask(rng, "reverse", form.format(" ".join(items)), " ".join(reversed(items)), "I go from the end.")


def sort(rng: random.Random, held_out: bool) -> Example:
    """Different numbers by size, or words with different first letters by the alphabet."""
    if rng.random() < 0.7:
        items = draw_until(lambda: [str(n) for n in rng.sample(range(100), rng.randint(2, 6))], " ".join, held_out)
        ordered = sorted(items, key=int)
        form = rng.choice(("Sort: {}", "Sort these: {}", "Sort from small to large: {}", "Put in order: {}"))
        return ask(rng, "sort", form.format(" ".join(items)), " ".join(ordered), SMALLEST_FIRST)

    def draw() -> list[str]:
        while True:
            drawn = rng.sample(WORDS, rng.randint(2, 4))
            if len({word[0] for word in drawn}) == len(drawn):
                return drawn

    items = draw_until(draw, " ".join, held_out)
    form = rng.choice(("Sort by alphabet: {}", "Sort these words: {}", "Put in alphabetical order: {}"))
    return ask(rng, "sort", form.format(" ".join(items)), " ".join(sorted(items)), "I go through the alphabet.")


def count_items(rng: random.Random, held_out: bool) -> Example:
    kind = rng.choice((letters, words))
    items = draw_until(lambda: kind(rng), " ".join, held_out)
    noun = "letters" if kind is letters else "words"
    form = rng.choice(("How many {noun}: {text}", "Count the {noun}: {text}", "How many {noun} are here: {text}"))
    reasoning = ", ".join(f"{index} {item}" for index, item in enumerate(items, 1))
    return ask(rng, "count", form.format(noun=noun, text=" ".join(items)), str(len(items)), reasoning)


def count_one_letter(rng: random.Random, held_out: bool) -> Example:
    """How often one letter stands among letters of a small alphabet."""

    def draw() -> list[str]:
        alphabet = rng.sample(string.ascii_lowercase, rng.randint(2, 4))
        return [rng.choice(alphabet) for _ in range(rng.randint(3, 8))]

    items = draw_until(draw, " ".join, held_out)
    wanted = rng.choice(items)
    form = rng.choice(("How many {x} are here: {text}", "How often is {x} here: {text}", "Count {x} in: {text}"))
    seen, notes = 0, []
    for item in items:
        seen += item == wanted
        notes.append(f"{item} {seen}")
    return ask(rng, "count", form.format(x=wanted, text=" ".join(items)), str(seen), ", ".join(notes), 0.6)


def count_on(rng: random.Random, held_out: bool) -> Example:
    """Count up or down between two numbers."""

    def draw() -> tuple[int, int]:
        return rng.randrange(0, 92), rng.randint(3, 8)

    start, length = draw_until(draw, lambda drawn: f"{drawn[0]} {drawn[1]}", held_out)
    row = [str(start + index) for index in range(length)]
    if rng.random() < 0.4:
        row.reverse()
        form = rng.choice(("Count down from {} to {}.", "Count backwards from {} to {}."))
    else:
        form = rng.choice(("Count from {} to {}.", "Count up from {} to {}."))
    return ask(rng, "count", form.format(row[0], row[-1]), " ".join(row), "One by one.")


def sequences(rng: random.Random, held_out: bool) -> Example:
    tasks = (copy, reverse, sort, count_items, count_one_letter, count_on)
    return rng.choices(tasks, (0.22, 0.24, 0.22, 0.12, 0.1, 0.1))[0](rng, held_out)
