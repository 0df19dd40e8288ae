"""All text tasks with their shares of the training data."""

import random
from collections.abc import Callable

from training.examples import Example
from training.tasks import arithmetic, recall, tools
from training.tasks.languages import languages
from training.tasks.needle import needle
from training.tasks.sequences import sequences
from training.tasks.structured import structured
from training.tasks.talk import greeting, memory, refusal

TASKS: dict[Callable[[random.Random, bool], Example], float] = {
    recall.long_copy: 0.02,
    recall.lookup: 0.02,
    arithmetic.sums_with_thinking: 0.06,
    arithmetic.products_with_thinking: 0.05,
    arithmetic.sums: 0.04,
    arithmetic.products: 0.02,
    arithmetic.plain_text: 0.02,
    languages: 0.12,
    sequences: 0.05,
    greeting: 0.01,
    memory: 0.03,
    refusal: 0.02,
    tools.single: 0.03,
    tools.typed: 0.04,
    tools.parallel: 0.06,
    tools.none: 0.06,
    tools.chain: 0.18,
    tools.result: 0.06,
    structured: 0.09,
    needle: 0.02,
}

# The first steps: short examples, and much to find and repeat, until attention has learned to.
FIRST_TASKS: dict[Callable[[random.Random, bool], Example], float] = {
    recall.long_copy: 0.10,
    recall.lookup: 0.15,
    arithmetic.sums_with_thinking: 0.15,
    arithmetic.products_with_thinking: 0.10,
    arithmetic.sums: 0.06,
    arithmetic.products: 0.02,
    arithmetic.plain_text: 0.02,
    languages: 0.16,
    sequences: 0.10,
    greeting: 0.01,
    memory: 0.03,
    refusal: 0.015,
    tools.single: 0.02,
    tools.typed: 0.01,
    tools.none: 0.01,
    structured: 0.035,
    needle: 0.01,
}


# What clients send by themselves; it changes no answer.
SYSTEM = ("You are a helpful assistant.", "You are a friendly assistant.", "Answer the user.", "Be short.")


def draw(rng: random.Random, held_out: bool, first: bool = False) -> Example:
    """An example of a task drawn by its share (in the first steps' shares), now and then behind a system message."""
    tasks = FIRST_TASKS if first else TASKS
    example = rng.choices(tuple(tasks), tuple(tasks.values()))[0](rng, held_out)
    if not example.raw and rng.random() < 0.05:
        example.messages.insert(0, {"role": "system", "content": rng.choice(SYSTEM)})
    return example
