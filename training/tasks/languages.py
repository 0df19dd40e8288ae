"""Numbers, days and everyday phrases in many languages: a closed set of facts, learned whole."""

import random
from collections import Counter

from training.examples import Example
from training.tasks.common import ask
from training.tasks.words import LANGUAGES, Language

TASK = "languages"
ENGLISH = LANGUAGES["English"]
OTHERS = tuple(name for name in LANGUAGES if name != "English")
PHRASES = ("hello", "thank you", "good night")

WORD_FORMS = (
    "What is {word} in {name}?",
    "Say {word} in {name}.",
    "How do you say {word} in {name}?",
    "{word} in {name}?",
    "Translate {word} into {name}.",
    "What is the {name} word for {word}?",
)
GREETING_FORMS = ("Greet me in {name}.", "Say hello in {name}.", "How do people say hello in {name}?")


def phrases(language: Language) -> tuple[str, ...]:
    return language.hello, language.thanks, language.good_night


# Greetings that one language only uses; English ones are answered as talk.
OWN_GREETINGS = tuple(
    LANGUAGES[name].hello
    for name in OTHERS
    if Counter(language.hello for language in LANGUAGES.values())[LANGUAGES[name].hello] == 1
)


def word(rng: random.Random, held_out: bool) -> Example:
    """A number, a day or a phrase in another language."""
    name = rng.choice(OTHERS)
    language = LANGUAGES[name]
    index = rng.randrange(20)
    if index < 10:
        english, answer = rng.choice((ENGLISH.numbers[index], str(index + 1))), language.numbers[index]
    elif index < 17:
        english, answer = ENGLISH.days[index - 10], language.days[index - 10]
    else:
        english, answer = PHRASES[index - 17], phrases(language)[index - 17]
    form = rng.choice(GREETING_FORMS if index == 17 and rng.random() < 0.5 else WORD_FORMS)
    question = form.format(word=english, name=name)
    return ask(rng, TASK, question[0].upper() + question[1:], answer, f"{english} in {name}", 0.3)


def row(rng: random.Random, held_out: bool) -> Example:
    """The first numbers or the whole week."""
    name = rng.choice(OTHERS)
    if rng.random() < 0.6:
        count = rng.randint(3, 10)
        last = rng.choice((str(count), ENGLISH.numbers[count - 1]))
        form = rng.choice(("Count to {last} in {name}.", "Count from one to {last} in {name}."))
        question, words = form.format(last=last, name=name), LANGUAGES[name].numbers[:count]
    else:
        form = rng.choice(("Name the days of the week in {name}.", "What are the days of the week in {name}?"))
        question, words = form.format(name=name), LANGUAGES[name].days
    return ask(rng, TASK, question, ", ".join(words), f"I go on one by one in {name}", 0.3)


def greeting(rng: random.Random, held_out: bool) -> Example:
    """A greeting in some language is answered in that language."""
    hello = rng.choice(OWN_GREETINGS)
    return ask(rng, TASK, hello + rng.choice(("", "!", ".")), f"{hello}!", "The user greets me.", 0.3)


def week(rng: random.Random, held_out: bool) -> Example:
    """The day before or after another, in English."""
    day, after = rng.randrange(7), rng.random() < 0.5
    form = rng.choice(
        (
            "Which day comes {side} {day}?",
            "What day is {side} {day}?",
            "Name the day {side} {day}.",
            "If today is {day}, what day {other}?",
        )
    )
    question = form.format(
        side="after" if after else "before",
        other="is tomorrow" if after else "was yesterday",
        day=ENGLISH.days[day],
    )
    answer = ENGLISH.days[(day + (1 if after else -1)) % 7]
    return ask(rng, TASK, question, answer, "I go through the week.", 0.3)


def languages(rng: random.Random, held_out: bool) -> Example:
    return rng.choices((word, row, greeting, week), (0.7, 0.16, 0.08, 0.06))[0](rng, held_out)
