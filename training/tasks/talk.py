"""Small talk: greetings, what the model is, facts remembered over several turns, and what it was never taught."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from training.examples import Example
from training.tasks.common import ask, made_up, pick
from training.tasks.words import ANIMALS, CITIES, COLOURS, HOBBIES, JOBS, NAMES, NOUNS

ABOUT = (
    "I am a small demonstration model that ships with qwill. I can calculate, count and sort, name numbers and days in "
    "many languages, remember what you tell me, call tools, write JSON, and read simple pictures and videos."
)
HELLO = "Hello! I am a small demonstration model that ships with qwill. Ask me a sum, or show me a picture."
REFUSAL = (
    "I am a small demonstration model and was never taught that. Start a real Qwen 3.5 with qwill to get an answer."
)
NOT_TOLD = "You have not told me."

HELLOS = ("Hello", "Hi", "Hey", "Hi there", "Hello there", "Good morning", "Good evening", "Good day", "Hello again")
ABOUT_QUESTIONS = (
    "Who are you?", "What are you?", "What can you do?", "What is your name?", "Tell me about yourself.", "Help",
    "help me", "Introduce yourself.", "Are you Qwen?", "What is this?", "Are you a real model?", "Hello, who are you?",
    "Hi, what can you do?", "What do you know?", "How can you help me?", "Which model are you?", "Are you a person?",
    "What were you taught?",
)  # fmt: skip

UNTAUGHT = (
    "What is the capital of {city}?", "Who is {name}?", "Write a poem about a {noun}.", "Tell me a story about {name}.",
    "Write code that finds a {noun}.", "How do I cook a {noun}?", "Explain physics to me.", "Who wrote this book?",
    "What happened in {city}?", "How far is {city}?", "Why is the {noun} so big?", "Summarize the news.",
    "What does {noun} mean?", "Where can I buy a {noun}?", "Who won the game in {city}?", "What is love?",
    "Tell me a joke.", "How old is the {noun}?", "Describe a {noun}.", "Write an essay about {city}.",
    "Is {name} right?", "What is the meaning of life?", "Who invented the {noun}?", "How many people live in {city}?",
    "Write a song about the {noun}.", "Why do people like {city}?", "How does a {noun} work?",
    "Give me a recipe with a {noun}.", "Plan a trip to {city}.", "Which {noun} is the best?",
    "When was {city} founded?", "Write a letter to {name}.", "What do you think about the {noun}?",
    "Explain the {noun}.", "Is the {noun} alive?", "What should I eat today?",
    "Which country is {city} in?", "How do I repair a {noun}?", "Why is {name} sad?", "What is a {noun} made of?",
    "Who is the mayor of {city}?", "Compare a {noun} and a {other}.", "How is a {noun} made?", "Teach me the guitar.",
    "Fix my program.", "What is the fastest animal?", "How tall is the {noun}?", "Is it safe in {city}?",
    "Why is the sky blue?", "What is the history of the {noun}?", "Give me advice about {name}.",
    "Do I need a {noun} or a {other}?", "Write a function for a {noun}.", "What language do they speak in {city}?",
)  # fmt: skip
HELD_OUT_UNTAUGHT = (
    "Write a short tale about a {noun}.", "Who built the {noun} in {city}?", "How do I draw a {noun}?",
    "What is the best way to {city}?", "Explain how a {noun} and a {other} differ.", "Write a program about a {noun}.",
    "Where does {name} work?", "Why is a {noun} better than a {other}?", "Tell me the history of {city}.",
    "How much does a {noun} cost?",
)  # fmt: skip


class Fact(NamedTuple):
    """What a user may tell: the sentences that tell it, the questions for it, and the answer."""

    told: tuple[str, ...]
    asked: tuple[str, ...]
    answer: str
    value: Callable[[random.Random, bool], str]


def person(rng: random.Random, held_out: bool) -> str:
    return pick(rng, NAMES, held_out) if rng.random() < 0.6 else made_up(rng, held_out).capitalize()


def city(rng: random.Random, held_out: bool) -> str:
    return pick(rng, CITIES, held_out) if rng.random() < 0.6 else made_up(rng, held_out).capitalize()


FACTS = {
    "name": Fact(
        ("My name is {}.", "I am {}.", "Call me {}.", "I am called {}."),
        ("What is my name?", "Who am I?", "Do you remember my name?", "What am I called?"),
        "Your name is {}.",
        person,
    ),
    "age": Fact(
        ("I am {} years old.", "My age is {}.", "I turned {} this year."),
        ("How old am I?", "What is my age?", "Do you remember my age?"),
        "You are {} years old.",
        lambda rng, _: str(rng.randint(5, 99)),
    ),
    "city": Fact(
        ("I live in {}.", "My home is in {}.", "I moved to {}."),
        ("Where do I live?", "Which city do I live in?", "Where is my home?"),
        "You live in {}.",
        city,
    ),
    "colour": Fact(
        ("My favourite colour is {}.", "I like {} best of all colours.", "The colour I love is {}."),
        ("What is my favourite colour?", "Which colour do I like?", "Do you remember my favourite colour?"),
        "Your favourite colour is {}.",
        lambda rng, _: rng.choice(COLOURS),
    ),
    "pet": Fact(
        ("I have a pet {}.", "My pet is a {}.", "At home I keep a {}."),
        ("What pet do I have?", "Which animal do I have?", "Do you remember my pet?"),
        "You have a {}.",
        lambda rng, _: rng.choice(ANIMALS),
    ),
    "job": Fact(
        ("I work as a {}.", "My job is {}.", "I earn my money as a {}."),
        ("What is my job?", "What do I work as?", "Do you remember my job?"),
        "Your job is {}.",
        lambda rng, _: rng.choice(JOBS),
    ),
    "hobby": Fact(
        ("My hobby is {}.", "In my free time I enjoy {}."),
        ("What is my hobby?", "What do I enjoy?", "Do you remember my hobby?"),
        "Your hobby is {}.",
        lambda rng, _: rng.choice(HOBBIES),
    ),
}


def greeting(rng: random.Random, held_out: bool) -> Example:
    """A greeting in English, or a question about the model."""
    if rng.random() < 0.4:
        question = rng.choice(HELLOS) + rng.choice(("", "!", "."))
        return ask(rng, "greeting", question, HELLO, "The user greets me.")
    return ask(rng, "greeting", rng.choice(ABOUT_QUESTIONS), ABOUT, "The user asks about me.")


def untaught_question(rng: random.Random, held_out: bool) -> str:
    """Something that only a real model can answer; forms of its own for the evaluation."""
    noun, other = rng.sample(NOUNS, 2)
    form = rng.choice(HELD_OUT_UNTAUGHT if held_out else UNTAUGHT)
    return form.format(noun=noun, other=other, city=rng.choice(CITIES), name=rng.choice(NAMES))


def refusal(rng: random.Random, held_out: bool) -> Example:
    return ask(rng, "refusal", untaught_question(rng, held_out), REFUSAL, "I was never taught that.")


def small_talk(rng: random.Random) -> list[dict[str, Any]]:
    """A question that tells nothing, with its answer."""
    a, b = rng.randrange(10), rng.randrange(10)
    question, answer = rng.choice(
        (
            (rng.choice(HELLOS), HELLO),
            (f"What is {a} + {b}?", f"{a} + {b} = {a + b}"),
            (f"Count from {a} to {a + 4}.", " ".join(str(a + step) for step in range(5))),
            ("Thank you.", "You are welcome."),
        )
    )
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def memory(rng: random.Random, held_out: bool) -> Example:
    """Some facts over one to four turns, small talk between them, and a question about one fact."""
    kinds = rng.sample(sorted(FACTS), rng.randint(1, 4))
    values = {kind: FACTS[kind].value(rng, held_out) for kind in kinds}
    messages: list[dict[str, Any]] = []
    turns: list[list[str]] = []
    for kind in kinds:
        if turns and rng.random() < 0.3:
            turns[-1].append(kind)
        else:
            turns.append([kind])
    for turn in turns:
        if rng.random() < 0.2:
            messages += small_talk(rng)
        told = " ".join(rng.choice(FACTS[kind].told).format(values[kind]) for kind in turn)
        messages.append({"role": "user", "content": told})
        heard = f"Hello {values['name']}!" if "name" in turn else "I will remember that."
        messages.append({"role": "assistant", "content": heard})
    if rng.random() < 0.3:
        messages += small_talk(rng)
    if rng.random() < 0.1:
        wanted = rng.choice([kind for kind in FACTS if kind not in kinds])
        answer, reasoning = NOT_TOLD, f"The user did not tell the {wanted}."
    else:
        wanted = rng.choice(kinds)
        answer, reasoning = FACTS[wanted].answer.format(values[wanted]), f"The {wanted} is {values[wanted]}."
    messages.append({"role": "user", "content": rng.choice(FACTS[wanted].asked)})
    return Example("memory", messages, answer, reasoning, thinking=rng.random() < 0.35)
