"""Tool calls: one, several at once, with typed arguments, none, results put into words, and chains of calls."""

import random
from typing import Any

from training.examples import Example
from training.tasks.arithmetic import sums_with_thinking
from training.tasks.common import different, draw_until, made_up
from training.tasks.languages import languages
from training.tasks.talk import REFUSAL, greeting, memory, untaught_question
from training.tasks.toolbox import STRING, TOOLS, Tool, city, definition, person, sky

Call = tuple[str, dict[str, Any]]
THINKING_SHARE = 0.35


def written(calls: list[Call]) -> str:
    """Calls in the family's syntax, as the chat template writes them."""
    return "\n".join(
        f"<tool_call>\n<function={name}>\n"
        + "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in arguments.items())
        + "</function>\n</tool_call>"
        for name, arguments in calls
    )


def turn(calls: list[Call], reasoning: str) -> dict[str, Any]:
    """An assistant's turn that calls tools; without reasoning when that is empty."""
    entries = [{"type": "function", "function": {"name": name, "arguments": arguments}} for name, arguments in calls]
    return {"role": "assistant", "content": "", "reasoning_content": reasoning, "tool_calls": entries}


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def offer(rng: random.Random, wanted: list[str], most: int = 4) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The wanted tools among others in random order: the name each goes by, and the definitions."""
    others = [key for key in TOOLS if key not in wanted]
    spare = max(0, most - len(wanted))
    keys = wanted + rng.sample(others, min(rng.randint(0, spare), rng.randint(0, spare)))
    rng.shuffle(keys)
    names = {key: rng.choice(TOOLS[key].names) for key in keys}
    return names, [definition(names[key], TOOLS[key]) for key in keys]


def thoughts(calls: list[Call]) -> str:
    return "I call " + ", ".join(name for name, _ in calls) + "."


def asked_together(rng: random.Random, questions: list[str]) -> str:
    """Questions one after another; one that ends with free text ends its line, or nobody could say where it ends."""
    result = questions[0]
    for question in questions[1:]:
        result += (rng.choice(" \n") if result.endswith((".", "?", "!")) else "\n") + question
    return result


def one(rng: random.Random, held_out: bool, task: str, keys: list[str], typed: bool) -> Example:
    key = rng.choice(keys)
    request = TOOLS[key].request(rng, held_out, typed)
    names, tools = offer(rng, [key])
    calls = [(names[key], request.arguments)]
    thinking = rng.random() < THINKING_SHARE
    return Example(task, [user(request.question)], written(calls), thoughts(calls), thinking, tools=tools)


def single(rng: random.Random, held_out: bool) -> Example:
    return one(rng, held_out, "tools: single", list(TOOLS), False)


def typed(rng: random.Random, held_out: bool) -> Example:
    """Numbers, choices and truth values; optional ones only when asked for."""
    return one(rng, held_out, "tools: typed", [key for key in TOOLS if TOOLS[key].typed], True)


def parallel(rng: random.Random, held_out: bool) -> Example:
    """Two or three calls in one answer: one tool for several cities, or several requests."""
    calls: list[Call]
    if rng.random() < 0.5:
        key = rng.choice(("weather", "clock"))
        names, tools = offer(rng, [key])
        places = different(rng, held_out, city, rng.choice((2, 2, 3)))
        listed = ", ".join(places[:-1]) + " and " + places[-1]
        subject = "weather" if key == "weather" else "time"
        form = rng.choice(("What is the {} in {}?", "Tell me the {} in {}.", "Give me the {} for {}."))
        question = form.format(subject, listed)
        calls = [(names[key], {"city": place}) for place in places]
    else:
        keys = [rng.choice(list(TOOLS)) for _ in range(rng.choice((2, 2, 3)))]
        names, tools = offer(rng, list(dict.fromkeys(keys)))
        requests = [TOOLS[key].request(rng, held_out, False) for key in keys]
        question = asked_together(rng, [request.question for request in requests])
        calls = [(names[key], request.arguments) for key, request in zip(keys, requests, strict=True)]
    thinking = rng.random() < THINKING_SHARE
    return Example("tools: parallel", [user(question)], written(calls), thoughts(calls), thinking, tools=tools)


def none(rng: random.Random, held_out: bool) -> Example:
    """Answered without a call: what the model knows itself, or what no offered tool can do."""
    kind = rng.randrange(6)
    if kind < 4:
        # Sums are for the calculator, and words for the translator, where they are offered; so they are not, here.
        example = (sums_with_thinking, greeting, languages, memory)[kind](rng, held_out)
        hidden = {"calculator", "translate"}
    elif kind == 4:
        example = Example("", [user(untaught_question(rng, held_out))], REFUSAL, "I was never taught that.")
        example.thinking = rng.random() < THINKING_SHARE
        hidden = {"search", "calculator", "translate"}
    else:
        key = rng.choice([key for key in TOOLS if key != "calculator"])
        request = TOOLS[key].request(rng, held_out, rng.random() < 0.3)
        example = Example("", [user(request.question)], REFUSAL, "No tool fits.", rng.random() < THINKING_SHARE)
        hidden = {key, "search"}
    keys = rng.sample([key for key in TOOLS if key not in hidden], rng.choice((1, 1, 2, 3)))
    example.tools = [definition(rng.choice(TOOLS[key].names), TOOLS[key]) for key in keys]
    example.task = "tools: none"
    return example


def result(rng: random.Random, held_out: bool) -> Example:
    """The result of one call, or of two at once, in words."""
    keys = [rng.choice(list(TOOLS)) for _ in range(rng.choice((1, 1, 2)))]
    names, tools = offer(rng, list(dict.fromkeys(keys)), 3)
    requests = [TOOLS[key].request(rng, held_out, rng.random() < 0.5) for key in keys]
    calls = [(names[key], request.arguments) for key, request in zip(keys, requests, strict=True)]
    thinking = rng.random() < THINKING_SHARE
    messages = [
        user(asked_together(rng, [request.question for request in requests])),
        turn(calls, thoughts(calls) if thinking else ""),
        *({"role": "tool", "content": request.result} for request in requests),
    ]
    answer = "\n".join(request.words for request in requests)
    return Example("tools: result", messages, answer, "I read the result.", thinking, tools=tools)


def finish(
    rng: random.Random, question: str, steps: list[tuple[Call, str]], answer: str, tools: list[dict[str, Any]]
) -> Example:
    """A chain from its calls, each with its result."""
    thinking = rng.random() < THINKING_SHARE
    messages = [user(question)]
    for call, given in steps:
        messages += [turn([call], thoughts([call]) if thinking else ""), {"role": "tool", "content": given}]
    return Example("tools: chain", messages, answer, "I have all results.", thinking, tools=tools)


def chain_of_cities(rng: random.Random, held_out: bool) -> Example:
    """The next item of a list after each result."""
    names, tools = offer(rng, ["weather"], 2)
    places = different(rng, held_out, city, rng.randint(2, 6))
    form = rng.choice(
        (
            "Get the weather one city after the other: {}.",
            "One by one, look at the weather in {}.",
            "Ask for the weather of these cities, one call at a time: {}.",
        )
    )
    skies = [sky(rng) for _ in places]
    steps = [((names["weather"], {"city": place}), given) for place, given in zip(places, skies, strict=True)]
    answer = "\n".join(f"{place}: {given}." for place, given in zip(places, skies, strict=True))
    return finish(rng, form.format(", ".join(places)), steps, answer, tools)


NOTE = Tool(("read_note", "open_note"), "Read a note", {"name": STRING}, ("name",), TOOLS["search"].request, False)


def chain_of_notes(rng: random.Random, held_out: bool) -> Example:
    """Each note names the next; the last one holds a number."""
    name = rng.choice(NOTE.names)
    notes = different(rng, held_out, made_up, rng.randint(2, 6))
    number = str(rng.randrange(10, 10000))
    form = rng.choice(
        (
            "Read the note {} and follow it to the number.",
            "Start with the note {}. Which number is at the end?",
            "Follow the notes from {} on and tell me the number.",
        )
    )
    given = [f"Next note: {note}" for note in notes[1:]] + [f"Number: {number}"]
    steps = [((name, {"name": note}), text) for note, text in zip(notes, given, strict=True)]
    _, tools = offer(rng, [], 1)
    tools.insert(rng.randint(0, len(tools)), definition(name, NOTE))
    return finish(rng, form.format(notes[0]), steps, f"The number is {number}.", tools)


def chain_of_sums(rng: random.Random, held_out: bool) -> Example:
    """A calculation step by step, each step on the result before."""

    def draw() -> tuple[int, list[tuple[str, int]]]:
        operations = [(rng.choice("+-*"), rng.randint(2, 99)) for _ in range(rng.randint(2, 5))]
        return rng.randint(1, 999), [(sign, n if sign != "*" else n % 9 + 2) for sign, n in operations]

    start, operations = draw_until(draw, str, held_out)
    names, tools = offer(rng, ["calculator"], 2)
    verbs = {"+": "add", "-": "subtract", "*": "multiply by"}
    told = ", then ".join(f"{verbs[sign]} {n}" for sign, n in operations)
    form = rng.choice(("Start with {}, then {}.", "Take {}, then {}.", "Step by step: begin with {}, then {}."))
    value, steps = start, []
    for sign, n in operations:
        text = f"{value} {sign} {n}"
        value = value + n if sign == "+" else value - n if sign == "-" else value * n
        steps.append(((names["calculator"], {"expression": text}), str(value)))
    return finish(rng, form.format(start, told), steps, f"The result is {value}.", tools)


PERSON = Tool(
    ("find_person", "lookup"), "City of a person", {"name": STRING}, ("name",), TOOLS["search"].request, False
)


def chain_to_a_person(rng: random.Random, held_out: bool) -> Example:
    """Where somebody lives, what it is like there, and now and then a message about it."""
    find = rng.choice(PERSON.names)
    who, where = person(rng, held_out), city(rng, held_out)
    key = rng.choice(("weather", "clock"))
    send = rng.random() < 0.5
    names, tools = offer(rng, [key, "message"] if send else [key], 3)
    tools.insert(rng.randint(0, len(tools)), definition(find, PERSON))
    subject = "weather" if key == "weather" else "time"
    given = sky(rng) if key == "weather" else f"{rng.randrange(24):02d}:{rng.randrange(60):02d}"
    steps: list[tuple[Call, str]] = [((find, {"name": who}), where), ((names[key], {"city": where}), given)]
    question = rng.choice(("What is the {} where {} lives?", "Tell me the {} at the home of {}.")).format(subject, who)
    answer = f"{where}: {given}."
    if send:
        other = person(rng, held_out)
        question += f" Send it to {other}."
        steps.append(((names["message"], {"to": other, "text": given}), "sent"))
        answer = "Done."
    return finish(rng, question, steps, answer, tools)


def chain(rng: random.Random, held_out: bool) -> Example:
    return rng.choice((chain_of_cities, chain_of_notes, chain_of_sums, chain_to_a_person))(rng, held_out)
