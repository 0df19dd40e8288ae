"""All tasks with pictures and videos, and the share of each."""

import random
from collections.abc import Callable

from training.examples import Example
from training.tasks import charts, compare, forms, reading, shapes, video

TASKS: dict[Callable[[random.Random, bool], Example], float] = {
    shapes.colour: 0.03,
    shapes.shape: 0.03,
    shapes.description: 0.03,
    shapes.several: 0.14,
    shapes.count: 0.12,
    shapes.position: 0.26,
    reading.reading: 0.20,
    charts.chart: 0.03,
    compare.comparison: 0.03,
    forms.form: 0.03,
    video.direction: 0.02,
    video.order: 0.03,
    video.blinks: 0.05,
}

# The first steps: what a picture's parts are, before what they mean together.
FIRST_TASKS: dict[Callable[[random.Random, bool], Example], float] = {
    shapes.colour: 0.12,
    shapes.shape: 0.12,
    shapes.description: 0.08,
    shapes.several: 0.08,
    shapes.count: 0.10,
    shapes.position: 0.10,
    reading.reading: 0.30,
    charts.chart: 0.03,
    compare.comparison: 0.02,
    forms.form: 0.02,
    video.direction: 0.01,
    video.order: 0.01,
    video.blinks: 0.01,
}


def draw(rng: random.Random, held_out: bool, first: bool = False) -> Example:
    """One example of a task drawn by its share (in the first steps' shares)."""
    tasks = FIRST_TASKS if first else TASKS
    task = rng.choices(tuple(tasks), tuple(tasks.values()))[0]
    return task(rng, held_out)


def draw_to_see(rng: random.Random) -> Example:
    """A picture whose marks are all that matters: mostly characters, which take the vision tower longest to tell."""
    return (reading.reading if rng.random() < 0.7 else shapes.count)(rng, False)
