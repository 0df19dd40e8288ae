"""The simple form of schemas: what it says, what is left out and how that is named."""

import json
import random
from typing import Any

import jsonschema
import pytest
from benchmarks.fuzz_schemas import NO_SCHEMA, Schemas, check

from qwill.errors import InvalidArgument
from qwill.text.schemas.sound import sound
from qwill.text.schemas.values import accepts


def fits(schema: Any, value: Any) -> bool:
    found = sound(schema, "s").schema
    return found is not None and accepts(found, value, found.get("$defs", {}))


TYPED = {"type": "object", "properties": {"x": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("schema", "left_out"),
    [
        ({"type": "array", "uniqueItems": True}, "s.uniqueItems"),
        ({"type": "array", "uniqueItems": False}, ""),
        ({"type": "object", "propertyNames": {"pattern": "^a"}}, "s.propertyNames"),
        ({"type": "object", "propertyNames": {"type": "string"}}, ""),
        ({"not": {"type": "string"}}, "s.not"),
        ({"type": "object", "properties": {"a": {"not": {}}}}, "s.properties.a.not"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "s.oneOf"),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, ""),
        ({"oneOf": [{"required": ["a"], **TYPED}, {"required": ["b"], **TYPED}]}, "s.oneOf"),
        ({"oneOf": [{"properties": {"k": {"const": kind}}, "required": ["k"], "type": "object"} for kind in "ab"]}, ""),
        ({"oneOf": [{"$ref": "#/$defs/a"}, {"type": "null"}], "$defs": {"a": {"const": 5}}}, ""),
        ({"$ref": "https://example.org/schema.json"}, "s.$ref"),
        ({"$ref": "#/$defs/none"}, "s.$ref"),
        ({"properties": {"a": {"type": "integer"}, "b": {"$ref": "#/properties/a"}}, "type": "object"}, ""),
        ({"$ref": "#point", "$defs": {"p": {"$anchor": "point", "type": "integer"}}}, ""),
        ({"$dynamicRef": "#point", "$defs": {"p": {"$dynamicAnchor": "point", "type": "integer"}}}, ""),
        ({"$dynamicRef": "#elsewhere"}, "s.$dynamicRef"),
        ({"$id": "https://example.org/a", "$ref": "b", "$defs": {"b": {"$id": "b", "type": "null"}}}, ""),
        ({"type": "string", "pattern": "a(?=b)"}, "s.pattern"),
        ({"type": "string", "pattern": r"(a)\1"}, "s.pattern"),
        ({"type": "string", "pattern": "("}, "s.pattern"),
        ({"type": "string", "pattern": "a" * 10000}, "s.pattern"),
        *(({"type": "string", "format": name}, "s.format") for name in ("int32", "binary", "password", "uri-template")),
        ({"format": "password"}, "s.format"),
        *(({"type": "string", "format": name}, "") for name in ("date", "date-time", "uuid", "email", "uri", "ipv6")),
        ({"type": "integer", "format": "int32"}, ""),
        ({"type": "number", "format": "double"}, ""),
        ({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, ""),
        ({"type": "integer", "minimum": 10**500}, "s.minimum"),
        ({"type": "integer", "multipleOf": 3}, ""),
        ({"type": "number", "multipleOf": 0.01}, ""),
        ({"type": "number", "multipleOf": 0.37}, "s.multipleOf"),
        ({"type": "number", "multipleOf": 0.5}, "s.multipleOf"),
        ({"type": "integer", "multipleOf": 0.5}, ""),
        ({"type": "number", "multipleOf": 0.5, "minimum": 10**20}, ""),
        ({"type": "integer", "multipleOf": 10**9}, "s.multipleOf"),
        ({"type": "number", "multipleOf": 0.37, "minimum": 0, "maximum": 3}, ""),
        ({"type": "object", "patternProperties": {"^a": {}, "^b": {}}}, ""),
        ({"type": "object", "patternProperties": {"^a": {}, "b": {}}}, "s.patternProperties"),
        ({"type": "array", "contains": {"type": "integer"}}, "s.contains"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "s.dependentRequired"),
        ({"if": {"type": "integer"}, "then": {"minimum": 3}}, "s.if"),
        ({"if": {"type": "integer"}}, ""),
        ({"type": "object", "properties": {"a": {}}, "unevaluatedProperties": False}, ""),
        ({"anyOf": [TYPED, {"type": "null"}], "unevaluatedProperties": False}, "s.unevaluatedProperties"),
        ({"type": "object", "properties": {"a": {}, "b": {}}, "minProperties": 2}, "s.minProperties"),
        ({"type": "object", "minProperties": 2}, "s.minProperties"),
        ({"type": "object", "minProperties": 1, "maxProperties": 3}, ""),
        ({"type": "any"}, "s.type"),
        ({"type": ["string", "undefined"]}, "s.type"),
        ({"type": "string", "minLength": "3"}, "s.minLength"),
        ({"type": "string", "maxLength": 10**12}, ""),
        ({"type": "array", "minItems": 10**9}, "s.minItems"),
        ({"enum": "abc"}, "s.enum"),
        ({"enum": [1, float("inf")]}, "s.enum"),
        ({"const": "\ud800"}, "s.const"),
        ({"type": "object", "properties": {"é ü": {"not": {}}}}, "s.properties.___.not"),
        ({"properties": 5}, "s.properties"),
        ({"anyOf": []}, "s.anyOf"),
        (7, "s"),
        ({"type": "string", "description": "d", "x-order": 1, "example": "e", "deprecated": True, "title": "t"}, ""),
    ],
)  # fmt: skip
def test_what_is_left_out(schema: Any, left_out: str) -> None:
    assert ", ".join(sound(schema, "s").left_out) == left_out


def test_hints_restrict_nothing() -> None:
    found = sound({"properties": {"a": {"type": "string", "format": "password"}, "b": {"uniqueItems": True}}}, "s")
    assert found.left_out == ("s.properties.b.uniqueItems", "s.properties.a.format")
    assert found.lost == ("s.properties.b.uniqueItems",)


def test_names_are_few_and_short() -> None:
    schema = {"type": "object", "properties": {f"p{number}" * 60: {"not": {}} for number in range(50)}}
    names = sound(schema, "s").left_out
    assert len(names) == 33
    assert names[-1] == "and_18_more"
    assert max(map(len, names)) <= 160


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer", "minimum": 3, "exclusiveMinimum": True}, [4], [3]),
        ({"type": "integer", "maximum": 2**63, "exclusiveMaximum": True}, [2**63 - 1], [2**63]),
        ({"type": "integer", "exclusiveMinimum": 2.5, "maximum": 4.5}, [3, 4], [2, 5]),
        ({"enum": [1, "a", None], "type": ["string", "null"]}, ["a", None], [1]),
        ({"const": 1, "type": "integer"}, [1, 1.0], [True]),
        ({"type": "string", "nullable": True}, ["a", None], [1]),
        ({"allOf": [{"minimum": 2**60}, {"maximum": 2**61, "type": "integer"}]}, [2**60, 2**61], [2**60 - 1]),
        ({"type": "array", "items": [{"type": "null"}], "additionalItems": {"const": 5}},
         [[None, 5, 5]], [[5], [None, 6]]),
        ({"allOf": [{"properties": {"a": {"minimum": 5}}}, {"additionalProperties": {"type": "integer"}}],
          "type": "object"}, [{"a": 5, "b": 1}], [{"a": 4}, {"a": 5.5}, {"b": "x"}]),
        ({"anyOf": [{"minimum": 5}, {"multipleOf": 2}], "type": "integer", "maximum": 9}, [7, 4, -2], [3, 10]),
        ({"$ref": "#/$defs/tree", "$defs": {"tree": {
            "type": "object", "properties": {"v": {"type": "integer"}, "kids": {"items": {"$ref": "#/$defs/tree"},
            "type": "array"}}, "required": ["v"], "additionalProperties": False}}},
         [{"v": 1, "kids": [{"v": 2, "kids": []}]}], [{"kids": []}, {"v": 1, "kids": [{"v": "x"}]}]),
        ({"type": "object", "patternProperties": {"^x": {"type": "integer"}}, "required": ["xa"]},
         [{"xa": 1}], [{"xa": ""}]),
        ({"allOf": [{"$ref": "#/$defs/a"}], "description": "d", "$defs": {"a": {"const": "x"}}}, ["x"], ["y"]),
    ],
)  # fmt: skip
def test_keywords_together(schema: Any, good: list[Any], bad: list[Any]) -> None:
    assert sound(schema, "s").left_out == ()
    assert [value for value in good if not fits(schema, value)] == []
    assert [value for value in bad if fits(schema, value)] == []


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"enum": [1], "const": 2},
        {"allOf": [{"type": "null"}, {"type": "string"}]},
        {"type": "string", "pattern": "^a{3}$", "maxLength": 2},
        {"properties": {"a": False}, "required": ["a"], "type": "object"},
        {"type": "array", "items": False, "minItems": 1},
        {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}},
        {"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"]},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
    ],
)
def test_what_nothing_fits(schema: Any) -> None:
    assert sound(schema, "s").schema is None


def test_the_simple_form_says_the_same() -> None:
    """Of random schemas and values, by jsonschema: what fits a schema fits its simple form, and the other way round
    where nothing was left out."""
    generator = random.Random()
    compared = 0
    for _ in range(600):
        schema = Schemas(generator).whole()
        if '"format"' in json.dumps(schema):  # taken more narrowly
            continue
        found = sound(schema, "s")
        for _ in range(6):
            value = Schemas(generator).value(2)
            try:
                check(json.dumps(value), schema)
                good = True
            except jsonschema.ValidationError:
                good = False
            except NO_SCHEMA:
                continue
            simple = found.schema is not None and accepts(found.schema, value, found.schema.get("$defs", {}))
            assert simple or not good, (schema, value, found)
            assert good or not simple or found.lost, (schema, value, found)
            compared += 1
    assert compared > 1000


def test_branches_without_an_end() -> None:
    """They are nowhere to be begun with."""
    endless = {"type": "object", "properties": {"next": {"$ref": "#/$defs/a"}}, "required": ["next"]}
    schema = {
        "type": "object",
        "properties": {
            "never": {"$ref": "#/$defs/a"},
            "list": {"type": "array", "items": {"$ref": "#/$defs/a"}},
            "pair": {"type": "array", "prefixItems": [{"type": "null"}, {"$ref": "#/$defs/a"}, {"type": "null"}]},
            "one": {"anyOf": [{"$ref": "#/$defs/a"}, {"const": 5}]},
        },
        "additionalProperties": {"$ref": "#/$defs/a"},
        "$defs": {"a": endless},
    }
    assert fits(schema, {"list": [], "pair": [None], "one": 5})
    for bad in (
        {"never": {}},
        {"list": [{}]},
        {"pair": [None, {}]},
        {"pair": [None, None]},
        {"one": {}},
        {"other": {}},
    ):
        assert not fits(schema, bad)
    tree = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    }
    assert fits(tree, {"next": {"next": None}})


def test_too_many_parts() -> None:
    schema = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(30_000)}}
    with pytest.raises(InvalidArgument, match=r"s\.properties\.p\d+: the schema has more than 20000 parts"):
        sound(schema, "s")
    with pytest.raises(InvalidArgument, match="s: an object has 1001 required properties"):
        sound({"type": "object", "required": [f"p{number}" for number in range(1001)]}, "s")


@pytest.mark.parametrize("depth", [10, 30, 300])
def test_depth(depth: int) -> None:
    schema: Any = {"const": 5}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    found = sound(schema, "s")
    assert bool(found.left_out) is (depth == 300)
    assert all(name.startswith("s.properties.a.properties.a") for name in found.left_out)
