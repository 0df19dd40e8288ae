"""The text tasks: answers computed another way, reasoning checked step by step, held-out content kept apart."""

import json
import random
import re
import unicodedata
from collections import Counter
from itertools import pairwise

import pytest
from drawn_examples import both_sides, checksum_says_held_out, drawn, question, rendered
from training.examples import Example
from training.tasks import arithmetic, languages, order, sequences, structured, talk, text
from training.tasks.words import LANGUAGES
from training.tokenizer import train_tokenizer

# All tasks together


def test_shares_are_the_whole():
    assert sum(text.TASKS.values()) == pytest.approx(1)
    assert len({example.task for example in drawn(text.draw, 1500)}) >= 20


def test_a_seed_fixes_the_examples():
    first, second = ([text.draw(random.Random(7), side) for _ in range(3) for side in (False, True)] for _ in range(2))
    assert first == second
    assert text.draw(random.Random(7), False) != text.draw(random.Random(9), False)
    state = random.getstate()
    list(drawn(text.draw, 50))
    assert random.getstate() == state


def test_a_prompt_has_one_answer():
    """The same conversation, with the same tools, is never answered in two ways, whatever the system message."""
    answers: dict[str, str] = {}
    for example in both_sides(text.draw, 4000):
        spoken = [message for message in example.messages if message["role"] != "system"]
        key = json.dumps([spoken, example.tools, example.raw])
        assert answers.setdefault(key, example.answer) == example.answer


def test_texts_are_clean():
    for example in both_sides(text.draw, 1000):
        whole = json.dumps([example.messages, example.answer, example.reasoning], ensure_ascii=False)
        assert unicodedata.is_normalized("NFC", whole)
        assert "{" not in example.messages[0]["content"] or example.task == structured.TASK
        if example.task not in ("copy", "reverse", "sort", "count"):
            assert not re.search(r"\ba [aeiou]", example.messages[0]["content"])
        assert example.reasoning == example.reasoning.strip()
        assert example.raw or example.answer == example.answer.strip() != ""


def test_prompts_and_answers_stay_short():
    rng = random.Random(3)
    examples = [text.draw(rng, False) for _ in range(1500)]
    rest = [f"{example.reasoning}{example.answer}" for example in examples]
    prompts = [rendered(example) for example in examples]
    tokenizer = train_tokenizer([*prompts, *rest], 2048)
    lengths = Counter[str]()
    for example, prompt, answer in zip(examples, prompts, rest, strict=True):
        asked, told = (len(tokenizer.encode(part).ids) for part in (prompt, answer))
        assert asked + told <= 1000, example.task
        assert told <= 160, example.task
        lengths["all"] += asked + told
    # An average example costs about 180, give or take 5 by what is drawn; most of it is long prompts.
    assert lengths["all"] / len(examples) < 195


# Arithmetic

CALCULATIONS = (
    arithmetic.sums_with_thinking,
    arithmetic.products_with_thinking,
    arithmetic.sums,
    arithmetic.products,
    arithmetic.plain_text,
)


def calculation(example: Example) -> tuple[int, str, int]:
    """The numbers as the question names them, and the sign, from its words."""
    asked = question(example)
    a, b = map(int, re.findall(r"\d+", asked))
    if asked.startswith("Subtract"):
        a, b = b, a
    for sign, marks in {"+": r"\+|plus|Add|sum|more", "*": r"\*|×| x |times|Multiply|product"}.items():
        if re.search(marks, asked):
            return a, sign, b
    assert re.search("-|minus|Subtract|Take", asked)
    if asked.startswith("Take"):
        a, b = b, a
    return a, "-", b


@pytest.mark.parametrize("task", CALCULATIONS)
def test_results_are_right_and_held_out_numbers_stay_out(task):
    sides: dict[bool, set[tuple[int, str, int]]] = {False: set(), True: set()}
    for held_out in sides:
        for example in drawn(task, 400, held_out):
            a, sign, b = calculation(example)
            result = {"+": a + b, "-": a - b, "*": a * b}[sign]
            assert example.answer == (f" {result}" if example.raw else f"{a} {sign} {b} = {result}")
            sides[held_out].add((min(a, b), sign, max(a, b)))
    by_heart = {(low, sign, high) for low in range(10) for sign in "+-*" for high in range(21 if sign == "*" else 10)}
    assert not sides[False] & sides[True] - by_heart
    assert all(checksum_says_held_out(f"{low} {sign} {high}") for low, sign, high in sides[True] - by_heart)
    assert (len(sides[True] - by_heart) > 200) == (task is not arithmetic.products)


def columns(chain: str) -> list[list[int]]:
    """The numbers of each step, behind its label."""
    return [[int(n) for n in re.findall(r"\d+", line)] for line in chain.split("\n") if line[0].isalpha()]


def test_additions_carry_column_by_column():
    for example in drawn(arithmetic.sums_with_thinking, 500):
        a, sign, b = calculation(example)
        if sign == "-":
            continue
        lines = example.reasoning.split("\n")
        width = max(len(str(a)), len(str(b)))
        assert lines[0] == f"{a:0{width}d}+{b:0{width}d}"
        carry = 0
        for place, (x, y, carried, total) in enumerate(columns(example.reasoning)):
            assert (x, y, carried) == (a // 10**place % 10, b // 10**place % 10, carry)
            assert total == x + y + carried
            carry = total // 10
        assert len(columns(example.reasoning)) == width
        assert lines[-1] == f"{a + b:0{width + 1}d}"


def test_subtractions_borrow_column_by_column():
    for example in drawn(arithmetic.sums_with_thinking, 500):
        a, sign, b = calculation(example)
        if sign == "+":
            continue
        lines = example.reasoning.split("\n")
        width = max(len(str(a)), len(str(b)))
        high, low = max(a, b), min(a, b)
        word = "minus" if a < b else "plus"
        assert lines[0] == f"{a:0{width}d}-{b:0{width}d}"
        assert lines[1].endswith(f"{word} {high:0{width}d}-{low:0{width}d}")
        for one, mark, other in re.findall(r"(\d)([<=>])(\d) ", lines[1]):
            assert {"<": one < other, "=": one == other, ">": one > other}[mark]
        before = 0
        steps = columns("\n".join(lines[2:-1]))
        assert len(steps) == width
        for place, (x, y, borrowed, rest, borrow, digit) in enumerate(steps):
            assert (x, y, borrowed) == (high // 10**place % 10, low // 10**place % 10, before)
            signed = -rest if "=-" in lines[2 + place] else rest
            assert signed == x - y - borrowed == digit - 10 * borrow
            before = borrow
        assert lines[-1] == f"{word} {high - low:0{width}d}"


def test_products_go_digit_by_digit():
    for example in drawn(arithmetic.products_with_thinking, 500):
        lines = example.reasoning.split("\n")
        a, b = map(int, lines[0].split("*"))
        assert sorted(map(int, re.findall(r"\d+", question(example)))) == sorted((a, b))
        order = [(y, x) for y in reversed(str(b)) for x in reversed(str(a))]
        steps = columns(example.reasoning)
        assert [(str(step[0]), str(step[1])) for step in steps] == order
        for y, x, there, carry, table, rest, total in steps:
            assert (table, rest, total) == (y * x, there + carry, y * x + there + carry)
        for before, after in pairwise(steps):
            if len(steps) < 4 or before is not steps[1]:
                assert after[3] == before[-1] // 10
        assert steps[0][2:4] == [0, 0]
        if len(steps) == 4:
            assert steps[2][2:4] == [steps[1][-1] % 10, 0]
            assert steps[3][2] == steps[1][-1] // 10
        assert int(lines[-1]) == a * b


# Languages


def test_languages_and_scripts_are_many():
    scripts = set()
    for name, language in LANGUAGES.items():
        assert (len(set(language.numbers)), len(set(language.days))) == (10, 7), name
        scripts |= {unicodedata.name(character).split()[0] for word in language.numbers for character in word}
    assert len(LANGUAGES) >= 24
    wanted = "LATIN CYRILLIC GREEK ARABIC HEBREW DEVANAGARI CJK HIRAGANA HANGUL THAI GEORGIAN ARMENIAN"
    assert set(wanted.split()) <= scripts


def test_words_are_the_ones_asked_for():
    digits = {str(index + 1): index for index in range(10)}
    for example in drawn(languages.word, 800):
        asked = question(example).lower()
        name = next(name for name in LANGUAGES if name.lower() in asked)
        language, english = LANGUAGES[name], LANGUAGES["English"]
        rest = re.findall(r"\w+", asked.replace(name.lower(), " "))
        wanted = [language.numbers[digits[word]] for word in rest if word in digits]
        for words, answers in ((english.numbers, language.numbers), (english.days, language.days)):
            wanted += [answers[index] for index, word in enumerate(words) if word.lower() in rest]
        if "hello" in rest or "greet" in rest:
            wanted.append(language.hello)
        wanted += [language.thanks] * ("thank" in rest) + [language.good_night] * ("night" in rest)
        assert wanted == [example.answer]


def test_greetings_belong_to_one_language():
    for hello in languages.OWN_GREETINGS:
        assert sum(language.hello == hello for language in LANGUAGES.values()) == 1
    assert "Hallo" not in languages.OWN_GREETINGS
    assert "Hola" in languages.OWN_GREETINGS


def test_days_follow_each_other():
    days = LANGUAGES["English"].days
    for example in drawn(languages.week, 60):
        asked = re.search("|".join(days), question(example))[0]
        step = 1 if re.search("after|tomorrow", question(example)) else -1
        assert days.index(example.answer) == (days.index(asked) + step) % 7


# Sequences


@pytest.mark.parametrize("task", [sequences.copy, sequences.reverse, sequences.sort])
def test_relations_in_a_row_are_right(task):
    sides: dict[bool, set[str]] = {False: set(), True: set()}
    for held_out in sides:
        for example in drawn(task, 200, held_out):
            items = question(example).split(": ")[-1].split()
            by_size = sorted(items, key=lambda item: (int(item) if item.isdigit() else 0, item))
            expected = {"copy": items, "reverse": items[::-1], "sort": by_size}[example.task]
            assert example.answer.split(" ") == expected
            assert 2 <= len(items) <= 8
            sides[held_out].add(" ".join(items))
    assert all(map(checksum_says_held_out, sides[True]))
    assert not any(map(checksum_says_held_out, sides[False]))


def test_orders_are_right():
    """Places are given to the names by what is told, then compared."""
    yes: Counter[bool] = Counter()
    for example in both_sides(order.order, 400):
        told, asked = re.fullmatch(r"(.*?\.) (.*)", question(example)).groups()
        if told.startswith("The "):
            one, relation, other = re.fullmatch(
                r"The (\w+) is (left of|right of|above|below) the (\w+)\.", told
            ).groups()
            places = {one: 0, other: 1} if relation in ("left of", "above") else {one: 1, other: 0}
        else:
            assert told.startswith(("Left to right: ", "Top to bottom: "))
            places = {name: place for place, name in enumerate(told.split(": ")[1].rstrip(".").split(", "))}
        form = r"(?:Is the (?P<one>\w+)|Which are) (?P<relation>left of|right of|above|below) the (?P<reference>\w+)"
        found = re.match(form, asked)
        things = [found["one"]] if found["one"] else asked.split(": ")[1].rstrip("?").split(", ")
        before = found["relation"] in ("left of", "above")
        truths = [(places[thing] < places[found["reference"]]) == before for thing in things]
        assert example.answer.rstrip(".").lower().split(", ") == ["yes" if truth else "no" for truth in truths]
        assert ("left" in told or "right" in told or "Left" in told) == (found["relation"] in ("left of", "right of"))
        yes.update(truths)
    assert min(yes.values()) > 300


def test_things_in_an_order_differ(monkeypatch: pytest.MonkeyPatch):
    """Also where few words can be made up: two of one name would leave nothing to ask about."""
    monkeypatch.setattr(order, "made_up", lambda rng, held_out: rng.choice(("meno", "tiru", "sola", "buke")))
    for example in drawn(order.order, 200):
        names = re.findall(r"\b(?:meno|tiru|sola|buke)\b", question(example).split(".")[0])
        assert len(set(names)) == len(names)


def test_held_out_orders_favour_no_relation():
    """In training the first relation of a pair is the more frequent one, so that something is learned of it."""
    first = {
        held_out: sum(
            bool(re.search("(?:Is the .*|Which are) (?:left of|above) ", question(e)))
            for e in drawn(order.order, 4000, held_out)
        )
        for held_out in (False, True)
    }
    assert 2250 < first[False] < 2550
    assert 1850 < first[True] < 2150


def test_counts_are_right():
    for example in both_sides(sequences.count_items, 100):
        assert int(example.answer) == len(question(example).split(": ")[-1].split())
    for example in both_sides(sequences.count_one_letter, 100):
        letter = re.search(r"(?:How many|How often is|Count) (\w)", question(example))[1]
        items = question(example).split(": ")[-1].split()
        assert int(example.answer) == items.count(letter) > 0
        for index, note in enumerate(example.reasoning.split(", ")):
            assert note == f"{items[index]} {items[: index + 1].count(letter)}"
    for example in both_sides(sequences.count_on, 100):
        first, last = map(int, re.findall(r"\d+", question(example)))
        assert re.search("down|backwards", question(example)) or first < last
        step = 1 if first < last else -1
        assert example.answer == " ".join(map(str, range(first, last + step, step)))


# Talk


def test_memory_answers_come_from_what_was_told():
    seen = Counter[str]()
    for example in both_sides(talk.memory, 300):
        told = " ".join(message["content"] for message in example.messages[:-1] if message["role"] == "user")
        roles = [message["role"] for message in example.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        kind = next(kind for kind, fact in talk.FACTS.items() if question(example) in fact.asked)
        start, end = talk.FACTS[kind].answer.split("{}")
        forms = [re.escape(form).replace(r"\{\}", r"(\w+)") for form in talk.FACTS[kind].told]
        values = {match[1] for form in forms for match in re.finditer(form, told)}
        if kind == "name":
            greeted = re.findall(r"Hello (\w+)!", " ".join(m["content"] for m in example.messages[1::2]))
            assert set(greeted) == values
        if example.answer == talk.NOT_TOLD:
            assert not values
        else:
            assert {example.answer.removeprefix(start).removesuffix(end)} == values
        seen[kind] += 1
    assert len(seen) == len(talk.FACTS)


def test_what_was_never_taught_is_refused():
    trained, held_out = ({question(e) for e in drawn(talk.refusal, 300, side)} for side in (False, True))
    assert not trained & held_out
    assert len(trained) > 200
    assert all(example.answer == talk.REFUSAL for example in both_sides(talk.refusal, 20))
    assert "demonstration model" in talk.REFUSAL
