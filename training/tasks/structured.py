"""Facts in sentences, written as JSON that follows a schema."""

import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from training.examples import Example
from training.tasks.common import draw_until, made_up, pick
from training.tasks.words import ADJECTIVES, CITIES, COLOURS, HOBBIES, JOBS, NAMES, NOUNS

TASK = "JSON to a schema"
TEXT, INTEGER, NUMBER, BOOLEAN = ({"type": kind} for kind in ("string", "integer", "number", "boolean"))
SIZES, MOODS = ("small", "medium", "large"), ("happy", "sad", "angry")


class Property(NamedTuple):
    """A property of the pool: its schema, a value, and the sentence that tells the value."""

    schema: dict[str, Any]
    value: Callable[[random.Random, bool], Any]
    told: Callable[[random.Random, Any], str]


def sentence(*forms: str) -> Callable[[random.Random, Any], str]:
    return lambda rng, value: rng.choice(forms).format(value)


def yes_or_no(true: tuple[str, ...], false: tuple[str, ...]) -> Callable[[random.Random, Any], str]:
    return lambda rng, value: rng.choice(true if value else false)


def listing(form: str) -> Callable[[random.Random, Any], str]:
    def told(_: random.Random, items: list[str]) -> str:
        return form.format(items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1])

    return told


def word(words: tuple[str, ...], share: float = 0.5) -> Callable[[random.Random, bool], str]:
    """One of the words, or with probability 1 - `share` a made-up one."""

    def value(rng: random.Random, held_out: bool) -> str:
        return pick(rng, words, held_out) if rng.random() < share else made_up(rng, held_out).capitalize()

    return value


def address(rng: random.Random, held_out: bool) -> dict[str, Any]:
    return {"street": made_up(rng, held_out).capitalize() + " Street", "number": rng.randint(1, 199)}


def decimal(low: int, high: int) -> Callable[[random.Random, bool], float]:
    return lambda rng, _: float(f"{rng.randint(low, high)}.{rng.randint(1, 9)}")


def choice(words: tuple[str, ...]) -> Callable[[random.Random, bool], Any]:
    return lambda rng, _: rng.choice(words)


def some(words: tuple[str, ...]) -> Callable[[random.Random, bool], Any]:
    return lambda rng, _: rng.sample(words, rng.randint(1, 3))


def enum(words: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "string", "enum": list(words)}


LIST = {"type": "array", "items": TEXT}

POOL = {
    "name": Property(TEXT, word(NAMES), sentence("The name is {}.", "This is {}.", "It is about {}.")),
    "city": Property(TEXT, word(CITIES), sentence("The city is {}.", "It happened in {}.", "Home is {}.")),
    "age": Property(INTEGER, lambda rng, _: rng.randint(1, 99), sentence("The age is {}.", "Age {}.")),
    "year": Property(INTEGER, lambda rng, _: rng.randint(1900, 2030), sentence("The year is {}.", "That was in {}.")),
    "count": Property(
        INTEGER, lambda rng, _: rng.randint(0, 500), sentence("The count is {}.", "There are {} of them.")
    ),
    "price": Property(NUMBER, decimal(1, 999), sentence("The price is {}.", "It costs {}.")),
    "weight": Property(NUMBER, decimal(1, 99), sentence("The weight is {}.", "It weighs {}.")),
    "rating": Property(NUMBER, decimal(1, 9), sentence("The rating is {}.", "It is rated {}.")),
    "student": Property(
        BOOLEAN,
        lambda rng, _: rng.random() < 0.5,
        yes_or_no(("Student: yes.", "A student."), ("Student: no.", "Not a student.")),
    ),
    "in_stock": Property(
        BOOLEAN,
        lambda rng, _: rng.random() < 0.5,
        yes_or_no(("It is in stock.", "In stock: yes."), ("It is not in stock.", "In stock: no.")),
    ),
    "colour": Property(enum(COLOURS[:4]), choice(COLOURS[:4]), sentence("The colour is {}.", "It is {}.")),
    "size": Property(enum(SIZES), choice(SIZES), sentence("The size is {}.", "Size: {}.")),
    "mood": Property(enum(MOODS), choice(MOODS), sentence("The mood is {}.", "Everybody is {}.")),
    "job": Property(TEXT, choice(JOBS), sentence("The job is {}.", "Works as a {}.")),
    "item": Property(
        TEXT,
        lambda rng, _: f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}",
        sentence("The item: {}.", "One {} was ordered."),
    ),
    "hobbies": Property(LIST, some(HOBBIES), listing("The hobbies are {}.")),
    "friends": Property(
        LIST,
        lambda rng, held_out: [word(NAMES)(rng, held_out) for _ in range(rng.randint(1, 3))],
        listing("The friends are {}."),
    ),
    "code": Property(TEXT, lambda rng, held_out: made_up(rng, held_out), sentence("The code is {}.", "Code: {}.")),
    "address": Property(
        {"type": "object", "properties": {"street": TEXT, "number": INTEGER}},
        address,
        lambda rng, value: rng.choice(("The address is {} {}.", "The house is at {} {}.")).format(*value.values()),
    ),
}
FORMS = (
    "{facts}\nAnswer with JSON for this schema: {schema}",
    "{facts}\nGive me JSON only. Schema: {schema}",
    "Write JSON that follows {schema}\n{facts}",
    "Schema: {schema}\nText: {facts}\nAnswer with JSON only.",
    "Read: {facts}\nPut it into JSON of this schema: {schema}",
)


def structured(rng: random.Random, held_out: bool) -> Example:
    def draw() -> dict[str, Any]:
        return {key: POOL[key].value(rng, held_out) for key in rng.sample(sorted(POOL), rng.randint(1, 5))}

    wanted = draw_until(draw, lambda drawn: json.dumps(drawn, sort_keys=True), held_out)
    told = dict(wanted)
    for key in rng.sample(sorted(POOL), rng.choice((0, 0, 1, 2))):
        told.setdefault(key, POOL[key].value(rng, held_out))
    sentences = [POOL[key].told(rng, value) for key, value in told.items()]
    rng.shuffle(sentences)
    schema = {"type": "object", "properties": {key: POOL[key].schema for key in wanted}}
    question = rng.choice(FORMS).format(facts=" ".join(sentences), schema=json.dumps(schema))
    answer = json.dumps(wanted, ensure_ascii=False)
    messages = [{"role": "user", "content": question}]
    return Example(TASK, messages, answer, f"Keys: {', '.join(wanted)}", thinking=rng.random() < 0.3)
