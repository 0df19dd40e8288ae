"""The tools of the examples: short definitions, requests that need them, and what they give back."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from training.tasks.common import draw_until, made_up, pick
from training.tasks.words import ADJECTIVES, CITIES, NAMES, NOUNS

STRING, INTEGER, NUMBER, BOOLEAN = ({"type": kind} for kind in ("string", "integer", "number", "boolean"))
UNITS, ROOMS, CURRENCIES = (
    ("celsius", "fahrenheit"),
    ("kitchen", "bedroom", "office", "hall"),
    ("euro", "dollar", "yen"),
)
SPOKEN = ("French", "German", "Spanish", "Italian", "Greek", "Hindi", "Russian", "Thai", "Turkish", "Polish")
SKIES = ("sunny", "cloudy", "rain", "snow", "windy", "fog")


class Request(NamedTuple):
    """A wish of the user: the sentence, the arguments it asks for, what the tool answers, and that put into words."""

    question: str
    arguments: dict[str, Any]
    result: str
    words: str


class Tool(NamedTuple):
    """`names`: one is drawn for each conversation. `typed`: whether arguments other than text may be asked for."""

    names: tuple[str, ...]
    description: str
    properties: dict[str, Any]
    required: tuple[str, ...]
    request: Callable[[random.Random, bool, bool], Request]
    typed: bool


def definition(name: str, tool: Tool) -> dict[str, Any]:
    parameters = {"type": "object", "properties": tool.properties, "required": list(tool.required)}
    function = {"name": name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def city(rng: random.Random, held_out: bool) -> str:
    return pick(rng, CITIES, held_out) if rng.random() < 0.5 else made_up(rng, held_out).capitalize()


def person(rng: random.Random, held_out: bool) -> str:
    return pick(rng, NAMES, held_out) if rng.random() < 0.5 else made_up(rng, held_out).capitalize()


def topic(rng: random.Random, held_out: bool) -> str:
    """A few words, at least one of them on the wanted side of the split."""
    words = [made_up(rng, held_out) if rng.random() < 0.5 else pick(rng, NOUNS, held_out)]
    words += [rng.choice(NOUNS) for _ in range(rng.randint(0, 2))]
    if rng.random() < 0.4:
        words.insert(0, rng.choice(ADJECTIVES))
    return " ".join(words)


def sky(rng: random.Random) -> str:
    return f"{rng.choice(SKIES)}, {rng.randint(-9, 39)} degrees"


def weather(rng: random.Random, held_out: bool, typed: bool) -> Request:
    place = city(rng, held_out)
    form = rng.choice(
        (
            "What is the weather in {}",
            "How is the weather in {}",
            "Tell me the weather in {}",
            "Show the weather for {}",
        )
    )
    question = form.format(place)
    arguments: dict[str, Any] = {"city": place}
    days, unit = rng.randint(2, 14), rng.choice(UNITS)
    with_days, with_unit = (typed and rng.random() < share for share in (0.7, 0.6))
    if with_days:
        question += rng.choice((" for {} days", " for the next {} days")).format(days)
    if with_unit:
        question += f" in {rng.choice((unit, unit.capitalize()))}"
        arguments["unit"] = unit
    if with_days:
        arguments["days"] = days
    result = sky(rng)
    return Request(question + ("?" if question[0] in "WH" else "."), arguments, result, f"{place}: {result}.")


def calculator(rng: random.Random, held_out: bool, typed: bool) -> Request:
    def draw() -> tuple[str, int]:
        terms = [rng.randrange(10 ** rng.randint(1, 4)) for _ in range(rng.choice((2, 2, 3)))]
        signs = [rng.choice("+-*") for _ in terms[1:]]
        text = str(terms[0]) + "".join(f" {sign} {term}" for sign, term in zip(signs, terms[1:], strict=True))
        total, product, sign = 0, terms[0], 1
        for operation, term in zip(signs, terms[1:], strict=True):
            if operation == "*":
                product *= term
            else:
                total, product, sign = total + sign * product, term, 1 if operation == "+" else -1
        return text, total + sign * product

    text, value = draw_until(draw, lambda drawn: drawn[0], held_out)
    form = rng.choice(("What is {}?", "Calculate {}.", "How much is {}?", "{} = ?", "Compute {}."))
    return Request(form.format(text), {"expression": text}, str(value), f"{text} = {value}")


def search(rng: random.Random, held_out: bool, typed: bool) -> Request:
    query = topic(rng, held_out)
    if typed and rng.random() < 0.75:
        limit = rng.randint(2, 50)
        form = rng.choice(
            ("Find {n} results for {q}.", "Search for {q}, at most {n} results.", "Look up {q} and give {n} results.")
        )
        question, arguments = form.format(n=limit, q=query), {"query": query, "limit": limit}
    else:
        form = rng.choice(("Search for {}.", "Look up {}.", "Find something about {}.", "Search the web for {}."))
        question, arguments = form.format(query), {"query": query}
    found = f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}"
    return Request(question, arguments, found, f"I found: {found}.")


def clock(rng: random.Random, held_out: bool, typed: bool) -> Request:
    place = city(rng, held_out)
    form = rng.choice(("What time is it in {}?", "Tell me the time in {}.", "How late is it in {}?"))
    result = f"{rng.randrange(24):02d}:{rng.randrange(60):02d}"
    return Request(form.format(place), {"city": place}, result, f"It is {result} in {place}.")


def translate(rng: random.Random, held_out: bool, typed: bool) -> Request:
    text, language = topic(rng, held_out), rng.choice(SPOKEN)
    form = rng.choice(("Translate '{}' into {}.", "Put '{}' into {}.", "How do I write '{}' in {}?"))
    result = " ".join(made_up(rng, held_out) for _ in range(rng.randint(1, 3)))
    return Request(form.format(text, language), {"text": text, "language": language}, result, f"{language}: {result}")


def remind(rng: random.Random, held_out: bool, typed: bool) -> Request:
    text, minutes = f"{rng.choice(('buy', 'clean', 'find', 'paint'))} the {topic(rng, held_out)}", rng.randint(1, 90)
    form = rng.choice(("Remind me in {m} minutes to {t}.", "In {m} minutes remind me to {t}."))
    return Request(form.format(m=minutes, t=text), {"text": text, "minutes": minutes}, "ok", "Done.")


def message(rng: random.Random, held_out: bool, typed: bool) -> Request:
    to, text = person(rng, held_out), topic(rng, held_out)
    arguments: dict[str, Any] = {"to": to, "text": text}
    if typed and rng.random() < 0.7:
        urgent = rng.random() < 0.6
        arguments["urgent"] = urgent
        form = "Send {to} an urgent message: {text}" if urgent else "Send {to} a message that is not urgent: {text}"
    else:
        form = rng.choice(
            ("Send {to} a message: {text}", "Send the message '{text}' to {to}.", "Write to {to}: {text}")
        )
    return Request(form.format(to=to, text=text), arguments, "sent", "Done.")


def light(rng: random.Random, held_out: bool, typed: bool) -> Request:
    def draw() -> Request:
        room, on = rng.choice(ROOMS), rng.random() < 0.7
        arguments: dict[str, Any] = {"room": room, "on": on}
        question = rng.choice(("Turn {} the light in the {}", "Switch {} the {} light")).format(
            "on" if on else "off", room
        )
        if on and rng.random() < 0.8:
            level = rng.randint(1, 100)
            question += f" at {level} percent"
            arguments["level"] = level
        return Request(question + ".", arguments, "ok", "Done.")

    return draw_until(draw, lambda drawn: str(drawn.arguments), held_out)


def money(rng: random.Random, held_out: bool, typed: bool) -> Request:
    def draw() -> Request:
        source, target = rng.sample(CURRENCIES, 2)
        amount = rng.choice((rng.randint(2, 999), float(f"{rng.randint(2, 99)}.{rng.randint(1, 9)}")))
        form = rng.choice(("Convert {} {} to {}.", "How much is {} {} in {}?", "Change {} {} into {}."))
        result = f"{rng.randint(2, 999)}.{rng.randint(1, 9)}"
        arguments = {"amount": amount, "source": source, "target": target}
        return Request(form.format(amount, source, target), arguments, result, f"{amount} {source} = {result} {target}")

    return draw_until(draw, lambda drawn: str(drawn.arguments), held_out)


CITY = {"city": STRING}
TOOLS = {
    "weather": Tool(
        ("get_weather", "weather"),
        "Weather in a city",
        {"city": STRING, "unit": {"type": "string", "enum": list(UNITS)}, "days": INTEGER},
        ("city",),
        weather,
        True,
    ),
    "calculator": Tool(
        ("calculator", "calculate"), "Calculate", {"expression": STRING}, ("expression",), calculator, False
    ),
    "search": Tool(
        ("search", "web_search"), "Search the web", {"query": STRING, "limit": INTEGER}, ("query",), search, True
    ),
    "clock": Tool(("get_time", "clock"), "Time in a city", CITY, ("city",), clock, False),
    "translate": Tool(
        ("translate", "translate_text"),
        "Translate text",
        {"text": STRING, "language": STRING},
        ("text", "language"),
        translate,
        False,
    ),
    "remind": Tool(
        ("set_reminder", "remind"),
        "Remind the user",
        {"text": STRING, "minutes": INTEGER},
        ("text", "minutes"),
        remind,
        True,
    ),
    "message": Tool(
        ("send_message", "message"),
        "Send a message",
        {"to": STRING, "text": STRING, "urgent": BOOLEAN},
        ("to", "text"),
        message,
        True,
    ),
    "light": Tool(
        ("set_light", "light"),
        "Switch a light",
        {"room": {"type": "string", "enum": list(ROOMS)}, "on": BOOLEAN, "level": INTEGER},
        ("room", "on"),
        light,
        True,
    ),
    "money": Tool(
        ("convert_money", "exchange"),
        "Convert money",
        {"amount": NUMBER, "source": {"type": "string", "enum": list(CURRENCIES)}, "target": STRING},
        ("amount", "source", "target"),
        money,
        True,
    ),
}
