"""Short videos: something moves, things appear one after another, something blinks.

The vision tower sees two frames at a time, so what matters lasts or is apart long enough to be told from pairs.
"""

import random

import numpy as np

from training.examples import Example, Mark, Video
from training.tasks.drawing import SHAPES, Canvas, Colour, background, colours_on, shade, with_noise
from training.tasks.picture_questions import NUMBERS, Turn, number, picture_question, sentence, with_article

FPS = 2.0
SIDES = (64, 64, 64, 96)
FRAME_COUNTS = (8, 10, 12)
# Name, and how x and y change.
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
STARTS = {"left": "right", "right": "left", "up": "bottom", "down": "top"}
ENDS = {"left": "left", "right": "right", "up": "top", "down": "bottom"}
ORDINALS = ("first", "second", "third")
# A blink is seen in one pair of frames: in its first frame, its second, or both.
BLINK_PAIRS = ((True, False), (True, False), (False, True), (True, True))


def frame(side: int, back: Colour, shapes: list[tuple[str, float, float, float, Colour]]) -> np.ndarray:
    canvas = Canvas(side, side, back)
    for shape, x, y, radius, fill in shapes:
        canvas.shape(shape, x, y, radius, fill)
    return canvas.pixels()


def ask_subject(rng: random.Random, shape: str, colour: str) -> Turn:
    """About the only thing in a video."""
    thought = f"There is {with_article(colour)} {shape}."
    return rng.choice(
        (
            Turn("picture: colour", f"Which colour is the {shape}?", sentence(colour), thought),
            Turn("picture: shape", "Which shape do you see?", sentence(shape), thought),
            Turn(
                "picture: shape and colour",
                "What is in the video?",
                sentence(f"{with_article(colour)} {shape}"),
                thought,
            ),
        )
    )


def direction(rng: random.Random, held_out: bool) -> Example:
    """One shape goes left, right, up or down over half of the frame or more."""
    side, count = rng.choice(SIDES), rng.choice(FRAME_COUNTS)
    back = background(rng)
    colour, shape, towards = rng.choice(colours_on(back)), rng.choice(SHAPES), rng.choice(tuple(DIRECTIONS))
    radius = rng.uniform(0.12, 0.2) * side
    room = side - 2 * radius
    travel = rng.uniform(0.65, 1.0) * room
    start = rng.uniform(0, room - travel)
    across = rng.uniform(0, room)
    dx, dy = DIRECTIONS[towards]
    fill, paper = shade(rng, colour), shade(rng, back)
    frames, marks = [], []
    for index in range(count):
        gone = start + travel * index / (count - 1)
        along = radius + (gone if dx + dy > 0 else room - gone)
        x, y = (along, radius + across) if dx else (radius + across, along)
        frames.append(frame(side, paper, [(shape, x, y, radius, fill)]))
        marks.append(Mark(x, y, shape, colour, 0, index))
    name = rng.choice((shape, "shape", f"{colour} {shape}"))
    question = rng.choice(
        (
            f"In which direction does the {name} move?",
            f"Which way does the {name} go?",
            f"Where does the {name} move to?",
            f"Where is the {name} moving?",
        )
    )
    reasoning = f"It goes from the {STARTS[towards]} to the {ENDS[towards]}."
    last = Turn("video: direction", question, sentence(towards), reasoning)
    video = Video(with_noise(np.stack(frames), rng), FPS, tuple(marks))
    return picture_question(rng, held_out, [video], last, [ask_subject(rng, shape, colour)])


def event_frames(rng: random.Random, frame_count: int, events: int) -> list[tuple[int, int]]:
    """First frame of each event and the frame after its last: two frames or more each, one after another."""
    spare = frame_count - 2 * events
    # Frames beyond two, shared at random between the events, the time before and the time after.
    cuts = sorted(rng.randint(0, spare) for _ in range(events + 1))
    edges = [cuts[0] + 2 * index + (cuts[index] - cuts[0]) for index in range(events + 1)]
    return [(edges[index], edges[index + 1]) for index in range(events)]


def order(rng: random.Random, held_out: bool) -> Example:
    """Two or three shapes come one after another; each goes again, or all stay."""
    side, count = rng.choice(SIDES), rng.choice(FRAME_COUNTS)
    back = background(rng)
    events = rng.randint(2, 3)
    shapes, colours = rng.sample(SHAPES, events), rng.sample(colours_on(back), events)
    radius = rng.uniform(0.14, 0.18) * side
    places = rng.sample([(x, y) for x in (0.25, 0.75) for y in (0.25, 0.75)], events)
    loose = 0.06 * side
    things = [
        (
            shape,
            x * side + rng.uniform(-loose, loose),
            y * side + rng.uniform(-loose, loose),
            radius,
            shade(rng, colour),
        )
        for shape, colour, (x, y) in zip(shapes, colours, places, strict=True)
    ]
    stays = rng.random() < 0.4
    spans = event_frames(rng, count, events)
    paper = shade(rng, back)
    frames, marks = [], []
    for index in range(count):
        seen = [i for i, (first, after) in enumerate(spans) if first <= index and (stays or index < after)]
        frames.append(frame(side, paper, [things[i] for i in seen]))
        marks += [Mark(things[i][1], things[i][2], shapes[i], colours[i], i, index) for i in seen]
    turns = [ask_order(rng, shapes, colours) for _ in range(rng.randint(2, 3))]
    video = Video(with_noise(np.stack(frames), rng), FPS, tuple(marks))
    return picture_question(rng, held_out, [video], turns[0], turns[1:])


def ask_order(rng: random.Random, shapes: list[str], colours: list[str]) -> Turn:
    by_shape = rng.random() < 0.5
    names, noun = (shapes, "shape") if by_shape else (colours, "colour")
    reasoning = f"One after another: {', '.join(names)}."
    index = rng.randrange(len(names) + 1)
    if index == len(names):
        orders = (f"In which order do the {noun}s appear?", f"Name the {noun}s in the order they appear.")
        return Turn("video: order", rng.choice(orders), sentence(", ".join(names)), reasoning)
    when = "last" if index == len(names) - 1 and rng.random() < 0.7 else ORDINALS[index]
    wordings = (f"Which {noun} appears {when}?", f"Which {noun} comes {when}?", f"What {noun} is the {when} to appear?")
    return Turn("video: order", rng.choice(wordings), sentence(names[index]), reasoning)


def blink_pattern(rng: random.Random, pairs: int, blinks: int) -> list[bool]:
    """Whether the shape is seen, for each of 2 · pairs frames; every blink within one pair, dark before the next."""
    while True:
        chosen = set(rng.sample(range(pairs), blinks))
        lit = [
            seen for pair in range(pairs) for seen in (rng.choice(BLINK_PAIRS) if pair in chosen else (False, False))
        ]
        if sum(now and not before for before, now in zip([False, *lit], lit, strict=False)) == blinks:
            return lit


def lit_pairs(pattern: list[bool]) -> dict[str, bool]:
    """Whether each pair of frames shows the shape, by the time the model is told: its middle."""
    return {f"{(index + 0.5) / FPS:.1f}": any(pattern[index : index + 2]) for index in range(0, len(pattern), 2)}


def counted_pairs(pattern: list[bool]) -> str:
    count, notes = 0, []
    for time, lit in lit_pairs(pattern).items():
        count += lit
        notes.append(f"{time}: {NUMBERS[count] if lit else 'dark'}")
    return ", ".join(notes) + "."


def ask_moment(rng: random.Random, name: str, pattern: list[bool]) -> Turn:
    """About a part of the film: what counting needs, in smaller pieces."""
    pairs = lit_pairs(pattern)
    time = rng.choice(tuple(pairs))
    kind = rng.randrange(3)
    if kind == 0:
        lit = "Yes." if pairs[time] else "No."
        return Turn("video: blinks", f"Does the {name} light up at {time} seconds?", lit, f"At {time}.")
    if kind == 1:
        times = [each for each, lit in pairs.items() if lit]
        return Turn("video: blinks", f"When does the {name} light up?", f"At {', '.join(times)} seconds.", "I look.")
    upto = pattern[: 2 * (tuple(pairs).index(time) + 1)]
    count = sum(lit_pairs(upto).values())
    question = f"How many times does the {name} blink up to {time} seconds?"
    return Turn("video: blinks", question, number(count), counted_pairs(upto))


def blinks(rng: random.Random, held_out: bool) -> Example:
    """A shape is seen one to five times, for one frame or two."""
    side, times = rng.choice(SIDES), rng.randint(1, 5)
    count = rng.choice([count for count in FRAME_COUNTS if count >= 2 * times])
    back = background(rng)
    colour, shape = rng.choice(colours_on(back)), rng.choice(SHAPES)
    radius = rng.uniform(0.16, 0.32) * side
    x, y = rng.uniform(radius, side - radius), rng.uniform(radius, side - radius)
    paper = shade(rng, back)
    dark, light = frame(side, paper, []), frame(side, paper, [(shape, x, y, radius, shade(rng, colour))])
    pattern = blink_pattern(rng, count // 2, times)
    marks = tuple(Mark(x, y, shape, colour, 0, index) for index, lit in enumerate(pattern) if lit)
    name = rng.choice((shape, "shape", f"{colour} {shape}"))
    question = rng.choice(
        (
            f"How many times does the {name} blink?",
            f"How often does the {name} blink?",
            f"How often does the {name} light up?",
            f"Count the blinks of the {name}.",
        )
    )
    last = Turn("video: blinks", question, number(times), counted_pairs(pattern))
    video = Video(with_noise(np.stack([light if lit else dark for lit in pattern]), rng), FPS, marks)
    before = [ask_moment(rng, name, pattern) for _ in range(rng.randint(1, 4))]
    return picture_question(rng, held_out, [video], last, [ask_subject(rng, shape, colour), *before], 0.4)
