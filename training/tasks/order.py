"""Whether one thing is left of another, from a sentence that says so: what a question about a picture needs too.

The answer turns about with the relation that is asked for and with the order of the names: where both are as often one
way as the other, neither tells anything alone, and nothing is learned for long. In training one way is more frequent.
"""

import random

from training.examples import Example
from training.tasks.common import ask, different, draw_until, made_up
from training.tasks.drawing import SHAPES

# How each relation reads: the axis it compares, the sign of (thing - reference) it needs.
RELATIONS = {"left of": ("x", -1), "right of": ("x", 1), "above": ("y", -1), "below": ("y", 1)}
OPPOSITES = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
FREQUENT = 0.6  # share of the more frequent way in training


def draw_relation(rng: random.Random, held_out: bool) -> str:
    first, second = rng.choice((("left of", "right of"), ("above", "below")))
    return first if rng.random() < (0.5 if held_out else FREQUENT) else second


def in_order(axis: str, names: list[str]) -> str:
    return f"{'Left to right' if axis == 'x' else 'Top to bottom'}: {', '.join(names)}."


def which_are(relation: str, reference: str) -> str:
    """A question about several things, which are to be named in the braces."""
    return f"Which are {relation} the {reference}, yes or no: {{}}?"


def yes_or_no(truth: bool) -> str:
    return "yes" if truth else "no"


def order(rng: random.Random, held_out: bool) -> Example:
    """Two to four things in a row, with a question about one of them or about all but one; or a sentence about two."""

    def draw() -> list[str]:
        count = rng.randint(2, 4)
        return rng.sample(SHAPES, count) if rng.random() < 0.7 else different(rng, held_out, made_up, count)

    names = draw_until(draw, " ".join, held_out)
    relation = draw_relation(rng, held_out)
    axis, sign = RELATIONS[relation]
    reference = rng.choice(names)
    asked = [name for name in names if name != reference]
    rng.shuffle(asked)
    truths = [sign * (names.index(name) - names.index(reference)) > 0 for name in asked]
    told = in_order(axis, names)
    if len(names) == 2 and rng.random() < 0.7:
        true = relation if truths[0] else OPPOSITES[relation]
        told = f"The {asked[0]} is {true} the {reference}."
        if rng.random() < (0.5 if held_out else 1 - FREQUENT):
            told = f"The {reference} is {OPPOSITES[true]} the {asked[0]}."
    if len(asked) == 1 or rng.random() < 0.5:
        question = f"Is the {asked[0]} {relation} the {reference}?"
        truths = truths[:1]
    else:
        question = which_are(relation, reference).format(", ".join(asked))
    answer = ", ".join(map(yes_or_no, truths)).capitalize() + "."
    return ask(rng, "order", f"{told} {question}", answer, told, thinking_share=0.1)
