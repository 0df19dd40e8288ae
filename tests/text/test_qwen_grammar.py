"""Grammars of tool calls: what they let through is read back by the parser and fits the schema; the rest is refused."""

import re
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest

from qwill import LLM
from qwill.engine.structure import Constraint, GrammarVocabulary
from qwill.errors import InvalidArgument
from qwill.text.lark import full_match, literal, regex_terminal
from qwill.text.parsers.arguments import coerce_arguments
from qwill.text.parsers.qwen_grammar import call_rules
from qwill.text.router import Router
from qwill.text.tokenizer import Tokenizer

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "unit": {"enum": ["celsius", 'in "F"\\', 7, None]},
        "hours": {"type": "array", "items": {"type": "number"}},
        "place": {"$ref": "#/$defs/place"},
        "code": {"type": "string", "pattern": "^[A-Z]{2}/[0-9]+$"},
        "note": {"type": ["string", "null"], "maxLength": 5},
        "short": {"type": "string", "minLength": 2, "maxLength": 4},
        "word": {"type": "string", "pattern": "ab+"},
        "flag": {"type": ["boolean", "null"]},
        "kind": {"anyOf": [{"enum": ["x", "y"]}, {"type": "null"}]},
    },
    "required": ["city", "unit"],
    "$defs": {"place": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]}},
}
FUNCTIONS: dict[str, Mapping[str, Any] | None] = {"get weather": WEATHER, "ping": {}, "free": None}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    found = LLM("demo", max_context=64).tokenizer
    assert found is not None
    return found


@pytest.fixture(scope="module")
def vocabulary(tokenizer: Tokenizer) -> GrammarVocabulary:
    return GrammarVocabulary(tokenizer, tokenizer.vocab_size, {tokenizer.added_tokens["<|im_end|>"]})


def call(name: str, **values: str) -> str:
    parameters = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in values.items())
    return f"<tool_call>\n<function={name}>\n{parameters}</function>\n</tool_call>"


def begin(vocabulary: GrammarVocabulary, functions: Mapping[str, Mapping[str, Any] | None]) -> Constraint:
    calls = call_rules(functions)
    return vocabulary.constraint("the schema", {"lark_grammar": "start: calls" + calls.rules}, *calls.grammars)


def accepts(tokenizer: Tokenizer, vocabulary: GrammarVocabulary, text: str) -> bool:
    constraint = begin(vocabulary, FUNCTIONS)
    for token in tokenizer.encode(text, allow_special=True):
        if not constraint.allowed[token]:
            return False
        constraint.consume(token)
    return bool(constraint.allowed[tokenizer.added_tokens["<|im_end|>"]])


NEEDED = {"city": "Rome", "unit": "celsius"}


@pytest.mark.parametrize(
    "text",
    [
        call("get weather", **NEEDED),
        call("get weather", unit="7", city="two\nlines\n\nand </param of it < / > {"),
        call("get weather", city="", unit="null"),
        call("get weather", days="14", city="x", hours="[1, 2.5,\n  3]", unit='in "F"\\'),
        call("get weather", **NEEDED, place='{"lat": -1.5e3}'),
        call("get weather", code="AB/12", **NEEDED, note="abcde"),
        call("get weather", short="abcd", word="xxabby", flag="true", kind="null", **NEEDED),
        call("ping"),
        call("free", anything="1", other="\n<tool>\n"),
        call("free"),
        call("ping") + "\n" + call("get weather", **NEEDED) + "\n" + call("ping"),
    ],
)
def test_good_calls(tokenizer: Tokenizer, vocabulary: GrammarVocabulary, text: str) -> None:
    assert accepts(tokenizer, vocabulary, text)
    tools = [{"name": name, "parameters": schema or {}} for name, schema in FUNCTIONS.items()]
    router = Router(False, tools)
    deltas = [delta for delta in [*router.feed(text), *router.finish()] if delta.piece is None]
    assert len(deltas) == text.count("<tool_call>")
    for delta in deltas:
        assert delta.tool_call is not None
        if delta.tool_call.name == "get weather":
            jsonschema.validate(delta.tool_call.arguments, WEATHER)


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        call("pong"),
        call("ping", city="x"),
        call("get weather"),
        call("get weather", city="Rome"),
        call("get weather", **NEEDED, other="1"),
        call("get weather", **NEEDED, days="15"),
        call("get weather", **NEEDED, days="many"),
        call("get weather", **NEEDED, hours='["1"]'),
        call("get weather", **NEEDED, place="{}"),
        call("get weather", **NEEDED, code="AB12"),
        call("get weather", **NEEDED, code="xAB/12"),
        call("get weather", **NEEDED, short="a"),
        call("get weather", **NEEDED, short="abcde"),
        call("get weather", **NEEDED, word="aa"),
        call("get weather", **NEEDED, flag="1"),
        call("get weather", **NEEDED, kind="z"),
        call("get weather", **NEEDED, note="abcde and more"),
        call("get weather", city="Rome", unit="kelvin"),
        call("get weather", city="Rome</parameter> and", unit="celsius"),
        call("get weather", **NEEDED).replace("unit>", "city>"),
        call("ping") + call("ping"),
        call("ping") + "\n\nDone.",
        call("ping").replace("</tool_call>", ""),
    ],
)
def test_bad_calls(tokenizer: Tokenizer, vocabulary: GrammarVocabulary, text: str) -> None:
    assert not accepts(tokenizer, vocabulary, text)


@pytest.mark.parametrize("name", ["", " a", "a>b", "a\nb", "<a", "\ud800"])
def test_names_that_the_syntax_cannot_hold(vocabulary: GrammarVocabulary, name: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be called"):
        call_rules({name: {}})
    dotted = re.sub("[^a-z ]", "_", name).replace(" ", "_")
    calls = call_rules({name: {}, "good": {"properties": {name: {}, "b": {}}, "required": [name, "b"]}})
    assert calls.left_out == [f"tools.{dotted}.name", f"tools.good.parameters.properties.{dotted}"]
    assert {function: bool(lost) for function, lost in calls.lost.items()} == {name: True, "good": True}


@pytest.mark.parametrize("count", [64, 65, 200])
def test_many_parameters(tokenizer: Tokenizer, vocabulary: GrammarVocabulary, count: int) -> None:
    """Each at most once, the required ones at least; beyond 64 in an order of groups."""
    names = [f"p{number}" for number in range(count)]
    schema = {"properties": {name: {} for name in names}, "required": [names[-1], "p0"]}

    def fits(*given: str) -> bool:
        constraint = begin(vocabulary, {"f": schema})
        for token in tokenizer.encode(call("f", **dict.fromkeys(given, "x")), allow_special=True):
            if not constraint.allowed[token]:
                return False
            constraint.consume(token)
        return bool(constraint.allowed[tokenizer.added_tokens["<|im_end|>"]])

    assert fits("p0", names[-1])
    assert fits("p7", names[-1], "p0", "p3")
    assert fits(names[-1], "p0", *names[1:-1])
    assert not fits("p0")
    assert not fits(*names[:-1])
    assert call_rules({"f": schema}).left_out == []


def test_schemas_that_cannot_be_held_to(vocabulary: GrammarVocabulary) -> None:
    for bad, left_out in (
        ({"type": "object", "not": {}}, ["tools.f.parameters.properties.a.not"]),
        ({"type": "integer", "minimum": 3, "maximum": 1}, ["tools.f.parameters"]),
        ({"type": "string", "pattern": "("}, ["tools.f.parameters.properties.a.pattern"]),
    ):
        functions = {"f": {"properties": {"a": bad}, "required": ["a"]}}
        begin(vocabulary, functions)
        assert call_rules(functions).left_out == left_out


@pytest.mark.parametrize(
    ("pattern", "bare"),
    [("^a$", "a"), ("a", "a"), (r"a\$", r"a\$"), (r"a\\$", r"a\\"), ("^", ""), ("$", ""), ("a|b$", "a|b")],
)
def test_anchors_at_the_ends(pattern: str, bare: str) -> None:
    assert full_match(pattern) == bare


def test_terminals() -> None:
    assert literal('é"\n\\') == '"é\\"\\n\\\\"'
    assert regex_terminal(r"a/b\/c\\/" + "\n") == r"/a\/b\/c\\\/\n/"


@pytest.mark.parametrize(
    "schema",
    [5, None, True, [], "x", {"type": 5}, {"type": [{}, "string"]}, {"enum": 3}, {"anyOf": [1]}, {"$ref": "#/a/b"}],
)
def test_schemas_that_say_nothing_allow_any_text(
    tokenizer: Tokenizer, vocabulary: GrammarVocabulary, schema: Any
) -> None:
    constraint = begin(vocabulary, {"f": {"properties": {"a": schema}, "required": ["a", 7]}})
    for token in tokenizer.encode(call("f", a="any\ntext {"), allow_special=True):
        assert constraint.allowed[token]
        constraint.consume(token)
    assert constraint.ended is None


@pytest.mark.parametrize(
    "parameters",
    [
        {"$ref": "#/$defs/args", "$defs": {"args": {"properties": {"n": {"type": "integer"}}, "required": ["n"]}}},
        {"allOf": [{"type": "object"}, {"properties": {"n": {"type": "integer"}}, "required": ["n"]}]},
        {"type": "object", "anyOf": [{"properties": {"n": {"type": "integer"}}, "required": ["n"]}]},
    ],
)
def test_parameters_by_reference_and_combined(
    tokenizer: Tokenizer, vocabulary: GrammarVocabulary, parameters: dict[str, Any]
) -> None:
    """The grammar has them, and arguments get their types."""
    for value, good in (("17", True), ("many", False)):
        constraint = begin(vocabulary, {"f": parameters})
        tokens = tokenizer.encode(call("f", n=value), allow_special=True)
        fits = True
        for token in tokens:
            fits = fits and bool(constraint.allowed[token])
            constraint.consume(token)
        assert fits is good
    router = Router(False, [{"name": "f", "parameters": parameters}])
    calls = [delta.tool_call for delta in router.feed(call("f", n="17")) if delta.tool_call is not None]
    assert [one.arguments for one in calls] == [{"n": 17}]


def test_schemas_that_refer_to_themselves_again_and_again() -> None:
    """Each part is looked at once."""
    again: dict[str, Any] = {"anyOf": [{"$ref": "#/$defs/a"} for _ in range(20)] + [{"type": "integer"}]}
    schema = {"$defs": {"a": again}, "properties": {"n": {"$ref": "#/$defs/a"}}, "allOf": [{"$ref": "#"}] * 9}
    assert coerce_arguments({"n": "5"}, schema) == {"n": 5}
    assert call_rules({"f": schema}).left_out == []
