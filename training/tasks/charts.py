"""Bar charts, with questions about their highest and lowest bars."""

import random

from training.examples import Example, Mark, Picture
from training.tasks.drawing import FONTS, OVERSAMPLING, Box, Canvas, colours_on, shade, with_noise
from training.tasks.picture_questions import Turn, number, picture_question, sentence

SIZES = ((96, 96), (128, 128), (96, 192))
LETTERS = "ABCDE"
LETTER_EM = 20  # pixels of the finished picture
HEIGHT_STEP = 0.1  # of the highest possible bar: bars differ by one at least


def bar_heights(rng: random.Random, count: int) -> list[float]:
    """Shares of the plot's height, none near another."""
    steps = rng.sample(range(2, 10), count)
    return [(step + rng.uniform(-0.1, 0.1) + 0.5) * HEIGHT_STEP for step in steps]


def ask_extreme(rng: random.Random, colours: list[str], letters: str, heights: list[float], highest: bool) -> Turn:
    """Which bar is the highest (or the lowest): its letter where it has one, else its colour."""
    ranked = sorted(range(len(heights)), key=lambda index: heights[index], reverse=highest)
    word = rng.choice(("highest", "tallest") if highest else ("lowest", "shortest"))
    names = [letters[index] for index in ranked] if letters else [colours[index] for index in ranked]
    reasoning = f"{'From high to low' if highest else 'From low to high'}: {', '.join(names)}."
    if not letters or rng.random() < 0.4:
        names = [colours[index] for index in ranked]
        reasoning = f"{'From high to low' if highest else 'From low to high'}: {', '.join(names)}."
        wordings = [f"Which colour is the {word} bar?", f"What colour is the {word} bar?"]
        if not letters:
            wordings.append(f"Which bar is the {word}?")
        return Turn("picture: chart", rng.choice(wordings), sentence(names[0]), reasoning)
    wordings = [
        f"Which bar is the {word}?",
        f"Which letter has the {word} bar?",
        f"What is the letter of the {word} bar?",
    ]
    return Turn("picture: chart", rng.choice(wordings), sentence(names[0]), reasoning)


def chart(rng: random.Random, held_out: bool) -> Example:
    height, width = rng.choice(SIZES)
    count = rng.randint(3, 5)
    lettered = (height, width) != (96, 96) and rng.random() < 0.5
    letters = "".join(rng.sample(LETTERS[:count], count)) if lettered and rng.random() < 0.5 else LETTERS[:count]
    back = "white" if rng.random() < 0.8 else "black"
    ink_name = "black" if back == "white" else "white"
    colours = rng.sample([name for name in colours_on(back) if name != ink_name], count)
    heights = bar_heights(rng, count)
    canvas = Canvas(height, width, shade(rng, back))
    ink_colour, face = shade(rng, ink_name), rng.choice(FONTS)
    left, right, top = rng.uniform(3, 8), width - rng.uniform(3, 8), rng.uniform(3, 8)
    bottom = height - (20 if lettered else rng.uniform(4, 10))
    pitch = (right - left) / count
    thickness = pitch * rng.uniform(0.55, 0.85)
    marks = []
    for index, (name, share) in enumerate(zip(colours, heights, strict=True)):
        x = left + (index + 0.5) * pitch
        peak = bottom - share * (bottom - top)
        canvas.rectangle(Box(x - thickness / 2, peak, x + thickness / 2, bottom), shade(rng, name))
        marks.append(Mark(x, (peak + bottom) / 2, "bar", name, index))
        if lettered:
            canvas.text(x, bottom + 10, letters[index], face, LETTER_EM * OVERSAMPLING, ink_colour)
            marks.append(Mark(x, bottom + 10, letters[index], ink_name, index))
    canvas.rectangle(Box(left - 1, bottom, right + 1, bottom + 1), ink_colour)
    picture = Picture(with_noise(canvas.pixels(), rng), tuple(marks))
    shown = letters if lettered else ""
    last = ask_extreme(rng, colours, shown, heights, held_out or rng.random() < 0.7)
    others = [
        ask_extreme(rng, colours, shown, heights, rng.random() < 0.5),
        Turn("picture: count", "How many bars are there?", number(count), f"{', '.join(colours)}: {count}"),
        Turn("picture: chart", "Which colours do the bars have?", sentence(", ".join(colours)), "From left to right."),
    ]
    return picture_question(rng, held_out, [picture], last, rng.sample(others, rng.randint(1, 3)))
