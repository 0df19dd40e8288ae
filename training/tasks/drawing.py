"""What all the pictures are drawn with: colours, shapes, fonts, a canvas of twice the size, and noise."""

import math
import random
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "red": (220, 30, 30),
    "green": (30, 160, 50),
    "blue": (30, 70, 220),
    "yellow": (245, 215, 30),
    "orange": (245, 135, 20),
    "purple": (140, 45, 170),
    "black": (20, 20, 20),
    "white": (243, 243, 243),
}
COLOUR_NAMES = tuple(COLOURS)
# Pairs that a viewer could take for one another where they touch.
CLOSE = ({"red", "orange"}, {"yellow", "orange"}, {"yellow", "white"}, {"blue", "purple"}, {"red", "purple"})
SHAPES = ("circle", "square", "triangle", "star", "cross")
# No I, O, Q and W: some faces draw I like 1, O and Q like 0, and W is wider than any other.
CHARACTERS = "0123456789ABCDEFGHJKLMNPRSTUVXYZ"
LABELS: tuple[str, ...] = (*CHARACTERS, *SHAPES, "bar", "label", "field", "button", "checkbox")
FONTS = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSansMono-Bold.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSerif-Bold.ttf",
)
OVERSAMPLING = 2
NOISY = 0.3  # share of the pictures


class Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float


def shade(rng: random.Random, colour: str) -> Colour:
    red, green, blue = (min(255, max(0, channel + rng.randint(-12, 12))) for channel in COLOURS[colour])
    return red, green, blue


def background(rng: random.Random) -> str:
    return "white" if rng.random() < 0.5 else rng.choice(COLOUR_NAMES)


def colours_on(back: str) -> list[str]:
    """The colours that stand out from a background."""
    return [colour for colour in COLOUR_NAMES if colour != back and {colour, back} not in CLOSE]


@cache
def font_file(name: str) -> str:
    """matplotlib carries the DejaVu faces, so every machine draws the same pixels."""
    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name)


@lru_cache(maxsize=400)  # each holds its file open
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A face at an em of `size` canvas pixels (OVERSAMPLING of them make a picture's pixel)."""
    return ImageFont.truetype(font_file(name), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=20_000)
def ink(name: str, size: int, text: str) -> Box:
    """What a text covers when it is drawn at 0, 0, in canvas pixels."""
    return Box(*font(name, size).getbbox(text))


class Canvas:
    """A picture in the making; every coordinate is in pixels of the finished one."""

    def __init__(self, height: int, width: int, fill: Colour) -> None:
        self.image = Image.new("RGB", (width * OVERSAMPLING, height * OVERSAMPLING), fill)
        self.draw = ImageDraw.Draw(self.image)

    def rectangle(self, box: Box, fill: Colour, outline: Colour | None = None) -> None:
        left, top, right, bottom = (value * OVERSAMPLING for value in box)
        self.draw.rectangle((left, top, right - 1, bottom - 1), fill, outline, width=OVERSAMPLING if outline else 0)

    def line(self, points: list[tuple[float, float]], fill: Colour, width: float) -> None:
        scaled = [(x * OVERSAMPLING, y * OVERSAMPLING) for x, y in points]
        self.draw.line(scaled, fill, round(width * OVERSAMPLING))

    def shape(self, shape: str, x: float, y: float, radius: float, fill: Colour) -> None:
        x, y, radius = x * OVERSAMPLING, y * OVERSAMPLING, radius * OVERSAMPLING
        if shape == "circle":
            self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill)
        elif shape == "square":
            side = radius * 0.8
            self.draw.rectangle((x - side, y - side, x + side, y + side), fill)
        elif shape == "cross":
            arm = radius * 0.33
            self.draw.rectangle((x - radius, y - arm, x + radius, y + arm), fill)
            self.draw.rectangle((x - arm, y - radius, x + arm, y + radius), fill)
        else:
            corners, inner = (3, 1.0) if shape == "triangle" else (10, 0.42)
            reach = [radius if corner % 2 == 0 else radius * inner for corner in range(corners)]
            angles = [2 * math.pi * corner / corners - math.pi / 2 for corner in range(corners)]
            points = [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(reach, angles, strict=True)]
            self.draw.polygon(points, fill)

    def text(self, x: float, y: float, text: str, face: str, size: int, fill: Colour) -> None:
        """Draws a text with the middle of its ink at x, y; `size` as in `font`."""
        box = ink(face, size, text)
        corner = (x * OVERSAMPLING - (box.left + box.right) / 2, y * OVERSAMPLING - (box.top + box.bottom) / 2)
        self.draw.text(corner, text, fill, font(face, size))

    def pixels(self) -> np.ndarray:
        """Reduced to the finished size: uint8 [height, width, 3]."""
        return np.asarray(self.image.reduce(OVERSAMPLING))


def with_noise(pixels: np.ndarray, rng: random.Random) -> np.ndarray:
    """uint8 pixels of any shape, some of them with faint noise."""
    if rng.random() >= NOISY:
        return pixels
    reach = rng.randint(3, 14)
    noise = np.frombuffer(rng.randbytes(pixels.size), np.uint8).reshape(pixels.shape) % np.uint8(2 * reach + 1)
    return np.clip(pixels.astype(np.int16) + noise - reach, 0, 255).astype(np.uint8)
