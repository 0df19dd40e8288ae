"""Coloured shapes, with questions about their colour, shape, number and position."""

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from training.examples import Example, Mark, Picture
from training.tasks.drawing import SHAPES, Canvas, background, colours_on, shade, with_noise
from training.tasks.order import OPPOSITES, RELATIONS, draw_relation, in_order, which_are, yes_or_no
from training.tasks.picture_questions import NUMBERS, Turn, number, picture_question, sentence, with_article

SIZES = ((64, 64), (64, 64), (96, 96), (128, 128), (64, 128), (128, 64))
SMALLEST_RADIUS = 7.5
REACH = 1.14  # radii from a square's middle to its corners
PLACES = (
    ("top left", "top", "top right"),
    ("left", "centre", "right"),
    ("bottom left", "bottom", "bottom right"),
)
CLEARLY_APART = 0.2  # of a picture's side: what "left of" and "above" need


@dataclass(frozen=True)
class Thing:
    """One shape; x, y and radius in pixels."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """Shapes from left to right."""

    height: int
    width: int
    back: str
    things: tuple[Thing, ...]


def third(share: float) -> int | None:
    """Which third of a side a place is in, None too near to the border between two."""
    for index, (low, high) in enumerate(((0.0, 0.28), (0.39, 0.61), (0.72, 1.0))):
        if low <= share <= high:
            return index
    return None


def place(scene: Scene, thing: Thing) -> str | None:
    row, column = third(thing.y / scene.height), third(thing.x / scene.width)
    return None if row is None or column is None else PLACES[row][column]


def own_place(scene: Scene, thing: Thing) -> str | None:
    """Its place, where nothing else is or could be taken to be."""
    others = [place(scene, other) for other in scene.things if other is not thing]
    where = place(scene, thing)
    return None if where in others or None in others else where


def spots(rng: random.Random, height: int, width: int, count: int) -> list[tuple[float, float, float]]:
    """x, y and radius of `count` shapes that do not touch; half of the time near the middles of a 3×3 grid's cells."""
    largest = min(0.44 * min(height, width), 0.36 * math.sqrt(height * width / count))
    if rng.random() < 0.5:
        largest = min(largest, min(height, width) / 6)
        cells = rng.sample([(row, column) for row in range(3) for column in range(3)], count)
        result = []
        for row, column in cells:
            radius = max(SMALLEST_RADIUS, largest * rng.uniform(0.6, 0.8))
            loose = 0.15 * min(height, width) / 3
            x = (column + 0.5) * width / 3 + rng.uniform(-loose, loose)
            y = (row + 0.5) * height / 3 + rng.uniform(-loose, loose)
            result.append((min(max(x, radius), width - radius), min(max(y, radius), height - radius), radius))
        if not overlapping(result):
            return result
    largest = rng.uniform(SMALLEST_RADIUS, max(SMALLEST_RADIUS, largest))
    while True:
        result = []
        for _ in range(60):
            radius = max(SMALLEST_RADIUS, largest * rng.uniform(0.8, 1.0))
            spot = (rng.uniform(radius, width - radius), rng.uniform(radius, height - radius), radius)
            if not overlapping([*result, spot]):
                result.append(spot)
            if len(result) == count:
                return result
        largest *= 0.9


def overlapping(circles: list[tuple[float, float, float]]) -> bool:
    return any(
        math.hypot(x - other_x, y - other_y) < REACH * (radius + other_radius) + 1.5
        for index, (x, y, radius) in enumerate(circles)
        for other_x, other_y, other_radius in circles[:index]
    )


def build_scene(rng: random.Random, kinds: list[tuple[str, str]], back: str, size: tuple[int, int]) -> Scene:
    """Places shapes of the kinds (shape, colour)."""
    things = (
        Thing(shape, colour, *spot) for (shape, colour), spot in zip(kinds, spots(rng, *size, len(kinds)), strict=True)
    )
    return Scene(*size, back, tuple(sorted(things, key=lambda thing: (thing.x, thing.y))))


def draw_scene(rng: random.Random, scene: Scene) -> Picture:
    canvas = Canvas(scene.height, scene.width, shade(rng, scene.back))
    for thing in scene.things:
        canvas.shape(thing.shape, thing.x, thing.y, thing.radius, shade(rng, thing.colour))
    marks = tuple(Mark(t.x, t.y, t.shape, t.colour, order) for order, t in enumerate(scene.things))
    return Picture(with_noise(canvas.pixels(), rng), marks)


def distinct_scene(rng: random.Random, count: int, size: tuple[int, int] | None = None) -> Scene:
    """Shapes that are told apart by shape and by colour."""
    back = background(rng)
    kinds = list(zip(rng.sample(SHAPES, count), rng.sample(colours_on(back), count), strict=True))
    return build_scene(rng, kinds, back, size or rng.choice(SIZES))


def mixed_scene(rng: random.Random, count: int, size: tuple[int, int] | None = None) -> Scene:
    """Shapes of one to three kinds and colours."""
    back = background(rng)
    shapes = rng.sample(SHAPES, rng.randint(1, 3))
    colours = rng.sample(colours_on(back), rng.randint(1, 3))
    kinds = [(rng.choice(shapes), rng.choice(colours)) for _ in range(count)]
    return build_scene(rng, kinds, back, size or rng.choice(SIZES))


def only_one(scene: Scene, attribute: str) -> list[Thing]:
    """The things whose shape (or colour) no other one has."""
    counts = Counter(getattr(thing, attribute) for thing in scene.things)
    return [thing for thing in scene.things if counts[getattr(thing, attribute)] == 1]


def ask_colour(rng: random.Random, scene: Scene) -> Turn | None:
    things = only_one(scene, "shape")
    if not things:
        return None
    thing = rng.choice(things)
    where = own_place(scene, thing)
    wordings = [
        f"Which colour is the {thing.shape}?",
        f"What colour is the {thing.shape}?",
        f"What color is the {thing.shape}?",
        f"Tell me the colour of the {thing.shape}.",
    ]
    if len(scene.things) == 1:
        wordings += ["What colour is the shape?", "Which colour do you see?"]
    elif where and rng.random() < 0.3:
        wordings = [f"Which colour is the shape at the {where}?", f"What colour is the shape at the {where}?"]
    reasoning = f"There is {with_article(thing.name)}."
    return Turn("picture: colour", rng.choice(wordings), sentence(thing.colour), reasoning)


def ask_shape(rng: random.Random, scene: Scene) -> Turn | None:
    things = only_one(scene, "colour")
    if not things:
        return None
    thing = rng.choice(things)
    where = own_place(scene, thing)
    wordings = [
        f"Which shape is {thing.colour}?",
        f"What shape is the {thing.colour} one?",
        f"What is the {thing.colour} thing?",
    ]
    if len(scene.things) == 1:
        wordings += ["Which shape is it?", "What shape is this?", "Which shape do you see?", "Name the shape."]
    elif where and rng.random() < 0.3:
        wordings = [f"Which shape is at the {where}?", f"What is at the {where}?"]
    reasoning = f"There is {with_article(thing.name)}."
    return Turn("picture: shape", rng.choice(wordings), sentence(thing.shape), reasoning)


def ask_description(rng: random.Random, scene: Scene) -> Turn | None:
    if len(scene.things) > 3:
        return None
    question = rng.choice(
        (
            "What is in the picture?",
            "What do you see?",
            "Describe the picture.",
            "What is this?",
            "What is in this image?",
            "What does the picture show?",
        )
    )
    answer = sentence(", ".join(with_article(thing.name) for thing in scene.things))
    return Turn("picture: shape and colour", question, answer, "I look from left to right.")


def plural(shape: str) -> str:
    return shape + ("es" if shape == "cross" else "s")


def ask_count(rng: random.Random, scene: Scene, wanted: str = "") -> Turn:
    """How many there are of a shape or of a colour, or of all where nothing is wanted."""
    counted = [thing for thing in scene.things if wanted in ("", thing.shape, thing.colour)]
    things = plural(wanted) if wanted in SHAPES else f"{wanted} shapes".strip()
    question = rng.choice(
        (
            f"How many {things} are there?",
            f"How many {things} do you see?",
            f"Count the {things}.",
            f"What is the number of {things}?",
        )
    )
    reasoning = ", ".join(f"{NUMBERS[index]} {thing.name}" for index, thing in enumerate(counted, 1)) + "."
    return Turn("picture: count", question, number(len(counted)), reasoning)


def ask_any_count(rng: random.Random, scene: Scene) -> Turn:
    counts = Counter(thing.shape for thing in scene.things) + Counter(thing.colour for thing in scene.things)
    some = [name for name, count in counts.items() if count < len(scene.things)]
    return ask_count(rng, scene, rng.choice(some) if some and rng.random() < 0.6 else "")


def ask_place(rng: random.Random, scene: Scene) -> Turn | None:
    attribute = rng.choice(("shape", "colour"))
    things = [thing for thing in only_one(scene, attribute) if place(scene, thing)]
    if not things:
        return None
    thing = rng.choice(things)
    name = thing.shape if attribute == "shape" else f"{thing.colour} shape"
    where = str(place(scene, thing))
    question = rng.choice(
        (f"Where is the {name}?", f"In which part of the picture is the {name}?", f"Where do you see the {name}?")
    )
    return Turn("picture: position", question, sentence(where), f"There is {with_article(thing.name)}.")


def along(scene: Scene, axis: str) -> str:
    """Every shape's name from left to right, or from top to bottom."""
    return in_order(axis, [thing.shape for thing in sorted(scene.things, key=lambda t: float(getattr(t, axis)))])


def ask_relation(rng: random.Random, scene: Scene, held_out: bool = False) -> Turn | None:
    """Whether one shape is left of (right of, above, below) another, or which one is."""
    if len(scene.things) < 2 or len(only_one(scene, "shape")) < len(scene.things):
        return None
    relation = draw_relation(rng, held_out)
    axis, sign = RELATIONS[relation]
    reference = rng.choice(scene.things)
    side = scene.width if axis == "x" else scene.height
    distances = {
        thing: sign * (getattr(thing, axis) - getattr(reference, axis)) / side
        for thing in scene.things
        if thing is not reference
    }
    if any(abs(distance) < CLEARLY_APART for distance in distances.values()):
        return None
    there = [thing for thing, distance in distances.items() if distance > 0]
    reasoning = along(scene, axis)
    if len(there) == 1 and rng.random() < 0.5:
        question = rng.choice(
            (f"What is {relation} the {reference.shape}?", f"Which shape is {relation} the {reference.shape}?")
        )
        return Turn("picture: position", question, sentence(there[0].shape), reasoning)
    thing = rng.choice(list(distances))
    true = relation if thing in there else OPPOSITES[relation]
    return Turn(
        "picture: position",
        f"Is the {thing.shape} {relation} the {reference.shape}?",
        sentence(yes_or_no(thing in there)),
        f"{reasoning} The {thing.shape} is {true} the {reference.shape}.",
    )


def listed_colours(rng: random.Random, scene: Scene) -> tuple[str, list[tuple[str, str]]]:
    forms = ("Which colours have these: {}?", "Name the colours: {}.", "List the colours of: {}.")
    return rng.choice(forms), [(thing.shape, thing.colour) for thing in only_one(scene, "shape")]


def listed_shapes(rng: random.Random, scene: Scene) -> tuple[str, list[tuple[str, str]]]:
    forms = ("Which shapes are these: {}?", "Name the shapes: {}.", "List the shapes that are: {}.")
    return rng.choice(forms), [(thing.colour, thing.shape) for thing in only_one(scene, "colour")]


def listed_places(rng: random.Random, scene: Scene) -> tuple[str, list[tuple[str, str]]]:
    forms = ("Where are these: {}?", "Name the places: {}.", "List the places of: {}.")
    places = [(thing.shape, place(scene, thing)) for thing in only_one(scene, "shape")]
    return rng.choice(forms), [(shape, where) for shape, where in places if where]


def listed_sides(rng: random.Random, scene: Scene) -> tuple[str, list[tuple[str, str]]]:
    """On which side of one shape the others are."""
    things = only_one(scene, "shape")
    if not things:
        return "", []
    reference = rng.choice(things)
    axis, forward, back = rng.choice((("x", "right", "left"), ("y", "below", "above")))
    first, second = rng.sample((forward, back), 2)
    forms = (
        f"Are these {first} or {second}, seen from the {reference.shape}: {{}}?",
        f"Which side of the {reference.shape}, {first} or {second}: {{}}?",
    )
    side = scene.width if axis == "x" else scene.height
    distances = {thing.shape: (getattr(thing, axis) - getattr(reference, axis)) / side for thing in things}
    return rng.choice(forms), [
        (shape, forward if distance > 0 else back)
        for shape, distance in distances.items()
        if abs(distance) >= CLEARLY_APART
    ]


def listed_relations(rng: random.Random, scene: Scene, held_out: bool) -> tuple[str, list[tuple[str, str]]]:
    """Whether the others are on one side of one shape."""
    things = only_one(scene, "shape")
    if not things:
        return "", []
    reference = rng.choice(things)
    relation = draw_relation(rng, held_out)
    axis, sign = RELATIONS[relation]
    side = scene.width if axis == "x" else scene.height
    distances = {thing.shape: sign * (getattr(thing, axis) - getattr(reference, axis)) / side for thing in things}
    return which_are(relation, reference.shape), [
        (shape, yes_or_no(distance > 0)) for shape, distance in distances.items() if abs(distance) >= CLEARLY_APART
    ]


def listed_counts(rng: random.Random, scene: Scene) -> tuple[str, list[tuple[str, str]]]:
    forms = ("How many are there of each: {}?", "Count each: {}.", "List how many there are: {}.")
    attribute = rng.choice(("shape", "colour"))
    counts = Counter(getattr(thing, attribute) for thing in scene.things)
    return rng.choice(forms), [(name, NUMBERS[count]) for name, count in counts.items()]


LISTED = (listed_colours, listed_shapes, listed_places, *(listed_counts,) * 2, listed_sides)
RELATIONS_LISTED = 1 / 3


def ask_list(rng: random.Random, scene: Scene, held_out: bool = False) -> Turn | None:
    """The same, and sides, about several shapes at once: one picture shows how each answer is found."""
    if rng.random() < RELATIONS_LISTED:
        form, entries = listed_relations(rng, scene, held_out)
    else:
        form, entries = rng.choice(LISTED)(rng, scene)
    if not entries:
        return None
    entries = rng.sample(entries, rng.randint(min(2, len(entries)), len(entries)))
    question = form.format(", ".join(asked for asked, _ in entries))
    reasoning = "; ".join(f"{asked}: {answer}" for asked, answer in entries)
    return Turn("picture: list", question, sentence(", ".join(answer for _, answer in entries)), reasoning)


Ask = Callable[[random.Random, Scene], Turn | None]
QUESTIONS: tuple[Ask, ...] = (
    ask_colour,
    ask_shape,
    ask_description,
    *(ask_any_count,) * 3,
    ask_place,
    *(ask_relation,) * 3,
    *(ask_list,) * 2,
)


def example(rng: random.Random, held_out: bool, scene: Scene, last: Turn) -> Example:
    """Asks `last`, in training after one to four other questions about the same picture."""
    others = [] if held_out else [ask(rng, scene) for ask in rng.sample(QUESTIONS, rng.randint(1, 4))]
    return picture_question(
        rng, held_out, [draw_scene(rng, scene)], last, [turn for turn in others if turn is not None]
    )


def first_answerable(rng: random.Random, asks: tuple[Ask, ...], counts: tuple[int, ...]) -> tuple[Scene, Turn]:
    """A scene of one of the numbers of shapes that one of the questions fits."""
    while True:
        scene = distinct_scene(rng, rng.choice(counts))
        turn = rng.choice(asks)(rng, scene)
        if turn is not None:
            return scene, turn


def colour(rng: random.Random, held_out: bool) -> Example:
    return example(rng, held_out, *first_answerable(rng, (ask_colour,), (1, 1, 2, 3, 4)))


def shape(rng: random.Random, held_out: bool) -> Example:
    return example(rng, held_out, *first_answerable(rng, (ask_shape,), (1, 1, 2, 3, 4)))


def description(rng: random.Random, held_out: bool) -> Example:
    return example(rng, held_out, *first_answerable(rng, (ask_description,), (1, 1, 2, 2, 3)))


def position(rng: random.Random, held_out: bool) -> Example:
    """A place or a relation; relations, which are learned last, more often in training."""
    relation = partial(ask_relation, held_out=held_out)
    asks = (ask_place, relation) if held_out else (ask_place, *(relation,) * 3)
    return example(rng, held_out, *first_answerable(rng, asks, (1, 2, 2, 3, 3, 4)))


def several(rng: random.Random, held_out: bool) -> Example:
    """Questions about two to six shapes at once."""
    while True:
        scene = distinct_scene(rng, rng.randint(2, 4)) if rng.random() < 0.7 else mixed_scene(rng, rng.randint(2, 6))
        turn = ask_list(rng, scene, held_out)
        if turn is not None:
            return example(rng, held_out, scene, turn)


def count(rng: random.Random, held_out: bool) -> Example:
    """One to six shapes in all, or one to five of a shape or a colour among others."""
    if rng.random() < 0.5:
        scene = mixed_scene(rng, rng.randint(1, 6))
        return example(rng, held_out, scene, ask_count(rng, scene))
    back = background(rng)
    colours = colours_on(back)
    by_shape = rng.random() < 0.5
    wanted = rng.choice(SHAPES if by_shape else colours)
    wanted_count = rng.randint(1, 5)
    kinds = []
    for index in range(wanted_count + rng.randint(1, 6 - wanted_count)):
        is_wanted = index < wanted_count
        kinds.append(
            (
                wanted if by_shape and is_wanted else rng.choice([s for s in SHAPES if s != wanted]),
                wanted if not by_shape and is_wanted else rng.choice([c for c in colours if c != wanted]),
            )
        )
    scene = build_scene(rng, kinds, back, rng.choice(SIZES))
    return example(rng, held_out, scene, ask_count(rng, scene, wanted))
