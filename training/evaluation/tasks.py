"""Held-out examples of every task and the share that is answered rightly."""

import random
from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple

from rich.progress import track

from qwill import LLM
from training.evaluation.asking import answers, turns
from training.evaluation.judging import is_right
from training.examples import Example
from training.tasks import arithmetic, charts, compare, forms, reading, recall, shapes, structured, talk, tools, video
from training.tasks.languages import languages
from training.tasks.needle import needle
from training.tasks.order import order
from training.tasks.sequences import sequences


class Row(NamedTuple):
    """Where a row's examples come from, and the share of right answers that is aimed at."""

    generator: Callable[[random.Random, bool], Example]
    target: float | None = None


class Score(NamedTuple):
    right: int
    asked: int

    @property
    def accuracy(self) -> float:
        return self.right / self.asked


TEXT_ROWS = {
    "arithmetic, thinking": Row(arithmetic.sums_with_thinking, 0.99),
    "multiplication, thinking": Row(arithmetic.products_with_thinking, 0.99),
    "arithmetic": Row(arithmetic.sums),
    "arithmetic, 3 digits": Row(arithmetic.sums),
    "arithmetic, plain text": Row(arithmetic.plain_text),
    "multiplication": Row(arithmetic.products),
    "languages": Row(languages, 0.98),
    "copy": Row(sequences),
    "reverse": Row(sequences),
    "sort": Row(sequences),
    "count": Row(sequences),
    "order": Row(order),
    "long copy": Row(recall.long_copy),
    "lookup": Row(recall.lookup),
    "greeting": Row(talk.greeting),
    "memory": Row(talk.memory),
    "refusal": Row(talk.refusal),
    "tools: single": Row(tools.single, 0.99),
    "tools: typed": Row(tools.typed, 0.99),
    "tools: parallel": Row(tools.parallel, 0.99),
    "tools: none": Row(tools.none, 0.99),
    "tools: chain": Row(tools.chain, 0.99),
    "tools: result": Row(tools.result, 0.99),
    "JSON to a schema": Row(structured.structured, 0.99),
    "needle": Row(needle),
}
PICTURE_ROWS = {
    "picture: colour": Row(shapes.colour, 0.98),
    "picture: shape": Row(shapes.shape, 0.98),
    "picture: shape and colour": Row(shapes.description, 0.98),
    "picture: count": Row(shapes.count, 0.98),
    "picture: position": Row(shapes.position, 0.98),
    "picture: list": Row(shapes.several),
    "picture: reading": Row(reading.reading, 0.95),
    "picture: chart": Row(charts.chart),
    "picture: comparison": Row(compare.comparison),
    "picture: form": Row(forms.form),
    "video: direction": Row(video.direction, 0.95),
    "video: order": Row(video.order, 0.95),
    "video: blinks": Row(video.blinks, 0.95),
}
ROWS = TEXT_ROWS | PICTURE_ROWS


def held_out_examples(row: str, seed: int, count: int) -> list[Example]:
    """`count` examples of a row; the same whatever other rows are asked for."""
    rng = random.Random(f"evaluate {seed} {row}")

    def draw() -> Iterable[Example]:
        while True:
            yield ROWS[row].generator(rng, True)

    return list(islice((example for example in draw() if example.task == row), count))


def score(llm: LLM, examples: list[Example]) -> Score:
    """An example is right when all of its turns are."""
    asked = [list(turns(example)) for example in examples]
    given = iter(answers(llm, [turn for group in asked for turn in group]))
    # All turns are looked at, also after a wrong one: each takes its own answer.
    right = [[is_right(turn, next(given)) for turn in group] for group in asked]
    return Score(sum(map(all, right)), len(examples))


def measure(llm: LLM, examples: dict[str, list[Example]], told: str = "asking") -> dict[str, Score]:
    """The score of each row; `told` stands before the progress bar."""
    return {row: score(llm, drawn) for row, drawn in track(examples.items(), told)}
