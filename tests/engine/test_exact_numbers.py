"""Numbers of schemas that no double holds: answers and calls have them to the last digit."""

import json
import random
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from benchmarks.fuzz_schemas import fuzz

from qwill import LLM, SamplingParams

QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]
WILD = {"temperature": 3.0, "top_k": 0, "top_p": 1.0}
BEYOND = 2**53 + 1  # the first whole number that is none
ID = 1234567890123456789


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM("demo", max_context=1024, cache_tokens=8192)


def answers(llm: LLM, schema: Any, count: int = 6) -> list[str]:
    """The texts of answers that came to an end, among as many as `count`."""
    found = []
    for seed in range(count):
        answer = llm.generate(["It is"], SamplingParams(**WILD, seed=seed, max_tokens=250, json_schema=schema))[0]
        if answer.finish_reason == "stop":
            found.append(answer.text)
    assert found
    return found


@pytest.mark.parametrize("number", [BEYOND, -BEYOND, ID, 10**30 + 1, -(7**90), 2**53, 0, 0.1, 2.5e-7, 1e22, -12.75])
def test_constants(llm: LLM, number: float) -> None:
    for schema in ({"const": number}, {"enum": [number]}, {"type": "number", "minimum": number, "maximum": number}):
        for text in answers(llm, schema, 2):
            assert Decimal(text) == Decimal(str(number))
            assert json.loads(text) == number
    for text in answers(llm, {"const": {"id": number, "all": [number, None]}}, 2):
        assert json.loads(text) == {"id": number, "all": [number, None]}


def test_an_enumeration_has_no_neighbours(llm: LLM) -> None:
    ids = [ID + step for step in range(0, 60, 3)]
    assert {json.loads(text) for text in answers(llm, {"enum": ids}, 12)} <= set(ids)


@pytest.mark.parametrize("kind", ["integer", "number"])
def test_bounds(llm: LLM, kind: str) -> None:
    generator = random.Random()
    for _ in range(6):
        least = generator.choice([BEYOND, ID, -ID, 10**25 + 1, -(2**63), 2**64 - 1]) + generator.randint(-9, 9)
        most = least + generator.choice([1, 2, 10, 1000])
        low, high = generator.choice(["minimum", "exclusiveMinimum"]), generator.choice(["maximum", "exclusiveMaximum"])
        open_low, open_high = low.startswith("e"), high.startswith("e")
        if most - least < 2 and (open_low or open_high):
            continue
        schema = {"type": kind, low: least, high: most}
        for text in answers(llm, schema, 3):
            value = Decimal(text)
            assert least < value < most or (value == least and not open_low) or (value == most and not open_high)
            assert kind == "number" or text == str(int(text))


WHOLE = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"enum": [ID, "x"]}, "minItems": 1, "maxItems": 3},
        {"type": "array", "prefixItems": [WHOLE, {"const": ID}], "items": False, "minItems": 1},
        {"type": "object", "properties": {"a": WHOLE, "b": {"const": "x"}}, "required": ["b"],
         "additionalProperties": False},
        {"type": "object", "properties": {"a": {"const": ID}, "b": {"const": BEYOND}}, "minProperties": 1,
         "additionalProperties": False},
        {"anyOf": [{"type": "null"}, {"allOf": [{"type": "integer"}, {"minimum": ID}, {"maximum": ID + 5}]}]},
        {"type": ["integer", "boolean"], "minimum": ID, "maximum": ID + 5},
        {"$ref": "#/$defs/node", "$defs": {"node": {
            "type": "object", "properties": {"id": {"enum": [ID, ID + 1]}, "next": {"anyOf": [{"type": "null"},
            {"$ref": "#/$defs/node"}]}}, "required": ["id", "next"], "additionalProperties": False}}},
    ],
)  # fmt: skip
def test_deep_in_a_schema(llm: LLM, schema: Any) -> None:
    for text in answers(llm, schema, 8):
        jsonschema.validate(json.loads(text), schema)


@pytest.mark.parametrize(
    ("schema", "good"),
    [
        ({"const": ID}, [ID]),
        ({"enum": [BEYOND, "auto"]}, [BEYOND, "auto"]),
        ({"type": "integer", "minimum": ID, "maximum": ID + 2}, [ID, ID + 1, ID + 2]),
        ({"type": "number", "exclusiveMinimum": ID, "exclusiveMaximum": ID + 2, "multipleOf": 1}, [ID + 1]),
        ({"type": "array", "items": {"const": ID}, "minItems": 1, "maxItems": 2}, [[ID], [ID, ID]]),
        ({"anyOf": [{"const": "all"}, {"type": "array", "items": {"const": ID}, "minItems": 1, "maxItems": 1}]},
         ["all", [ID]]),
        ({"type": "object", "properties": {"id": {"const": ID}}, "required": ["id"], "additionalProperties": False},
         [{"id": ID}]),
    ],
)  # fmt: skip
def test_arguments_of_calls(llm: LLM, schema: Any, good: list[Any]) -> None:
    parameters = {"type": "object", "properties": {"a": schema}, "required": ["a"], "additionalProperties": False}
    tools = [{"name": "f", "parameters": parameters, "strict": True}]
    called = 0
    for seed in range(4):
        params = SamplingParams(**WILD, seed=seed, max_tokens=200)
        answer = llm.chat(QUESTION, params, tools=tools, tool_choice="required", thinking=False)
        for call in answer.tool_calls:
            called += 1
            assert call["arguments"]["a"] in good
    assert called


def test_schemas_at_random() -> None:
    """A sample of benchmarks/fuzz_schemas.py, the same cases each time and new ones."""
    for seed in (11, random.randrange(2**32)):
        counts = fuzz(seed, 150, together=150)
        assert counts["fits"] > 30
        assert not any(outcome.startswith("refused") for outcome in counts), counts
