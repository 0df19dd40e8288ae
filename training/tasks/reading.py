"""One to eight characters to read, in six faces, many sizes and places."""

import random

from training.examples import Example, Mark, Picture
from training.tasks.drawing import (
    CHARACTERS,
    COLOUR_NAMES,
    COLOURS,
    FONTS,
    OVERSAMPLING,
    Canvas,
    Colour,
    font,
    ink,
    shade,
    with_noise,
)
from training.tasks.picture_questions import Turn, is_held_out, number, picture_question, sentence

# Height, width and the most characters that fit at the smallest size.
SIZES = ((64, 64, 3), (64, 128, 5), (96, 192, 8), (64, 256, 8))
# Ems in canvas pixels: capitals of 14 to 41 pixels in the finished picture.
EMS = (40, 44, 48, 52, 56, 62, 68, 74, 80, 88, 96, 104, 112)
NARROWEST = 0.5  # ems that a character takes at least
MARGIN = 4  # canvas pixels
CONTRAST = 85.0  # of 255, between the brightnesses of text and background


def random_text(rng: random.Random, most: int, held_out: bool) -> str:
    """A string of the held-out eighth, or of the rest."""
    characters = rng.choice((CHARACTERS, CHARACTERS, CHARACTERS, CHARACTERS[:10], CHARACTERS[10:]))
    length = rng.randint(1, most)
    while True:
        text = "".join(rng.choices(characters, k=length))
        if is_held_out(text) == held_out:
            return text


def brightness(colour: str) -> float:
    red, green, blue = COLOURS[colour]
    return 0.299 * red + 0.587 * green + 0.114 * blue


def text_colours(rng: random.Random) -> tuple[str, str]:
    """Names of the text's colour and of the background's: mostly white, sometimes black, in a fifth any that differ."""
    chance = rng.random()
    back = "white" if chance < 0.68 else "black" if chance < 0.8 else rng.choice(COLOUR_NAMES)
    dark_enough = [name for name in COLOUR_NAMES if abs(brightness(name) - brightness(back)) >= CONTRAST]
    plain = "black" if back == "white" else "white"
    return (plain if plain in dark_enough and rng.random() < 0.5 else rng.choice(dark_enough)), back


def advances(text: str, face: str, em: int, spacing: float) -> list[float]:
    """How far each character moves the next one, in canvas pixels."""
    used = font(face, em)
    return [max(used.getlength(character), NARROWEST * em) + spacing * em for character in text]


def draw_text(rng: random.Random, text: str, height: int, width: int) -> tuple[Picture, str]:
    """The picture and the colour of its text."""
    colour, back = text_colours(rng)
    face, spacing = rng.choice(FONTS), rng.choice((0.0, 0.0, 0.05, 0.12))
    wide, high = width * OVERSAMPLING, height * OVERSAMPLING
    fitting = [
        em
        for em in EMS
        if sum(advances(text, face, em, spacing)) <= wide - 2 * MARGIN and 0.8 * em <= high - 2 * MARGIN
    ]
    if not fitting:
        fitting, spacing = [EMS[0]], 0.0
    em = rng.choice(fitting[-2:]) if rng.random() < 0.5 else rng.choice(fitting)
    steps = advances(text, face, em, spacing)
    boxes = [ink(face, em, character) for character in text]
    top, bottom = min(box.top for box in boxes), max(box.bottom for box in boxes)
    x = rng.uniform(MARGIN, max(MARGIN, wide - MARGIN - sum(steps)))
    y = rng.uniform(MARGIN, high - MARGIN - (bottom - top)) - top
    fill: Colour = shade(rng, colour)
    canvas = Canvas(height, width, shade(rng, back))
    marks = []
    for order, (character, step, box) in enumerate(zip(text, steps, boxes, strict=True)):
        # The ink stands in the middle of the step.
        left = x + (step - (box.right - box.left)) / 2 - box.left
        canvas.draw.text((left, y), character, fill, font(face, em))
        centre_x, centre_y = left + (box.left + box.right) / 2, y + (box.top + box.bottom) / 2
        marks.append(Mark(centre_x / OVERSAMPLING, centre_y / OVERSAMPLING, character, colour, order))
        x += step
    return Picture(with_noise(canvas.pixels(), rng), tuple(marks)), colour


def reading(rng: random.Random, held_out: bool) -> Example:
    height, width, most = rng.choice(SIZES)
    text = random_text(rng, most, held_out)
    picture, colour = draw_text(rng, text, height, width)
    whole = Turn(
        "picture: reading",
        rng.choice(
            (
                "What does it say?",
                "Read the text.",
                "What is written here?",
                "Read the picture.",
                "What does the picture say?",
                "Which characters do you see?",
                "What text is in the picture?",
            )
        ),
        text,
        "I read from left to right.",
    )
    if held_out:
        return picture_question(rng, held_out, [picture], whole, thinking_share=0.1)
    parts = [
        Turn("picture: reading", "What is the first character?", text[0], "I read from left to right."),
        Turn("picture: reading", "What is the last character?", text[-1], "I read from left to right."),
        Turn("picture: count", "How many characters are there?", number(len(text)), f"{', '.join(text)}: {len(text)}"),
        Turn("picture: colour", "Which colour is the text?", sentence(colour), f"The text is {colour}."),
    ]
    turns = rng.sample(parts, rng.randint(0, 2))
    if turns and rng.random() < 0.4:
        return picture_question(rng, held_out, [picture], turns[-1], [whole, *turns[:-1]])
    return picture_question(rng, held_out, [picture], whole, turns, thinking_share=0.1)
