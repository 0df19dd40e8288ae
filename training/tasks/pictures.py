"""All tasks with pictures and videos, and the share of each."""

import random
from collections.abc import Callable

from training.examples import Example
from training.tasks import charts, compare, forms, reading, shapes, video

TASKS: dict[Callable[[random.Random, bool], Example], float] = {
    shapes.colour: 0.04,
    shapes.shape: 0.04,
    shapes.description: 0.06,
    shapes.count: 0.09,
    shapes.position: 0.09,
    reading.reading: 0.30,
    charts.chart: 0.07,
    compare.comparison: 0.08,
    forms.form: 0.06,
    video.direction: 0.05,
    video.order: 0.06,
    video.blinks: 0.06,
}


def draw(rng: random.Random, held_out: bool) -> Example:
    """One example of a task drawn by its share."""
    task = rng.choices(tuple(TASKS), tuple(TASKS.values()))[0]
    return task(rng, held_out)
