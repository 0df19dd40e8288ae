"""Calls of tools, JSON and needles: answers computed another way, held-out content kept apart."""

import json
import random
import re
from collections import Counter
from typing import Any

import pytest
from drawn_examples import both_sides, checksum_says_held_out, drawn, question, rendered
from training.examples import Example
from training.tasks import needle, structured, tools

from qwill.text.parsers.qwen import OPENING, Status, ToolCallScanner, coerce_arguments, parameter_schemas

# Tools


def read_calls(written: str) -> list[tuple[str, dict[str, str]]]:
    """Calls as qwill reads them."""
    calls = []
    while written.strip():
        assert written.strip().startswith(OPENING)
        scanner = ToolCallScanner()
        assert scanner.feed(written.strip().removeprefix(OPENING)) is Status.COMPLETE
        calls.append((scanner.name, scanner.parameters))
        written = scanner.rest
    return calls


def check_call(example: Example, name: str, arguments: dict[str, Any], known: str) -> None:
    """The call names an offered tool and its parameters, with values of the right types that stand in `known`."""
    schema = parameter_schemas(example.tools)[name]
    properties = schema["properties"]
    assert set(schema["required"]) <= set(arguments) <= set(properties)
    assert list(arguments) == [key for key in properties if key in arguments]
    types = {"string": str, "integer": int, "number": (int, float), "boolean": bool}
    for key, value in arguments.items():
        assert isinstance(value, types[properties[key]["type"]])
        assert isinstance(value, bool) == (properties[key]["type"] == "boolean")
        assert value in properties[key].get("enum", [value])
        if isinstance(value, bool):
            assert value == bool(re.search(r"\bon\b|an urgent", known)), known
        elif key == "expression":
            assert all(re.search(rf"(?<![\d.]){number}(?!\d)", known) for number in re.findall(r"\d+", value))
        else:
            assert re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", known, re.IGNORECASE), (value, known)


@pytest.mark.parametrize("task", [tools.single, tools.typed, tools.parallel])
def test_calls_read_back_and_hold_what_was_asked(task):
    for example in both_sides(task, 250):
        assert 1 <= len(example.tools) <= 4
        calls = read_calls(example.answer)
        assert 2 <= len(calls) <= 3 if task is tools.parallel else len(calls) == 1
        schemas = parameter_schemas(example.tools)
        assert len(schemas) == len(example.tools)
        typed = [(name, coerce_arguments(parameters, schemas[name])) for name, parameters in calls]
        for name, arguments in typed:
            known = question(example)
            if task is tools.parallel:
                known = re.sub(r"\bon\b", "", known) + (" on" if arguments.get("on") else "")
            check_call(example, name, arguments, known)
        asked = {**example.__dict__, "messages": [*example.messages, tools.turn(typed, "")], "thinking": False}
        assert f"<think>\n\n</think>\n\n{example.answer}<|im_end|>" in rendered(Example(**asked))


def test_optional_arguments_come_only_when_asked_for():
    for example in drawn(tools.typed, 400):
        (call,) = read_calls(example.answer)
        asked = question(example)
        for key, pattern in {
            "days": r"\d+ days",
            "unit": "celsius|fahrenheit",
            "limit": "results",
            "urgent": "urgent",
            "level": "percent",
        }.items():
            assert (key in call[1]) == bool(re.search(pattern, asked, re.IGNORECASE)), asked


def test_no_call_where_none_is_needed():
    for example in both_sides(tools.none, 150):
        assert example.tools
        assert OPENING not in example.answer
        offered = {tool["function"]["name"] for tool in example.tools}
        assert not offered & {"calculator", "calculate"} or "demonstration" in example.answer


def test_chains_follow_from_what_came_before():
    lengths = Counter[int]()
    for example in both_sides(tools.chain, 250):
        known, calls = "", 0
        for message in example.messages:
            for call in message.get("tool_calls", []):
                check_call(example, call["function"]["name"], call["function"]["arguments"], known)
                calls += 1
            known += f" {message['content']}"
            assert bool(message.get("reasoning_content")) == (example.thinking and message["role"] == "assistant")
        lengths[calls] += 1
        roles = [message["role"] for message in example.messages]
        assert roles == ["user", *["assistant", "tool"] * calls]
        facts = re.findall(r"\w+", example.answer.removeprefix("The result is").removeprefix("The number is"))
        assert all(re.search(rf"\b{fact}\b", known) for fact in facts if fact != "Done")
    assert set(lengths) == {2, 3, 4, 5, 6}


def test_chains_of_sums_calculate():
    for example in drawn(tools.chain_of_sums, 60):
        told = re.findall(r"(add|subtract|multiply by) (\d+)", question_of_chain(example))
        value = int(re.search(r"\d+", question_of_chain(example))[0])
        for word, number in told:
            value = {"add": value + int(number), "subtract": value - int(number)}.get(word, value * int(number))
        assert example.answer == f"The result is {value}."
        assert example.messages[-1]["content"] == str(value)


def question_of_chain(example: Example) -> str:
    return str(example.messages[0]["content"])


def test_calculator_results_are_right():
    for example in both_sides(tools.result, 300):
        for text_, result in re.findall(r"([\d+* -]+) = (-?\d+)$", example.answer, re.MULTILINE):
            terms = re.split(r" ([+-]) ", text_)
            values = []
            for term in terms[::2]:
                value = 1
                for factor in term.split(" * "):
                    value *= int(factor)
                values.append(value)
            total = values[0]
            for sign, value in zip(terms[1::2], values[1:], strict=True):
                total += value if sign == "+" else -value
            assert total == int(result)


def test_held_out_tool_arguments_stay_out():
    sides = []
    for held_out in (False, True):
        words = set()
        for example in drawn(tools.single, 400, held_out):
            for _, arguments in read_calls(example.answer):
                words |= {arguments[key] for key in ("city", "to", "expression") if key in arguments}
        sides.append(words)
    assert not sides[0] & sides[1]
    assert sides[1]
    assert all(map(checksum_says_held_out, sides[1]))


# JSON and needles


def conforms(value: Any, schema: dict[str, Any]) -> bool:
    kind = schema["type"]
    if kind == "object":
        properties = schema["properties"]
        return list(value) == list(properties) and all(conforms(value[key], properties[key]) for key in properties)
    if kind == "array":
        return isinstance(value, list) and all(conforms(item, schema["items"]) for item in value)
    types = {"string": str, "integer": int, "number": float, "boolean": bool}
    return type(value) is types[kind] and value in schema.get("enum", [value])


def test_json_follows_its_schema_and_the_facts():
    sides: dict[bool, set[str]] = {False: set(), True: set()}
    kinds = Counter[str]()
    for held_out in sides:
        for example in drawn(structured.structured, 300, held_out):
            start = question(example).index('{"type": "object"')
            schema, end = json.JSONDecoder().raw_decode(question(example)[start:])
            facts = question(example)[:start] + question(example)[start + end :]
            value = json.loads(example.answer)
            assert conforms(value, schema)
            assert 1 <= len(value) <= 5
            assert example.answer == json.dumps(value, ensure_ascii=False)
            for key, part in value.items():
                parts = part if isinstance(part, list) else part.values() if isinstance(part, dict) else [part]
                kinds[key] += 1
                if not isinstance(part, bool):
                    assert all(re.search(rf"(?<!\w){re.escape(str(item))}(?!\w)", facts) for item in parts)
            sides[held_out].add(json.dumps(value, sort_keys=True))
    assert not sides[False] & sides[True]
    assert len(kinds) == len(structured.POOL) >= 15


@pytest.mark.parametrize("characters", [300, 1500, 8000])
def test_needles_lie_anywhere_in_a_text_of_the_wanted_length(characters):
    rng, depths = random.Random(characters), []
    for held_out in [False, True] * 30:
        example = needle.needle_of_length(rng, held_out, characters)
        content = question(example)
        assert characters <= len(content) <= characters + 200
        assert content.count(example.answer) == 1
        depths.append(content.index(example.answer) / len(content))
        fact, value = re.fullmatch(r"The (.+) is (\w+)\.", example.answer).groups()
        subject = fact.split()[-1]
        assert re.search(rf"\b{subject}\b", content.split("\n")[-1])
        assert checksum_says_held_out(value) == held_out
    assert min(depths) < 0.2 < 0.8 < max(depths)


def test_needle_lengths_are_mostly_short():
    lengths = sorted(len(question(example)) for example in drawn(needle.needle, 400))
    assert lengths[0] >= needle.SHORTEST
    assert lengths[-1] <= needle.LONGEST + 200
    # 28% of the draws are above 2,000 characters of text; three standard deviations of 400 draws are 7%.
    assert 0.2 < sum(length > 2000 for length in lengths) / len(lengths) < 0.4
