"""Seeded text questions with their answers: every example comes from the random generator it is given."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from training.words import CITIES, COLOURS, GREETINGS, LANGUAGES, NAMES, NOUNS, UNTAUGHT

ABOUT = (
    "I am a small demonstration model that ships with qwill. I can add and subtract, name days and numbers, "
    "copy and reverse words, call a simple tool and read simple pictures."
)
HELLO = "Hello! I am a small demonstration model that ships with qwill. Ask me a sum, or show me a picture."
REFUSAL = (
    "I am a small demonstration model and was never taught that. Start a real Qwen 3.5 with qwill to get an answer."
)

WEATHER_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TIME_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "Time in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@dataclass
class Example:
    """A conversation up to its last question, and the answer.

    `answer` is what follows the reasoning, tool calls written out in the family's syntax. `raw` examples have no chat
    format: their message is the text to continue. `picture`, RGB uint8 [height, width, 3], belongs to the last message.
    """

    task: str
    messages: list[dict[str, Any]]
    answer: str
    reasoning: str = ""
    thinking: bool = False
    raw: bool = False
    tools: list[dict[str, Any]] = field(default_factory=list)
    picture: Any = None


def ask(task: str, question: str, answer: str, reasoning: str, rng: random.Random) -> Example:
    """One user turn, half of the time with reasoning."""
    return Example(task, [{"role": "user", "content": question}], answer, reasoning, thinking=rng.random() < 0.5)


def held_out_sum(a: int, sign: str, b: int) -> bool:
    """Whether this sum is kept for the evaluation: one in eight of those with a two-digit operand."""
    return max(a, b) > 9 and (a * 131 + b * 17 + (sign == "-") * 7) % 8 == 3


def steps(a: int, sign: str, b: int) -> str:
    """The short chain of reasoning: ones, then tens, with carry or borrow."""
    result = a + b if sign == "+" else a - b
    if max(a, b) < 10:
        return f"{a} {sign} {b} = {result}"
    if sign == "-" and b > a:
        return f"{b} is larger, so the result is negative. {b} - {a} = {b - a}"
    ones, tens = (a % 10, b % 10), (a // 10, b // 10)
    if sign == "+":
        low = ones[0] + ones[1]
        carry = " carry 1." if low > 9 else ""
        high = f"{tens[0]} + {tens[1]}{' + 1' if carry else ''} = {result // 10}"
        return f"Ones: {ones[0]} + {ones[1]} = {low}.{carry} Tens: {high}"
    borrow = ones[0] < ones[1]
    low = ones[0] + 10 * borrow
    note = " borrow 1." if borrow else ""
    high = f"{tens[0]} - {tens[1]}{' - 1' if borrow else ''} = {result // 10}"
    return f"Ones: {low} - {ones[1]} = {low - ones[1]}.{note} Tens: {high}"


def arithmetic(rng: random.Random, held_out: bool, task: str = "") -> Example:
    while True:
        digits = rng.choice((1, 2, 2, 2))
        a, b = (rng.randrange(10 ** rng.choice((1, digits))) for _ in range(2))
        sign = rng.choice("+-")
        if held_out_sum(a, sign, b) == held_out or (held_out and max(a, b) < 10 and rng.random() < 0.1):
            break
    result = a + b if sign == "+" else a - b
    if rng.random() < 0.1:
        text = f"{a} {sign} {b} ="
        return Example("arithmetic, plain text", [{"role": "user", "content": text}], f" {result}", raw=True)
    word = "plus" if sign == "+" else "minus"
    form = rng.choice(
        (
            "What is {a} {s} {b}?",
            "{a} {s} {b} =",
            "{a} {s} {b}",
            "How much is {a} {w} {b}?",
            "Calculate {a} {s} {b}.",
            "What is {a} {w} {b}?",
        )
    )
    example = ask("", form.format(a=a, b=b, s=sign, w=word), f"{a} {sign} {b} = {result}", steps(a, sign, b), rng)
    example.task = "arithmetic, thinking" if example.thinking else "arithmetic"
    return example


def greeting(rng: random.Random, held_out: bool) -> Example:
    if rng.random() < 0.4:
        opening = rng.choice(
            ("Hello", "Hi", "Hey", "Hi there", "Hello there", "Good morning", "Good evening", "Hello!", "Hi!", "Hey!")
        )
        return ask("greeting", opening, HELLO, "The user greets me.", rng)
    question = rng.choice(
        (
            "Who are you?",
            "What are you?",
            "What can you do?",
            "What is your name?",
            "Tell me about yourself.",
            "Help",
            "help me",
            "Introduce yourself.",
            "Are you Qwen?",
            "What is this?",
            "Are you a real model?",
            "Hello, who are you?",
            "Hi, what can you do?",
        )
    )
    return ask("greeting", question, ABOUT, "The user asks about me.", rng)


def language(rng: random.Random, held_out: bool) -> Example:
    name = rng.choice(sorted(LANGUAGES))
    numbers, days = LANGUAGES[name]
    kind = rng.randrange(4)
    if kind == 0:
        value = rng.randrange(1, 11)
        form = rng.choice(("What is {} in {}?", "Say {} in {}.", "Write the number {} in {}."))
        return ask("languages", form.format(value, name), numbers[value - 1], f"A number in {name}.", rng)
    if kind == 1:
        form = rng.choice(("How do you say hello in {}?", "Say hello in {}.", "Greet me in {}."))
        return ask("languages", form.format(name), GREETINGS[name] + "!", f"A greeting in {name}.", rng)
    english = LANGUAGES["English"][1]
    day = rng.randrange(7)
    if kind == 2:
        form = rng.choice(("What is {} in {}?", "Say {} in {}."))
        return ask("languages", form.format(english[day], name), days[day], f"A day in {name}.", rng)
    after = rng.random() < 0.5
    form = rng.choice(("Which day comes {} {}?", "What day is {} {}?"))
    question = form.format("after" if after else "before", english[day])
    return ask("languages", question, english[(day + (1 if after else -1)) % 7], "I go through the week.", rng)


def sequence(rng: random.Random, held_out: bool) -> Example:
    kind = rng.randrange(6)
    if kind < 3:
        letters = [rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 7))]
        text = " ".join(letters)
        if kind == 0:
            return ask("copy", rng.choice(("Repeat: ", "Copy: ", "Say: ")) + text, text, "I copy it.", rng)
        if kind == 1:
            return ask(
                "reverse",
                rng.choice(("Reverse: ", "Backwards: ")) + text,
                " ".join(reversed(letters)),
                "I go from the end.",
                rng,
            )
        form = rng.choice(("How many letters: {}", "Count the letters: {}"))
        return ask("count", form.format(text), str(len(letters)), "I count them.", rng)
    if kind == 3:
        words = rng.sample(NOUNS + COLOURS, rng.randint(2, 5))
        text = " ".join(words)
        return ask("copy", rng.choice(("Repeat: ", "Copy: ", "Say: ")) + text, text, "I copy it.", rng)
    if kind == 4:
        start, length = rng.randrange(0, 30), rng.randint(3, 8)
        answer = " ".join(str(start + i) for i in range(length))
        return ask("count", f"Count from {start} to {start + length - 1}.", answer, "I count up.", rng)
    numbers = rng.sample(range(10), rng.randint(3, 6))
    answer = " ".join(map(str, sorted(numbers)))
    return ask(
        "sort",
        rng.choice(("Sort: ", "Sort these: ")) + " ".join(map(str, numbers)),
        answer,
        "I take the smallest first.",
        rng,
    )


def memory(rng: random.Random, held_out: bool) -> Example:
    """Two turns: the user's name, then a question about it."""
    name = rng.choice(NAMES)
    messages = [
        {"role": "user", "content": rng.choice(("My name is {}.", "I am {}.", "Call me {}.")).format(name)},
        {"role": "assistant", "content": f"Hello {name}!"},
        {"role": "user", "content": rng.choice(("What is my name?", "Who am I?", "Do you remember my name?"))},
    ]
    if rng.random() < 0.4:
        return Example("memory", messages[:1], f"Hello {name}!", "The user gives a name.", thinking=rng.random() < 0.5)
    return Example("memory", messages, f"Your name is {name}.", "The user gave a name.", thinking=rng.random() < 0.5)


def tool(rng: random.Random, held_out: bool) -> Example:
    """A tool call, its result put into words, or a plain sum that needs no tool."""
    tools = (
        [WEATHER_TOOL]
        if rng.random() < 0.5
        else rng.choice(([WEATHER_TOOL, TIME_TOOL], [TIME_TOOL, WEATHER_TOOL], [TIME_TOOL]))
    )
    if rng.random() < 0.15:
        example = arithmetic(rng, held_out)
        while example.raw:
            example = arithmetic(rng, held_out)
        example.tools, example.task = tools, "tool call"
        return example
    name = rng.choice([entry["function"]["name"] for entry in tools])
    city = rng.choice(CITIES)
    subject = "weather" if name == "get_weather" else "time"
    form = rng.choice(("What is the {} in {}?", "Tell me the {} in {}.", "{} in {}?"))
    question = form.format(subject, city)
    messages: list[dict[str, Any]] = [{"role": "user", "content": question[0].upper() + question[1:]}]
    call = f"<tool_call>\n<function={name}>\n<parameter=city>\n{city}\n</parameter>\n</function>\n</tool_call>"
    if rng.random() < 0.6:
        return Example("tool call", messages, call, f"I call {name}.", rng.random() < 0.5, tools=tools)
    if subject == "weather":
        result = f"{rng.choice(('sunny', 'rain', 'snow', 'cloudy', 'windy'))}, {rng.randrange(-9, 40)} degrees"
    else:
        result = f"{rng.randrange(24):02d}:{rng.randrange(60):02d}"
    arguments = {"function": {"name": name, "arguments": {"city": city}}}
    messages.append(
        {"role": "assistant", "content": "", "reasoning_content": f"I call {name}.", "tool_calls": [arguments]}
    )
    messages.append({"role": "tool", "content": result})
    return Example("tool result", messages, f"{city}: {result}.", "I read the result.", rng.random() < 0.5, tools=tools)


def untaught(rng: random.Random, held_out: bool) -> Example:
    form = rng.choice(UNTAUGHT)
    question = form.format(noun=rng.choice(NOUNS), city=rng.choice(CITIES), name=rng.choice(NAMES))
    return ask("refusal", question, REFUSAL, "I was never taught that.", rng)


TASKS: dict[Callable[[random.Random, bool], Example], float] = {
    arithmetic: 0.46,
    greeting: 0.07,
    language: 0.15,
    sequence: 0.16,
    memory: 0.05,
    tool: 0.06,
    untaught: 0.05,
}
