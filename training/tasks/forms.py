"""Screenshots of tiny forms, to be written as HTML."""

import random
from typing import NamedTuple

from training.examples import Example, Mark, Picture
from training.tasks.drawing import OVERSAMPLING, Box, Canvas, Colour, ink, shade, with_noise
from training.tasks.picture_questions import Turn, is_held_out, number, picture_question, sentence

TASK = "picture: form"
# Height, width and the most rows.
SIZES = ((128, 128, 3), (96, 192, 2))
LABELS = ("Name", "City", "Mail", "Age", "Code", "Phone", "Date", "Team", "News", "Gift")
BUTTONS = ("OK", "Send", "Save", "Go", "Next", "Join")
FACES = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
EMS = (15, 16)  # pixels of the finished picture
BUTTON_COLOURS = ("blue", "green", "black", "white")
ROW = 28


class Row(NamedTuple):
    label: str
    kind: str
    checked: bool


def element(row: Row) -> str:
    return f'<label>{row.label}</label><input type="{row.kind}"{" checked" if row.checked else ""}>'


def html(rows: list[Row], button: str) -> str:
    return f"<form>{''.join(element(row) for row in rows)}<button>{button}</button></form>"


def random_form(rng: random.Random, most: int, held_out: bool) -> tuple[list[Row], str]:
    """Rows and button of a form of the held-out eighth, or of the rest."""
    while True:
        rows = [
            Row(label, kind, kind == "checkbox" and rng.random() < 0.5)
            for label in rng.sample(LABELS, rng.randint(1, most))
            for kind in (rng.choice(("text", "text", "checkbox")),)
        ]
        button = rng.choice(BUTTONS)
        if is_held_out(html(rows, button)) == held_out:
            return rows, button


def words(canvas: Canvas, left: float, middle: float, text: str, face: str, em: int, fill: Colour) -> float:
    """Writes a text from `left`, centred on the line `middle`; returns the middle of its ink."""
    box = ink(face, em * OVERSAMPLING, text)
    x = left + (box.right - box.left) / (2 * OVERSAMPLING)
    canvas.text(x, middle, text, face, em * OVERSAMPLING, fill)
    return x


def draw_form(rng: random.Random, rows: list[Row], button: str, height: int, width: int) -> Picture:
    paper, black, edge = shade(rng, "white"), shade(rng, "black"), (120, 120, 120)
    canvas = Canvas(height, width, paper)
    canvas.rectangle(Box(1, 1, width - 1, height - 1), paper, edge)
    face, em = rng.choice(FACES), rng.choice(EMS)
    left = rng.uniform(5, 8)
    top = rng.uniform(5, max(5.0, height - (len(rows) + 1) * ROW - 5))
    widest = max(ink(face, em * OVERSAMPLING, row.label).right for row in rows) / OVERSAMPLING
    column = max(left + widest + 4, rng.uniform(0.4, 0.5) * width)
    marks = []
    for order, row in enumerate(rows):
        middle = top + (order + 0.5) * ROW
        marks.append(Mark(words(canvas, left, middle, row.label, face, em, black), middle, "label", "black", order))
        if row.kind == "text":
            right = width - rng.uniform(5, 9)
            canvas.rectangle(Box(column, middle - 9, right, middle + 9), (255, 255, 255), edge)
            marks.append(Mark((column + right) / 2, middle, "field", "", order))
        else:
            canvas.rectangle(Box(column, middle - 8, column + 16, middle + 8), (255, 255, 255), edge)
            if row.checked:
                tick = [(column + 3.0, middle), (column + 7.0, middle + 5), (column + 13.0, middle - 5)]
                canvas.line(tick, black, 2.5)
            marks.append(Mark(column + 8, middle, "checkbox", "", order))
    colour = rng.choice(BUTTON_COLOURS)
    middle = top + (len(rows) + 0.5) * ROW
    label_width = ink(face, em * OVERSAMPLING, button).right / OVERSAMPLING
    right = left + label_width + rng.uniform(14, 24)
    canvas.rectangle(Box(left, middle - 11, right, middle + 11), shade(rng, colour), edge)
    canvas.text((left + right) / 2, middle, button, face, em * OVERSAMPLING, black if colour == "white" else paper)
    marks.append(Mark((left + right) / 2, middle, "button", colour, 0))
    return Picture(with_noise(canvas.pixels(), rng), tuple(marks))


def form(rng: random.Random, held_out: bool) -> Example:
    height, width, most = rng.choice(SIZES)
    rows, button = random_form(rng, most, held_out)
    picture = draw_form(rng, rows, button, height, width)
    labels = ", ".join(row.label for row in rows)
    whole = Turn(
        TASK,
        rng.choice(
            (
                "Write this form as HTML.",
                "Turn the screenshot into HTML.",
                "What is the HTML of this form?",
                "Give me the HTML for this form.",
                "Convert the form to HTML.",
            )
        ),
        html(rows, button),
        f"Rows: {labels}. Button: {button}.",
    )
    others = [
        Turn(TASK, "What does the button say?", sentence(button), "I look at the button."),
        Turn(TASK, "How many rows does the form have?", number(len(rows)), f"{labels}: {len(rows)}"),
        Turn(TASK, "Which labels does the form have?", sentence(labels), "From top to bottom."),
    ]
    return picture_question(rng, held_out, [picture], whole, rng.sample(others, rng.randint(1, 2)))
