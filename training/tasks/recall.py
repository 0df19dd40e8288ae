"""Finding and repeating what the prompt says, many times in one answer.

Nothing else shows a young model as often what attention is for; tools, needles and memory build on it.
"""

import random

from training.examples import Example
from training.tasks.common import different, made_up, pick
from training.tasks.words import NAMES, NOUNS


def thing(rng: random.Random, held_out: bool) -> str:
    """A made-up word, a noun, a name or a number."""
    kind = rng.randrange(4)
    if kind == 0:
        return made_up(rng, held_out)
    return str(rng.randrange(10 ** rng.randint(1, 4))) if kind == 1 else pick(rng, (NOUNS, NAMES)[kind - 2], held_out)


def long_copy(rng: random.Random, held_out: bool) -> Example:
    """Four to sixteen things to repeat."""
    text = rng.choice((" ", ", ", "\n")).join(different(rng, held_out, thing, rng.randint(4, 16)))
    form = rng.choice(("Repeat: {}", "Copy: {}", "Repeat after me: {}", "Write this again: {}"))
    return Example("long copy", [{"role": "user", "content": form.format(text)}], text)


def lookup(rng: random.Random, held_out: bool) -> Example:
    """Three to ten pairs, and the values of some of them in another order."""
    count = rng.randint(3, 10)
    keys = different(rng, held_out, thing, count)
    values = [thing(rng, held_out) for _ in keys]
    link = rng.choice((": ", " = ", " is "))
    lines = [f"{key}{link}{value}" for key, value in zip(keys, values, strict=True)]
    asked = rng.sample(range(count), rng.randint(1, count))
    joined = rng.choice(("\n", ", ", ". ")).join(lines)
    question = f"{joined}\nList: {', '.join(keys[index] for index in asked)}"
    return Example("lookup", [{"role": "user", "content": question}], "\n".join(lines[index] for index in asked))
