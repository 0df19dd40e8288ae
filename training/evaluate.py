"""Measures the demonstration model on held-out examples, through qwill itself: `python -m training.evaluate`.

Prints a table and, with `--card`, writes it into the model card.
"""

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from qwill import LLM, SamplingParams
from training import picture_tasks, text_tasks
from training.text_tasks import Example

DEMO = Path(__file__).parents[1] / "src" / "qwill" / "demo"
CARD = Path(__file__).parents[1] / "docs" / "demo_model.md"
TABLE_START, TABLE_END = "<!-- table: begin -->", "<!-- table: end -->"
GREEDY = SamplingParams(temperature=0, max_tokens=96)


def written_call(call: Mapping[str, Any]) -> str:
    """A parsed tool call in the family's syntax again."""
    parameters = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in call["arguments"].items())
    return f"<tool_call>\n<function={call['name']}>\n{parameters}</function>\n</tool_call>"


def answers(llm: LLM, examples: list[Example]) -> list[str]:
    """qwill's greedy answers, reasoning left out; the examples share their tools and their way of asking."""
    first = examples[0]
    if first.raw:
        return [given.text for given in llm.generate([example.messages[0]["content"] for example in examples], GREEDY)]
    conversations = [with_image(example) for example in examples]
    given = llm.chat(conversations, GREEDY, tools=first.tools or None, thinking=first.thinking)
    return ["\n".join([*filter(None, [one.text.strip()]), *map(written_call, one.tool_calls)]) for one in given]


def with_image(example: Example) -> list[dict[str, Any]]:
    if example.picture is None:
        return example.messages
    question = example.messages[-1]["content"][1]
    content = [{"type": "image", "image": Image.fromarray(example.picture)}, question]
    return [*example.messages[:-1], {"role": "user", "content": content}]


def held_out_examples(seed: int, count: int) -> dict[str, list[Example]]:
    """Up to `count` examples of every task, by name. Sums are pairs never trained on; the rest has seeds of its own."""
    rng = random.Random(f"evaluate {seed}")
    result: dict[str, list[Example]] = defaultdict(list)
    for _ in range(12 * count):
        for task in text_tasks.TASKS:
            add(result, task(rng, True), count)
        for draw in picture_tasks.TASKS:
            add(result, draw(rng, *rng.choice(picture_tasks.SIZES)), count)
    return dict(sorted(result.items()))


def add(examples: dict[str, list[Example]], example: Example, count: int) -> None:
    if len(examples[example.task]) < count:
        examples[example.task].append(example)


def measure(llm: LLM, examples: dict[str, list[Example]]) -> dict[str, tuple[int, int]]:
    """(right, asked) for every task; an answer is right when it is the expected text, letter by letter."""
    result = {}
    for name, entries in track(examples.items(), "evaluating"):
        groups: dict[tuple[bool, bool, str], list[Example]] = defaultdict(list)
        for entry in entries:
            groups[entry.raw, entry.thinking, json.dumps(entry.tools)].append(entry)
        right = 0
        for group in groups.values():
            given = answers(llm, group)
            right += sum(text.strip() == entry.answer.strip() for text, entry in zip(given, group, strict=True))
        result[name] = (right, len(entries))
    return result


def write_card(card: Path, figures: dict[str, tuple[int, int]]) -> None:
    """Replaces the table between the card's two markers."""
    before, rest = card.read_text(encoding="utf-8").split(TABLE_START)
    after = rest.split(TABLE_END)[1]
    lines = ["| task | right | asked | accuracy |", "|---|---:|---:|---:|"]
    lines += [f"| {name} | {right} | {asked} | {right / asked:.1%} |" for name, (right, asked) in figures.items()]
    card.write_text(before + TABLE_START + "\n" + "\n".join(lines) + "\n" + TABLE_END + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=DEMO, help="exported folder")
    parser.add_argument("--count", type=int, default=500, help="examples a task")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--card", action="store_true", help="write the figures into the model card")
    options = parser.parse_args()
    started = time.monotonic()
    llm = LLM(str(options.model), max_context=512, threads=options.threads)
    figures = measure(llm, held_out_examples(options.seed, options.count))
    table = Table("task", "right", "asked", "accuracy")
    for name, (right, asked) in figures.items():
        table.add_row(name, str(right), str(asked), f"{right / asked:.1%}")
    Console().print(table)
    Console().print(f"{time.monotonic() - started:.0f} s")
    if options.card:
        write_card(CARD, figures)


if __name__ == "__main__":
    main()
