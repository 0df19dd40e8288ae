"""Measures the demonstration model on held-out examples: `python -m training.evaluate`.

Prints a table and, with `--card`, writes it into the model card.
"""

import argparse
import random
import time
from collections import defaultdict
from pathlib import Path
from typing import Protocol

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from safetensors.torch import load_file
from tokenizers import Tokenizer

from training import picture_tasks, text_tasks
from training.data import IMAGE_PAD, encode, positions, token_id
from training.model import Batch
from training.text_tasks import Example
from training.train import build_model
from training.vision import patches

DEMO = Path(__file__).parents[1] / "src" / "qwill" / "demo"
CARD = Path(__file__).parents[1] / "docs" / "demo_model.md"
TABLE_START, TABLE_END = "<!-- table: begin -->", "<!-- table: end -->"
MOST_TOKENS = 96


class Answerer(Protocol):
    """Answers examples greedily."""

    def answers(self, examples: list[Example]) -> list[str]:
        """The text after the reasoning, one for each example."""


class TorchAnswerer:
    """The exported checkpoint in the training code's own float32 model, without a cache."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.model = build_model(self.tokenizer, torch.float32)
        self.model.load_state_dict(load_file(folder / "model.safetensors"))
        self.stops = {token_id(self.tokenizer, token) for token in ("<|im_end|>", "<|endoftext|>")}

    @torch.no_grad()
    def answers(self, examples: list[Example]) -> list[str]:
        encoded = [encode(example, self.tokenizer) for example in examples]
        rows = [entry.ids[: entry.prompt_length] for entry in encoded]
        image_token = token_id(self.tokenizer, IMAGE_PAD)
        open_rows = set(range(len(rows)))
        for _ in range(MOST_TOKENS):
            current = sorted(open_rows)
            length = max(len(rows[row]) for row in current)
            tokens = torch.zeros(len(current), length, dtype=torch.long)
            places = torch.zeros(3, len(current), length, dtype=torch.long)
            for index, row in enumerate(current):
                tokens[index, : len(rows[row])] = torch.tensor(rows[row])
                places[:, index, : len(rows[row])] = torch.from_numpy(
                    positions(encoded[row]._replace(ids=rows[row]), image_token)
                )
            pictures = [
                torch.from_numpy(patches(examples[row].picture)) for row in current if examples[row].picture is not None
            ]
            batch = Batch(
                tokens, places, tokens > 0, torch.stack(pictures) if pictures else None, encoded[current[0]].grid
            )
            logits = self.model.logits(batch)
            for index, row in enumerate(current):
                token = int(logits[index, len(rows[row]) - 1].argmax())
                if token in self.stops:
                    open_rows.remove(row)
                else:
                    rows[row].append(token)
            if not open_rows:
                break
        texts = [
            self.tokenizer.decode(row[entry.prompt_length :], skip_special_tokens=True)
            for row, entry in zip(rows, encoded, strict=True)
        ]
        return [text.split("</think>")[-1].lstrip("\n") for text in texts]


def held_out_examples(seed: int, count: int) -> dict[str, list[Example]]:
    """`count` examples of every task, by name. Sums are pairs never trained on; the rest is drawn with fresh seeds."""
    rng = random.Random(f"evaluate {seed}")
    result: dict[str, list[Example]] = defaultdict(list)
    generators = [lambda task=task: task(rng, True) for task in text_tasks.TASKS]
    generators += [lambda task=task: task(rng, *rng.choice(picture_tasks.SIZES)) for task in picture_tasks.TASKS]
    for generate in generators:
        names: set[str] = set()
        for _ in range(40 * count):
            example = generate()
            names.add(example.task)
            if len(result[example.task]) < count:
                result[example.task].append(example)
            if len(names) > 0 and all(len(result[name]) == count for name in names) and _ > 3 * count:
                break
    return dict(result)


def measure(answerer: Answerer, examples: dict[str, list[Example]], batch: int) -> dict[str, tuple[int, int]]:
    """(right, asked) for every task; an answer is right when it is the expected text, letter by letter."""
    result = {}
    for name, entries in track(examples.items(), "evaluating"):
        right = 0
        groups: dict[tuple[int, ...], list[Example]] = defaultdict(list)
        for entry in entries:
            groups[() if entry.picture is None else entry.picture.shape].append(entry)
        for group in groups.values():
            for start in range(0, len(group), batch):
                part = group[start : start + batch]
                given = answerer.answers(part)
                right += sum(text.strip() == entry.answer.strip() for text, entry in zip(given, part, strict=True))
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
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--card", action="store_true", help="write the figures into the model card")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    figures = measure(TorchAnswerer(options.model), held_out_examples(options.seed, options.count), options.batch)
    table = Table("task", "right", "asked", "accuracy")
    for name, (right, asked) in figures.items():
        table.add_row(name, str(right), str(asked), f"{right / asked:.1%}")
    Console().print(table)
    Console().print(f"{time.monotonic() - started:.0f} s")
    if options.card:
        write_card(CARD, figures)


if __name__ == "__main__":
    main()
