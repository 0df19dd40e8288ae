"""A few facts hidden in a long text of no importance, and a question about one of them."""

import math
import random

from training.examples import Example
from training.tasks.common import draw_until, made_up
from training.tasks.words import ANIMALS, COLOURS, NAMES, NOUNS, QUALITIES, SCENERY

SHORTEST, LONGEST, LONG = 150, 3400, 2000  # characters of text in training
FILLER = (
    "The {adjective} {noun} stands near the {place}.",
    "A {animal} sleeps behind the {adjective} {noun}.",
    "Nobody saw the {noun} by the {place} today.",
    "The {animal} and the {other} walked to the {place}.",
    "Every {noun} in the {place} is {colour}.",
    "It was a {adjective} morning at the {place}.",
    "Some people painted the {noun} {colour}.",
    "We found a {adjective} {noun} under the {other}.",
    "There is a {colour} {noun} on the {place}.",
    "The {noun} was {adjective}, but the {other} was not.",
    "Later the {animal} looked at the {colour} {noun}.",
    "In the evening the {place} became {adjective}.",
    "An old {noun} is better than a {adjective} {other}.",
)
ASK_CODE = ("What is the code of {}?", "Which code does {} have?", "Tell me the code of {}.")
ASK_WORD = (
    "What is the secret word of the {}?",
    "Which secret word does the {} have?",
    "Tell me the secret word of the {}.",
)
FORMS = ("Read this text.\n{text}\n{question}", "{text}\n\n{question}", "Text: {text}\nQuestion: {question}")


def filler(rng: random.Random) -> str:
    noun, other, place = rng.sample(SCENERY, 3)
    if rng.random() < 0.2:
        noun = rng.choice(NOUNS)  # as those that have secret words
    return rng.choice(FILLER).format(
        noun=noun,
        other=other,
        place=place,
        adjective=rng.choice(QUALITIES),
        animal=rng.choice(ANIMALS),
        colour=rng.choice(COLOURS),
    )


def needle_of_length(rng: random.Random, held_out: bool, characters: int) -> Example:
    """A text of `characters` characters, or up to one sentence more, with one to four facts at random depths."""
    facts = []
    for name, noun in zip(rng.sample(NAMES, rng.randint(1, 4)), rng.sample(NOUNS, 4), strict=False):
        if rng.random() < 0.5:
            code = draw_until(lambda: str(rng.randrange(1000, 10000)), str, held_out)
            facts.append((f"The code of {name} is {code}.", rng.choice(ASK_CODE).format(name)))
        else:
            secret = made_up(rng, held_out)
            facts.append((f"The secret word of the {noun} is {secret}.", rng.choice(ASK_WORD).format(noun)))
    sentences: list[str] = []
    length = sum(len(fact) + 1 for fact, _ in facts) - 1
    while length < characters:
        sentences.append(filler(rng))
        length += len(sentences[-1]) + 1
    places = sorted(rng.randint(0, len(sentences)) for _ in facts)
    for place, (fact, _) in zip(reversed(places), facts, strict=True):
        sentences.insert(place, fact)
    answer, question = rng.choice(facts)
    content = rng.choice(FORMS).format(text=" ".join(sentences), question=question)
    reasoning = f"I look for it: {answer}"
    return Example("needle", [{"role": "user", "content": content}], answer, reasoning, thinking=rng.random() < 0.2)


def needle(rng: random.Random, held_out: bool) -> Example:
    """Lengths spread evenly by their logarithm, with some more long ones."""
    shortest = LONG if rng.random() < 0.1 else SHORTEST
    return needle_of_length(rng, held_out, round(math.exp(rng.uniform(math.log(shortest), math.log(LONGEST)))))
