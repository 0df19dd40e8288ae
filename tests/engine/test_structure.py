"""Answers follow their schema, expression or grammar, at any temperature and however they are computed."""

import json
import random
import re
import unicodedata
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from checkpoints import save_hf, tiny_config

from qwill import LLM, SamplingParams
from qwill.engine.rules import Rules, SpelledClosings
from qwill.engine.structure import GrammarVocabulary, structure_of
from qwill.errors import InvalidArgument
from qwill.guide import Turn
from qwill.text.tokenizer import Tokenizer

QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
WILD = {"temperature": 2.0, "top_k": 0, "top_p": 1.0}


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM("demo", max_context=1024, cache_tokens=8192)


@pytest.fixture(scope="module", params=[2, 4, True])
def drafting(request: pytest.FixtureRequest) -> LLM:
    return LLM("demo", max_context=1024, cache_tokens=8192, speculative=request.param)


def tokenizer_of(llm: LLM) -> Tokenizer:
    assert llm.tokenizer is not None
    return llm.tokenizer


def random_schema(generator: random.Random, depth: int = 2) -> dict[str, Any]:
    """Of values that end soon, whatever is drawn."""
    kinds = ["integer", "string", "enum", "boolean", "null", "const"] + (
        ["object", "array", "anyOf"] * 2 if depth else []
    )
    kind = generator.choice(kinds)
    if kind == "integer":
        least = generator.randint(-200, 100)
        return {"type": "integer", "minimum": least, "maximum": least + generator.randint(0, 500)}
    if kind == "string":
        return {"type": "string", "minLength": generator.randint(0, 2), "maxLength": generator.randint(2, 6)}
    if kind == "enum":
        return {"enum": generator.sample(["a", 'b\n"', "é", 1, 2.5, None, True, "</think>", "<tool_call>"], 3)}
    if kind == "const":
        return {"const": generator.choice(["x", -3, False])}
    if kind == "anyOf":
        return {"anyOf": [random_schema(generator, 0) for _ in range(2)]}
    if kind == "array":
        return {"type": "array", "items": random_schema(generator, depth - 1), "maxItems": 3}
    if kind == "object":
        names = generator.sample(["a", "b", "long name", "ключ"], generator.randint(1, 3))
        required = generator.sample(names, generator.randint(0, len(names)))
        properties = {name: random_schema(generator, depth - 1) for name in names}
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"type": kind}


def test_random_schemas_at_a_high_temperature(llm: LLM) -> None:
    generator = random.Random()
    ended = 0
    for thinking in (False, True):
        for _ in range(20):
            schema = random_schema(generator)
            params = SamplingParams(**WILD, max_tokens=200, max_thinking_tokens=10, json_schema=schema)
            answer = llm.chat(QUESTION, params, thinking=thinking)
            assert answer.finish_reason in ("stop", "length")
            assert bool(answer.reasoning) == thinking or not thinking
            if answer.finish_reason == "stop":
                ended += 1
                jsonschema.validate(json.loads(answer.text), schema)
    assert ended > 30


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, '{"type": "object"}'])
def test_any_object(llm: LLM, schema: Any) -> None:
    found = []
    for seed in range(12):
        params = SamplingParams(**WILD, seed=seed, max_tokens=400, json_schema=schema)
        answer = llm.chat(QUESTION, params, thinking=False)
        assert answer.text.startswith("{")
        if answer.finish_reason == "stop":
            found.append(json.loads(answer.text))
    assert found
    assert all(isinstance(value, dict) for value in found)


@pytest.mark.parametrize(
    "pattern",
    [
        r"[0-9]{3}-[a-f]+",
        r"^(yes|no)$",
        r"a/b\\?(c|d){2,4}",
        "(ä|ö|ü){1,5}",
        r"[0-9]{4}-[0-9][0-9]",  # \d has digits that this Python's Unicode does not know yet
        "^a$|^b$",
        r"x\$",
        r"\S{2,9}\n",
    ],
)
def test_regular_expressions(llm: LLM, pattern: str) -> None:
    for seed in range(4):
        params = SamplingParams(**WILD, seed=seed, max_tokens=60, regex=pattern)
        answers = [llm.chat(QUESTION, params, thinking=False), *llm.generate(["17 +"], params)]
        assert any(answer.finish_reason == "stop" for answer in answers)
        for answer in answers:
            if answer.finish_reason == "stop":
                said = tokenizer_of(llm).decode(answer.token_ids)
                assert re.fullmatch(pattern.replace("^a$|^b$", "a|b"), said), said


def test_a_grammar(llm: LLM) -> None:
    grammar = 'start: sum "=" NUMBER\nsum: NUMBER ("+" NUMBER){1,3}\nNUMBER: /[1-9][0-9]{0,2}/'
    for seed in range(5):
        answer = llm.generate(["2 + 2 ="], SamplingParams(**WILD, seed=seed, max_tokens=60, grammar=grammar))[0]
        assert re.fullmatch(r"[1-9][0-9]{0,2}(\+[1-9][0-9]{0,2}){1,3}=[1-9][0-9]{0,2}", answer.text)
        assert answer.finish_reason == "stop"


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize(
    "sampling",
    [{"temperature": 0}, {**WILD, "seed": 4}, {"temperature": 1.0, "presence_penalty": 1.5, "seed": 8}],
    ids=["greedy", "wild", "penalised"],
)
@pytest.mark.parametrize(
    "structure",
    [{"json_schema": PERSON}, {"regex": r"[a-z ]{20,60}\."}, {"json_schema": {}, "max_thinking_tokens": 4}],
    ids=["schema", "regex", "budget"],
)
def test_same_tokens_with_drafts_and_company(
    llm: LLM, drafting: LLM, structure: dict[str, Any], sampling: dict[str, Any], thinking: bool
) -> None:
    params = SamplingParams(**sampling, **structure, max_tokens=70, logprobs=2)
    texts = ("What is 17 + 25?", "Say hello in German.", "What can you do?")
    conversations = [[{"role": "user", "content": text}] for text in texts]
    alone = [llm.chat(one, params, thinking=thinking) for one in conversations]
    together = drafting.chat(conversations, params, thinking=thinking)
    for got, expected in zip(together, alone, strict=True):
        assert (got.token_ids, got.text, got.reasoning) == (expected.token_ids, expected.text, expected.reasoning)
        assert (got.finish_reason, got.logprobs) == (expected.finish_reason, expected.logprobs)


def test_the_reasoning_stays_free(llm: LLM) -> None:
    free = llm.chat(QUESTION, SamplingParams(temperature=0, max_tokens=90))
    bound = llm.chat(QUESTION, SamplingParams(temperature=0, max_tokens=90, json_schema=PERSON))
    assert bound.reasoning == free.reasoning != ""
    said = tokenizer_of(llm).decode(bound.token_ids, skip_special=False)
    assert said == f"{free.reasoning}\n</think>\n\n{bound.text}"
    jsonschema.validate(json.loads(bound.text), PERSON)


def test_log_probabilities_are_the_models_own(llm: LLM) -> None:
    """Not those that the mask leaves: the likeliest tokens may be forbidden ones."""
    answer = llm.chat(QUESTION, SamplingParams(temperature=0, regex="zzz", logprobs=1), thinking=False)
    free = llm.chat(QUESTION, SamplingParams(temperature=0, max_tokens=1, logprobs=1), thinking=False)
    assert answer.logprobs is not None
    assert free.logprobs is not None
    assert answer.logprobs[0].top == free.logprobs[0].top
    assert answer.logprobs[0].logprob < free.logprobs[0].logprob


def test_a_cut_answer_says_so(llm: LLM) -> None:
    answer = llm.chat(QUESTION, SamplingParams(temperature=0, max_tokens=3, json_schema=PERSON), thinking=False)
    assert answer.finish_reason == "length"
    answer = llm.generate(["a"], SamplingParams(temperature=0, max_tokens=1, regex="7"))[0]
    assert (answer.text, answer.finish_reason) == ("7", "stop")


def test_a_tokenizer_without_tags(tmp_path: Path) -> None:
    """There `</think>` is spelled, and what completes it may not begin the content with more."""
    save_hf(tmp_path, tiny_config(), tokenizer=True)
    tiny = LLM(str(tmp_path), max_context=512)
    assert "</think>" not in tokenizer_of(tiny).added_tokens
    params = SamplingParams(**WILD, seed=1, max_tokens=60, max_thinking_tokens=3, regex="[0-9]{1,4}")
    answer = tiny.chat(QUESTION, params)
    assert answer.finish_reason == "stop"
    assert re.fullmatch("[0-9]{1,4}", answer.text)


def test_ends_of_turn_do_not_end_the_reasoning(llm: LLM) -> None:
    """A model that would rather stop has to come to its answer."""
    params = SamplingParams(json_schema={"const": 1})
    rules = llm._guide.rules(params, [1], Turn(opened=True, thinking=True, functions={}))
    assert rules is not None
    allowed = np.isfinite(rules.restrict(np.zeros(tokenizer_of(llm).vocab_size, np.float32)))
    assert set(np.flatnonzero(~allowed).tolist()) == {*llm._eos_ids, tokenizer_of(llm).added_tokens["<tool_call>"]}
    for seed in range(3):
        hot = SamplingParams(
            temperature=1e6,
            top_k=0,
            top_p=1,
            seed=seed,
            max_tokens=700,
            max_thinking_tokens=600,
            json_schema={"const": 1},
        )
        answer = llm.chat(QUESTION, hot)
        assert not set(answer.token_ids) & llm._eos_ids
        assert answer.text == "1"


def test_white_space_ends(llm: LLM) -> None:
    """A model at a loss would write blanks up to the limit."""
    vocabulary = GrammarVocabulary(tokenizer_of(llm), tokenizer_of(llm).vocab_size, llm._eos_ids)
    for schema, most in (({}, 60), ({"x-guidance": {"whitespace_flexible": False}}, 0)):
        grammar, left_out = structure_of(SamplingParams(json_schema={"type": "array", **schema}))
        assert left_out == ()
        assert grammar is not None
        constraint = vocabulary.constraint("it", grammar)
        constraint.consume(tokenizer_of(llm).encode("[")[0])
        blanks = [token for text in "\n \t" for token in tokenizer_of(llm).encode(text)]
        count = 0
        while allowed := [token for token in blanks if constraint.allowed[token]]:
            constraint.consume(allowed[0])
            count += 1
            assert count <= most
        assert constraint.ended is None
        assert bool(count) == bool(most)


def test_a_spelled_closing_ends_the_reasoning_and_no_more(llm: LLM) -> None:
    tokenizer = tokenizer_of(llm)
    closings = SpelledClosings([b">", b">{", b"think>\n", b"think>", b"", b"</think>", b"k>x", b"/think>//"])
    assert [closings.after(begun).tolist() for begun in range(8)] == [[], [7], [2], [], [], [], [6], [1]]
    spelled = llm.answer(
        tokenizer.encode("<think>\n", allow_special=True),
        SamplingParams(temperature=0, max_tokens=40, max_thinking_tokens=20, regex="[a-z]{4}"),
    )
    spelled.request.extend(tokenizer.encode("a </think>"))
    for _ in llm.steps([spelled]):
        pass
    said = tokenizer.decode(spelled.request.output_ids, skip_special=False)
    assert re.fullmatch(r"a </think>\n\n[a-z]{4}", said)


@pytest.mark.parametrize("text", ["<ab>", "\n<think"])
def test_a_reasoning_that_the_answer_may_open(llm: LLM, text: str) -> None:
    """As when a template asks for reasoning and does not open it: the answer begins with `<think>` or its structure."""
    tokenizer = tokenizer_of(llm)
    size = tokenizer.vocab_size

    def follow(tokens: list[int]) -> Rules:
        params = SamplingParams(grammar=f"start: {json.dumps(text)}", max_thinking_tokens=3)
        rules = llm._guide.rules(params, [1], Turn(opened=False, thinking=True, functions={}))
        assert rules is not None
        for token in tokens:
            assert rules.forced in (None, token)
            if rules.forced is None:
                assert rules.restrict(np.zeros(size, np.float32))[token] == 0
            assert rules.finish_reason is None
            rules.commit(token)
        return rules

    assert follow(tokenizer.encode(text)).finish_reason == "stop"
    reasoned = tokenizer.encode("<think>\nHm\n</think>\n\n", allow_special=True)
    assert follow(reasoned + tokenizer.encode(text)).finish_reason == "stop"
    assert follow([]).restrict(np.zeros(size, np.float32))[tokenizer.encode("a")] == -np.inf
    assert follow([]).restrict(np.zeros(size, np.float32))[list(llm._eos_ids)].max() == -np.inf


def test_tokens_that_do_not_fit_end_the_answer(llm: LLM) -> None:
    """A caller can give such tokens, and a grammar can turn out to be too complex."""
    answer = llm.answer("a", SamplingParams(temperature=0, regex="[0-9]{9}", max_tokens=20))
    answer.request.extend(tokenizer_of(llm).encode("x"))
    for _ in llm.steps([answer]):
        pass
    assert answer.request.finish_reason == "error"
    assert answer.completion().finish_reason == "error"


@pytest.mark.parametrize(
    "structure", [{"regex": "(17 [+] 25; ){12}"}, {"json_schema": {"const": "17 + 25; " * 12}}], ids=["regex", "schema"]
)
def test_drafts_follow_the_structure(structure: dict[str, Any]) -> None:
    """Where it leaves no choice, all four of a step are right, whatever the model would say."""
    llm = LLM("demo", max_context=512, speculative=4)
    answer = llm.answer("Say hello.", SamplingParams(temperature=0, max_tokens=200, **structure))
    steps = sum(1 for _ in llm.steps([answer]))
    assert answer.request.finish_reason == "stop"
    assert len(answer.request.output_ids) > 60
    assert steps <= 1 + len(answer.request.output_ids) / 4


def test_members_that_are_not_nfc_come_out_as_they_are(llm: LLM) -> None:
    text = unicodedata.normalize("NFD", "café ñ")
    answer = llm.chat(QUESTION, SamplingParams(temperature=0, json_schema={"const": text}), thinking=False)
    assert json.loads(answer.text) == text
    assert answer.finish_reason == "stop"


def test_rows_of_the_head_without_a_token_are_forbidden(llm: LLM) -> None:
    tokenizer = tokenizer_of(llm)
    size = tokenizer.vocab_size + 77
    constraint = GrammarVocabulary(tokenizer, size, llm._eos_ids).constraint("it", {"lark_grammar": "start: /(?s:.*)/"})
    assert constraint.allowed.shape == (size,)
    allowed = set(np.flatnonzero(constraint.allowed).tolist())
    assert llm._eos_ids <= allowed
    assert max(allowed) < tokenizer.vocab_size
    assert not (allowed & set(tokenizer.added_tokens.values())) - llm._eos_ids
    constraint.consume(tokenizer.added_tokens["<think>"])
    assert constraint.ended == "error"


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        ({"json_schema": "{"}, "json_schema must be a JSON object \\("),
        ({"json_schema": "[1]"}, "json_schema must be a JSON object, not \\[1\\]"),
        ({"json_schema": {"const": float("nan")}}, "json_schema must be a JSON object \\("),
        ({"json_schema": {"const": b"1"}}, "json_schema must be a JSON object \\("),
        ({"json_schema": 5}, "json_schema must be a JSON object"),
        ({"json_schema": {"type": "strin"}}, "json_schema cannot be used: .*strin"),
        (
            {"json_schema": {"not": {}}, "strict_schema": True},
            r"json_schema is strict, and response_format\.not cannot",
        ),
        ({"json_schema": {"$ref": "#/$defs/none"}}, r"json_schema cannot be used: response_format\.\$ref: .*none"),
        ({"json_schema": {}, "strict_schema": 1}, "strict_schema must be true or false"),
        (
            {"json_schema": {"type": "object", "properties": {"a": False}, "required": ["a"]}},
            "json_schema cannot be used",
        ),
        ({"regex": "(a"}, "regex cannot be used: .*unclosed group"),
        ({"regex": "a(?=b)"}, "regex cannot be used: .*look-around"),
        ({"regex": ""}, "regex must be a text"),
        ({"regex": 3}, "regex must be a text"),
        ({"grammar": "start: nothing"}, "grammar cannot be used: .*nothing"),
        ({"grammar": "begin: /a/"}, "grammar cannot be used: .*start"),
        ({"grammar": " "}, "grammar must be a text"),
        ({"regex": "a", "grammar": "start: /a/"}, "give either regex or grammar"),
    ],
)
def test_bad_structures_are_refused_before_the_model_begins(llm: LLM, structure: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as caught:
        llm.generate(["a", "b"], SamplingParams(max_tokens=5, **structure))
    assert "\n" not in str(caught.value)
    assert not llm.engine.has_work


def test_params_keep_a_copy_of_the_schema() -> None:
    schema: dict[str, Any] = {"type": "object"}
    params = SamplingParams(json_schema=schema)
    schema["type"] = "string"
    assert params.json_schema == {"type": "object"}
    assert params.structure == "json_schema"
    assert SamplingParams().structure is None
