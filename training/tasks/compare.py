"""Two pictures and what they have in common."""

import random
from dataclasses import replace

from training.examples import Example
from training.tasks.drawing import SHAPES, background, colours_on
from training.tasks.picture_questions import Turn, picture_question
from training.tasks.shapes import Scene, build_scene, distinct_scene, draw_scene, mixed_scene

SIZE = (64, 64)
TASK = "picture: comparison"
WHICH = ("The first.", "The second.")


def yes(true: bool) -> str:
    return "Yes." if true else "No."


def names(scene: Scene) -> str:
    return ", ".join(thing.name for thing in scene.things)


def changed(rng: random.Random, scene: Scene) -> Scene:
    """The scene with another shape or another colour in one place."""
    index = rng.randrange(len(scene.things))
    thing = scene.things[index]
    if rng.random() < 0.5:
        other = replace(thing, shape=rng.choice([shape for shape in SHAPES if shape != thing.shape]))
    else:
        other = replace(thing, colour=rng.choice([c for c in colours_on(scene.back) if c != thing.colour]))
    return replace(scene, things=(*scene.things[:index], other, *scene.things[index + 1 :]))


def ask_same(rng: random.Random, first: Scene, second: Scene) -> Turn:
    question, expected = rng.choice(
        (
            ("Are the two pictures the same?", True),
            ("Do both pictures show the same?", True),
            ("Are the pictures different?", False),
            ("Do the two pictures differ?", False),
        )
    )
    same = names(first) == names(second)
    return Turn(TASK, question, yes(same == expected), f"First: {names(first)}. Second: {names(second)}.")


def ask_pair(rng: random.Random, first: Scene, second: Scene) -> Turn:
    """About two pictures with one shape each."""
    (one,), (two,) = first.things, second.things
    reasoning = f"First: {one.name}. Second: {two.name}."
    same_shape, same_colour = one.shape == two.shape, one.colour == two.colour
    choices = [
        ("Is it the same shape in both pictures?", yes(same_shape)),
        ("Do both pictures show the same shape?", yes(same_shape)),
        ("Is it the same colour in both pictures?", yes(same_colour)),
        ("Do both shapes have the same colour?", yes(same_colour)),
    ]
    if same_shape != same_colour:
        difference = "The colour." if same_shape else "The shape."
        choices += [("What is different, the shape or the colour?", difference)] * 2
        choices.append(("What differs between the pictures?", difference))
    index = rng.randrange(2)
    thing = (one, two)[index]
    if not same_shape:
        choices.append((f"Which picture shows a {thing.shape}?", WHICH[index]))
        choices.append((f"In which picture is the {thing.shape}?", WHICH[index]))
    if not same_colour:
        choices.append((f"In which picture is the shape {thing.colour}?", WHICH[index]))
    return Turn(TASK, *rng.choice(choices), reasoning)


def ask_more(rng: random.Random, first: Scene, second: Scene) -> Turn:
    counts = len(first.things), len(second.things)
    reasoning = f"First: {counts[0]}. Second: {counts[1]}."
    if rng.random() < 0.2:
        return Turn(TASK, "Do both pictures have equally many shapes?", yes(counts[0] == counts[1]), reasoning)
    if counts[0] == counts[1]:
        question = rng.choice(("Which picture has more shapes?", "Which picture has fewer shapes?"))
        return Turn(TASK, question, "Both the same.", reasoning)
    more = rng.random() < 0.6
    question = rng.choice(
        ("Which picture has more shapes?", "Where are more shapes?")
        if more
        else ("Which picture has fewer shapes?", "Where are fewer shapes?")
    )
    return Turn(TASK, question, WHICH[int((counts[1] > counts[0]) == more)], reasoning)


def comparison(rng: random.Random, held_out: bool) -> Example:
    kind = rng.randrange(3)
    if kind == 0:  # the same scene twice, or with one change
        first = distinct_scene(rng, rng.randint(1, 3), SIZE)
        second = first if rng.random() < 0.5 else changed(rng, first)
        ask = ask_same
    elif kind == 1:  # one shape each, anywhere
        first = distinct_scene(rng, 1, SIZE)
        (thing,) = first.things
        back = background(rng)
        while thing.colour not in colours_on(back):
            back = background(rng)
        shape = thing.shape if rng.random() < 0.5 else rng.choice(SHAPES)
        colour = thing.colour if rng.random() < 0.5 else rng.choice(colours_on(back))
        second = build_scene(rng, [(shape, colour)], back, SIZE)
        ask = ask_pair
    else:
        first, second = (mixed_scene(rng, rng.randint(1, 5), SIZE) for _ in range(2))
        ask = ask_more
    turns = [ask(rng, first, second) for _ in range(rng.randint(2, 3))]
    contents = Turn(
        TASK,
        rng.choice(("What do the pictures show?", "Describe both pictures.")),
        f"First: {names(first)}. Second: {names(second)}.",
        "I look at one after the other.",
    )
    if kind < 2 and rng.random() < 0.4:
        turns.insert(rng.randrange(len(turns)), contents)
    seed = rng.getrandbits(32)  # the same shades and noise where the pictures may be the same
    media = [draw_scene(random.Random(seed + (index if kind else 0)), s) for index, s in enumerate((first, second))]
    return picture_question(rng, held_out, list(media), turns[-1], turns[:-1])
