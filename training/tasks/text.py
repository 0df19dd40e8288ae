"""All text tasks with their shares of the training data."""

import random
from collections.abc import Callable

from training.examples import Example
from training.tasks import arithmetic, tools
from training.tasks.languages import languages
from training.tasks.needle import needle
from training.tasks.sequences import sequences
from training.tasks.structured import structured
from training.tasks.talk import greeting, memory, refusal

TASKS: dict[Callable[[random.Random, bool], Example], float] = {
    arithmetic.sums_with_thinking: 0.13,
    arithmetic.products_with_thinking: 0.075,
    arithmetic.sums: 0.06,
    arithmetic.products: 0.015,
    arithmetic.plain_text: 0.02,
    languages: 0.15,
    sequences: 0.10,
    greeting: 0.02,
    memory: 0.05,
    refusal: 0.03,
    tools.single: 0.03,
    tools.typed: 0.04,
    tools.parallel: 0.025,
    tools.none: 0.025,
    tools.chain: 0.03,
    tools.result: 0.02,
    structured: 0.09,
    needle: 0.09,
}


# What clients send by themselves; it changes no answer.
SYSTEM = ("You are a helpful assistant.", "You are a friendly assistant.", "Answer the user.", "Be short.")


def draw(rng: random.Random, held_out: bool) -> Example:
    """An example of a task drawn by its share, now and then behind a system message."""
    example = rng.choices(tuple(TASKS), tuple(TASKS.values()))[0](rng, held_out)
    if not example.raw and rng.random() < 0.05:
        example.messages.insert(0, {"role": "system", "content": rng.choice(SYSTEM)})
    return example
