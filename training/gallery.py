"""Draws examples of the data generator as pictures for the docs: `python -m training.gallery`."""

import argparse
import random
import textwrap
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager, ft2font, pyplot
from PIL import Image

from training.evaluation.asking import spoken
from training.evaluation.tasks import PICTURE_ROWS, TEXT_ROWS
from training.examples import Example, Picture, Video

DOCS = Path(__file__).parents[1] / "docs"
TEXTS, PICTURES = "demo_examples_text.png", "demo_examples_pictures.png"
FACE = "DejaVu Sans Mono"  # comes with matplotlib
COLUMNS = 4
TWICE = ("picture: count", "picture: position", "picture: reading")
NOT_SHOWN = ("arithmetic, 3 digits", "arithmetic", "multiplication", "copy", "count", "long copy", "tools: single")
LINE = 84  # characters of a line of the text examples
LONGEST = 700  # characters of a text example


def drawn(row: str, rng: random.Random, fits: Callable[[Example], bool]) -> Example:
    """The first example of a row that fits."""
    while True:
        example = (TEXT_ROWS | PICTURE_ROWS)[row].generator(rng, True)
        if example.task == row and fits(example):
            return example


def picture_of(example: Example) -> np.ndarray:
    """Pictures side by side, the frames of a video in rows of four; RGB uint8 with white between."""
    pixels: list[np.ndarray] = []
    for media in example.media:
        pixels += [media.pixels] if isinstance(media, Picture) else list(media.frames)
    height, width = pixels[0].shape[:2]
    across = 4 if isinstance(example.media[0], Video) else len(pixels)
    gap = 4
    rows = -(-len(pixels) // across)
    canvas = np.full((rows * (height + gap) - gap, across * (width + gap) - gap, 3), 255, np.uint8)
    for index, image in enumerate(pixels):
        top, left = index // across * (height + gap), index % across * (width + gap)
        canvas[top : top + height, left : left + width] = image
    return canvas


def save(figure: Any, path: Path) -> None:
    """With 256 colours: a third of the size, and nothing seen of it."""
    memory = BytesIO()
    figure.savefig(memory, dpi=100)
    pyplot.close(figure)
    Image.open(memory).convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        path, optimize=True
    )


def draw_pictures(path: Path, rng: random.Random) -> None:
    """One or two examples of every task with pictures, each with its question and answer."""
    rows = sorted([*PICTURE_ROWS, *TWICE], key=list(PICTURE_ROWS).index)
    figure, axes = pyplot.subplots(len(rows) // COLUMNS, COLUMNS, figsize=(12, 13.5))
    figure.subplots_adjust(left=0.02, right=0.98, top=0.97, bottom=0.06, wspace=0.1, hspace=0.4)

    def fits(example: Example) -> bool:
        return len(example.answer) < 120 and (example.task != "picture: reading" or len(example.answer) > 3)

    for axis, row in zip(axes.flat, rows, strict=True):
        example = drawn(row, rng, fits)
        question = example.messages[0]["content"][-1]["text"]
        axis.imshow(picture_of(example), interpolation="nearest")
        axis.set_axis_off()
        axis.set_title(row, fontsize=10, fontweight="bold")
        told = [*textwrap.wrap(question, 44), *textwrap.wrap(f"→ {example.answer}", 44)]
        axis.text(0.5, -0.04, "\n".join(told), transform=axis.transAxes, ha="center", va="top", fontsize=8)
    save(figure, path)


def written_calls(calls: list[dict[str, Any]]) -> list[str]:
    return [f"{call['name']}({', '.join(f'{k}={v!r}' for k, v in call['arguments'].items())})" for call in calls]


def lines_of(example: Example) -> list[str]:
    """A conversation, wrapped: who speaks, then what; calls of tools in one line each."""
    said = [("tools", tool["function"]["name"]) for tool in example.tools]
    for message in example.messages:
        calls = [call["function"] for call in message.get("tool_calls", ())]
        if message.get("reasoning_content"):
            said.append(("think", message["reasoning_content"]))
        said += [("call", call) for call in written_calls(calls)]
        if message["content"]:
            said.append((message["role"], message["content"]))
    text, calls = spoken(example.answer, example.tools)
    if example.thinking:
        said.append(("think", example.reasoning))
    said += [("call", call) for call in written_calls(calls)]
    if text:
        said.append(("assistant", text))
    result = []
    for role, content in said:
        wrapped = [part for line in content.splitlines() for part in textwrap.wrap(line, LINE - 11) or [""]]
        result += [f"{role if number == 0 else '':>9}  {part}" for number, part in enumerate(wrapped)]
    return result


def draw_texts(path: Path, rng: random.Random) -> None:
    """Most text tasks as conversations, in two columns of even length."""
    glyphs = ft2font.FT2Font(font_manager.findfont(FACE)).get_charmap()

    def fits(example: Example) -> bool:
        shown = "".join(lines_of(example))
        return len(shown) < LONGEST and all(ord(character) in glyphs for character in shown)

    columns: tuple[list[tuple[str, list[str]]], ...] = ([], [])
    lengths = [0, 0]
    for row in TEXT_ROWS:
        if row not in NOT_SHOWN:
            lines = lines_of(drawn(row, rng, fits))
            shortest = lengths.index(min(lengths))
            columns[shortest].append((row, lines))
            lengths[shortest] += len(lines) + 2
    height = max(lengths)
    figure = pyplot.figure(figsize=(12, height * 0.13))
    for place, blocks in enumerate(columns):
        line = 0.5
        for title, lines in blocks:
            x, y = 0.02 + 0.5 * place, 1 - line / height
            figure.text(x, y, title, fontsize=9, fontweight="bold", va="top")
            # Dollar signs would begin formulas.
            told = "\n".join(lines).replace("$", r"\$")
            figure.text(x, y - 1.2 / height, told, fontsize=7.5, family=FACE, va="top", linespacing=1.15)
            line += len(lines) + 2
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=DOCS, help="where the pictures go")
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    matplotlib.use("Agg")
    draw_pictures(options.folder / PICTURES, random.Random(options.seed))
    draw_texts(options.folder / TEXTS, random.Random(options.seed))


if __name__ == "__main__":
    main()
