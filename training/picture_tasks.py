"""Seeded drawings with a question about each: one shape, several shapes to count, characters to read."""

import math
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.text_tasks import Example, ask

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 160, 50),
    "blue": (30, 70, 220),
    "yellow": (245, 215, 30),
    "orange": (245, 135, 20),
    "purple": (140, 45, 170),
    "black": (20, 20, 20),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "star", "cross")
SIZES = ((64, 64), (96, 96), (128, 128), (64, 96), (96, 64), (64, 128), (128, 64), (96, 128), (128, 96))
CHARACTERS = "0123456789ABCDEFGHJKLMNPRSTUVXYZ"
FONTS = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSansMono-Bold.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSerif-Bold.ttf",
)
NUMBER_WORDS = ("no", "one", "two", "three", "four", "five")
OVERSAMPLING = 2


@cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A DejaVu face; matplotlib carries them, so every machine draws the same pixels."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def shade(rng: random.Random, colour: str) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, channel + rng.randint(-12, 12))) for channel in COLOURS[colour])
    return red, green, blue


def two_colours(rng: random.Random) -> tuple[str, str]:
    """A colour to draw with and another, well apart, for the background (white half of the time)."""
    while True:
        front = rng.choice(tuple(COLOURS))
        back = "white" if rng.random() < 0.5 else rng.choice(tuple(COLOURS))
        if front != back and {front, back} not in (
            {"red", "orange"},
            {"yellow", "orange"},
            {"yellow", "white"},
            {"blue", "purple"},
        ):
            return front, back


def draw_shape(
    draw: ImageDraw.ImageDraw, shape: str, x: float, y: float, radius: float, fill: tuple[int, int, int]
) -> None:
    if shape == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill)
    elif shape == "square":
        side = radius * 0.88
        draw.rectangle((x - side, y - side, x + side, y + side), fill)
    elif shape == "cross":
        arm = radius * 0.33
        draw.rectangle((x - radius, y - arm, x + radius, y + arm), fill)
        draw.rectangle((x - arm, y - radius, x + arm, y + radius), fill)
    else:
        corners, inner = (3, 1.0) if shape == "triangle" else (10, 0.42)
        reach = [radius if corner % 2 == 0 else radius * inner for corner in range(corners)]
        angles = [2 * math.pi * corner / corners - math.pi / 2 for corner in range(corners)]
        draw.polygon([(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(reach, angles, strict=True)], fill)


def canvas(height: int, width: int, background: tuple[int, int, int]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("RGB", (width * OVERSAMPLING, height * OVERSAMPLING), background)
    return picture, ImageDraw.Draw(picture)


def finished(picture: Image.Image, rng: random.Random) -> np.ndarray:
    """Reduced to its real size, sometimes with faint noise: uint8 [height, width, 3]."""
    pixels = np.asarray(
        picture.resize((picture.width // OVERSAMPLING, picture.height // OVERSAMPLING), Image.Resampling.BICUBIC)
    )
    if rng.random() < 0.3:
        noise = np.random.default_rng(rng.getrandbits(32)).normal(0.0, 6.0, pixels.shape)
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    return pixels


def with_picture(example: Example, picture: np.ndarray) -> Example:
    question = example.messages[0]["content"]
    example.messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    example.picture = picture
    return example


def article(word: str) -> str:
    return "An" if word[0] in "aeiou" else "A"


def one_shape(rng: random.Random, height: int, width: int) -> Example:
    front, back = two_colours(rng)
    shape = rng.choice(SHAPES)
    picture, draw = canvas(height, width, shade(rng, back))
    radius = rng.uniform(0.22, 0.48) * min(picture.size)
    x, y = rng.uniform(radius, picture.width - radius), rng.uniform(radius, picture.height - radius)
    draw_shape(draw, shape, x, y, radius, shade(rng, front))
    kind = rng.randrange(4)
    if kind < 2:
        question = rng.choice(
            (
                "What is in the picture?",
                "What do you see?",
                "Describe the picture.",
                "What is this?",
                "What is in this image?",
            )
        )
        example = ask(
            "picture: shape and colour", question, f"{article(front)} {front} {shape}.", "I look at the picture.", rng
        )
    elif kind == 2:
        question = rng.choice(
            ("What colour is the shape?", f"Which colour is the {shape}?", f"What color is the {shape}?")
        )
        example = ask("picture: colour", question, f"The {shape} is {front}.", "I look at the colour.", rng)
    else:
        question = rng.choice(("Which shape is it?", "What shape is this?", "Which shape do you see?"))
        example = ask("picture: shape", question, f"It is a {shape}.", "I look at the shape.", rng)
    return with_picture(example, finished(picture, rng))


def count_shapes(rng: random.Random, height: int, width: int) -> Example:
    front, back = two_colours(rng)
    shape = rng.choice(SHAPES)
    wanted = rng.randint(1, 4)
    picture, draw = canvas(height, width, shade(rng, back))
    radius = rng.uniform(0.12, 0.17) * math.sqrt(picture.width * picture.height)
    placed: list[tuple[float, float]] = []
    for _ in range(200):
        if len(placed) == wanted:
            break
        x, y = rng.uniform(radius, picture.width - radius), rng.uniform(radius, picture.height - radius)
        if all(math.hypot(x - px, y - py) > 2.15 * radius for px, py in placed):
            placed.append((x, y))
            draw_shape(draw, shape, x, y, radius, shade(rng, front))
    count = len(placed)
    question = rng.choice(
        (
            f"How many {shape}s are there?",
            "How many shapes are there?",
            "How many shapes do you see?",
            f"Count the {shape}s.",
        )
    )
    plural = "" if count == 1 else ("es" if shape == "cross" else "s")
    question = question.replace("crosss", "crosses")
    answer = f"{NUMBER_WORDS[count].capitalize()} {front} {shape}{plural}."
    return with_picture(ask("picture: count", question, answer, "I count the shapes.", rng), finished(picture, rng))


def read_text(rng: random.Random, height: int, width: int) -> Example:
    front, back = two_colours(rng)
    most = max(1, min(4, 2 * width // height))
    text = "".join(
        rng.choice(CHARACTERS[:10] if rng.random() < 0.6 else CHARACTERS) for _ in range(rng.randint(1, most))
    )
    picture, draw = canvas(height, width, shade(rng, back))
    face = rng.choice(FONTS)
    size = int(min(0.8 * picture.height, 1.35 * picture.width / len(text)) * rng.uniform(0.75, 1.0))
    left, top, right, bottom = draw.textbbox((0, 0), text, font(face, size))
    x = rng.uniform(0, max(0.0, picture.width - (right - left))) - left
    y = rng.uniform(0, max(0.0, picture.height - (bottom - top))) - top
    draw.text((x, y), text, shade(rng, front), font(face, size))
    question = rng.choice(
        (
            "What does it say?",
            "Read the text.",
            "What is written here?",
            "Read the picture.",
            "What does the picture say?",
        )
    )
    return with_picture(
        ask("picture: reading", question, " ".join(text), "I read from left to right.", rng), finished(picture, rng)
    )


TASKS: dict[Callable[[random.Random, int, int], Example], float] = {one_shape: 0.6, count_shapes: 0.28, read_text: 0.12}
