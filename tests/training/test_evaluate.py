"""The evaluation: its questions, which answers count as right, drafts, and the tables of the model card."""

import json
import random
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from training.data import PADS, encode, positions, token_id
from training.evaluate import DRAFTS, LONG, arguments, tables
from training.evaluation import asking, drafts, long_context, tasks
from training.evaluation.asking import Turn, turns
from training.evaluation.card import CARD, Table, write_section
from training.evaluation.judging import follows, is_right
from training.examples import Example
from training.tasks import arithmetic, compare, needle, order, pictures, reading, structured, text, tools, video
from training.vision import patches

from qwill import LLM, SamplingParams
from qwill.engine.engine import PAGE_SIZE
from qwill.model.batch import allocate_cache
from qwill.prompt import PromptBuilder
from qwill.quant.types import TYPES

EVERY_GENERATOR = (*text.TASKS, *text.FIRST_TASKS, order.order, *pictures.TASKS)
CHAINED = ("tools: chain", "tools: result")  # rows with calls before the last answer


@pytest.fixture(scope="module")
def llm(folder: Path) -> LLM:
    return LLM(str(folder), threads=1)


def completion(turn: Turn, **changes: Any) -> SimpleNamespace:
    """What qwill gives for the right answer, and what is otherwise."""
    return SimpleNamespace(**({"text": turn.text, "tool_calls": json.loads(json.dumps(turn.calls))} | changes))


def wrong_answers(turn: Turn) -> list[SimpleNamespace]:
    given = [completion(turn, tool_calls=[*turn.calls, {"name": "none", "arguments": {}}])]
    given.append(completion(turn, text=turn.text + "!"))
    if turn.text:
        given.append(completion(turn, text=turn.text[:-1]))
    for index, call in enumerate(turn.calls):
        others = [*turn.calls[:index], *turn.calls[index + 1 :]]
        given.append(completion(turn, tool_calls=others))
        given.append(completion(turn, tool_calls=[*others, {**call, "name": call["name"] + "s"}]))
        for key, value in call["arguments"].items():
            spoiled = value + " " if isinstance(value, str) else str(value)
            arguments = {**call["arguments"], key: spoiled}
            calls = [*turn.calls[:index], {**call, "arguments": arguments}, *turn.calls[index + 1 :]]
            given.append(completion(turn, tool_calls=calls))
    return given


def test_every_task_has_a_row_and_every_row_a_task(seed: int) -> None:
    rng = random.Random(seed)
    drawn = {generator(rng, True).task for generator in EVERY_GENERATOR for _ in range(40)}
    assert drawn == set(tasks.ROWS)
    assert {row.generator for row in tasks.ROWS.values()} == set(EVERY_GENERATOR)


@pytest.mark.parametrize("row", tasks.ROWS)
def test_right_answers_are_right_and_wrong_ones_wrong(row: str, seed: int) -> None:
    for example in tasks.held_out_examples(row, seed, 3):
        asked = list(turns(example))
        assert example.task == row
        assert len(asked) == 1 + sum(m["role"] == "assistant" for m in example.messages) * (row in CHAINED)
        for turn in asked:
            assert is_right(turn, completion(turn))
            assert is_right(turn, completion(turn, text=f"\n{turn.text} "))
            assert not any(is_right(turn, given) for given in wrong_answers(turn))


def test_examples_of_a_row_depend_on_nothing_but_the_seed() -> None:
    first, again, other = (tasks.held_out_examples("languages", seed, 20) for seed in (1, 1, 2))
    assert [example.messages for example in first] == [example.messages for example in again]
    assert [example.messages for example in first] != [example.messages for example in other]


def test_expected_calls_are_those_that_are_written(seed: int) -> None:
    """Against a reading of the syntax of its own, without types."""
    for example in tasks.held_out_examples("tools: parallel", seed, 20):
        (turn,) = turns(example)
        written = [
            (name, dict(re.findall(r"<parameter=(\w+)>\n(.*?)\n</parameter>", body)))
            for name, body in re.findall(r"<function=(\w+)>\n(.*?)</function>", example.answer, re.DOTALL)
        ]
        assert turn.text == ""
        assert written == [(c["name"], {k: str(v) for k, v in c["arguments"].items()}) for c in turn.calls]


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ('{"age": 7, "student": true}', True),
        ('{ "student":true,"age":7 }', True),
        ('{"age": 7.0, "student": true}', False),
        ('{"age": "7", "student": true}', False),
        ('{"age": 7, "student": 1}', False),
        ('{"age": true, "student": true}', False),
        ('{"age": 7}', False),
        ('{"age": 7, "student": true, "name": "Eva"}', False),
        ('{"age": 7, "student": true', False),
        ('Here: {"age": 7, "student": true}', False),
    ],
)
def test_json_is_judged_by_value_and_type(given: str, right: bool) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}, "student": {"type": "boolean"}}}
    turn = Turn([], [], False, False, '{"age": 7, "student": true}', [], schema)
    assert is_right(turn, completion(turn, text=given)) == right


def test_every_asked_json_follows_its_schema(seed: int) -> None:
    for example in tasks.held_out_examples("JSON to a schema", seed, 50):
        (turn,) = turns(example)
        assert turn.schema is not None
        wanted = json.loads(example.answer)
        assert follows(wanted, turn.schema)
        key, kind = next(iter(turn.schema["properties"].items()))
        assert not follows({**wanted, key: None if kind["type"] == "string" else "?"}, turn.schema)
        if "enum" in kind:
            assert not follows({**wanted, key: "?"}, turn.schema)


@pytest.mark.parametrize(
    "generator",
    [arithmetic.plain_text, arithmetic.sums, reading.reading, compare.comparison, video.order, tools.chain,
     structured.structured, needle.needle],
)  # fmt: skip
def test_qwill_asks_what_the_model_was_trained_on(llm: LLM, tokenizer: Tokenizer, generator: Any, seed: int) -> None:
    """Token ids, positions and pixels of the prompt, bit by bit but for the rounding of the pixels."""
    prompts = PromptBuilder(llm.checkpoint, llm.tokenizer, True)
    pads = tuple(token_id(tokenizer, pad) for pad in PADS)
    rng = random.Random(seed)
    for held_out in (True, False):
        example: Example = generator(rng, held_out)
        trained = encode(example, tokenizer)
        *_, turn = turns(example)
        if turn.raw:
            prompt = prompts.tokens(turn.messages[0]["content"])
        else:
            prompt = prompts.conversation(turn.messages, turn.tools or None, turn.thinking).prompt
        count = len(prompt.token_ids)
        places = positions(trained, pads)
        assert prompt.token_ids == trained.ids[:count]
        assert all(trained.trained[count:])
        np.testing.assert_array_equal(prompt.positions, places[:, :count])
        assert prompt.next_position == places[0, count]
        seen = []
        for part in prompt.media:
            _, height, width = part.patches.grid
            first = 4 * part.first_row  # four patches make a token
            seen.append(part.patches.pixels[first : first + height * width])
        for given, placed in zip(seen, trained.media, strict=True):
            frames = placed.frames if len(placed.frames) == 2 else np.repeat(placed.frames, 2, 0)
            np.testing.assert_allclose(given, patches(frames), atol=1e-6)  # of values up to 1: some float32 roundings


def test_earlier_calls_of_a_chain_are_asked_as_they_were_trained(llm: LLM, tokenizer: Tokenizer, seed: int) -> None:
    prompts = PromptBuilder(llm.checkpoint, llm.tokenizer, True)
    example = tools.chain(random.Random(seed), True)
    trained = encode(example, tokenizer)
    for turn in turns(example):
        prompt = prompts.conversation(turn.messages, turn.tools or None, turn.thinking).prompt.token_ids
        assert prompt == trained.ids[: len(prompt)]
        assert trained.trained[len(prompt)]
        assert not trained.trained[len(prompt) - 1]


def test_a_random_model_gets_a_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "GREEDY", SamplingParams(temperature=0, max_tokens=6))
    monkeypatch.setattr(drafts, "TEXT_ROWS", ["arithmetic, plain text", "tools: chain"])
    # The small tokenizer needs more tokens for a text.
    halved = [case._replace(characters=case.characters // 2) for case in long_context.CASES[1:]]
    monkeypatch.setattr(long_context, "CASES", halved)
    rows = ["arithmetic, plain text", "tools: chain", "picture: comparison", "video: order"]
    options = arguments(["--model", str(folder), "--count", "2", "--threads", "1", "--only", *rows, LONG, DRAFTS])
    facts, accuracy, lengths, drafted = tables(options)
    assert "16 of width 64, 4 per token" in facts.markdown()
    assert [row[:4] for row in accuracy.rows] == [(row, "0", "2", "0.0%") for row in rows]
    assert [row[1:4] for row in lengths.rows] == [("0", "2", "0.0%")] * 2
    assert [row[0] for row in drafted.rows] == ["all text tasks", "arithmetic, plain text", "tools: chain"]


def test_the_card_gets_all_rows_or_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert arguments(["--card", "--only", LONG, DRAFTS]).card
    with pytest.raises(SystemExit):
        arguments(["--card", "--only", "greeting"])
    assert "all tasks or of none" in capsys.readouterr().err


def drafts_of(model: Any, tokens: list[int]) -> list[int]:
    """Three drafts after the last token, everything computed anew."""
    pages = -(-(len(tokens) + 3) // PAGE_SIZE)
    cache = allocate_cache(model.config.text, pages, PAGE_SIZE, 1, TYPES["F16"])
    table = [np.arange(pages, dtype=np.int32)]
    hidden = model.text.forward(drafts.batch([tokens[:-1]], [0], table), cache)
    state = model.mtp.forward(drafts.batch([tokens[1:]], [0], table), hidden, cache)[-1:]
    result = [int(model.text.logits(state).argmax())]
    for ahead in range(2):
        given = drafts.batch([result[-1:]], [len(tokens) - 1 + ahead], table)
        state = model.mtp.forward(given, state, cache)
        result.append(int(model.text.logits(state).argmax()))
    return result


def test_drafts_are_accepted_as_planned(llm: LLM, seed: int) -> None:
    """Answers made of the head's own drafts up to a wrong one, over pages and over steps of all kinds."""
    model = drafts.load(llm)
    rng = random.Random(seed)
    spoken, expected = [], Counter()
    for length in (3, 40, 29):
        plan = [3, 0, *rng.choices(range(4), k=rng.randint(3, 7))]
        tokens = [rng.randrange(900) for _ in range(length + 1)]
        for accepted in plan:
            drafted = [*drafts_of(model, tokens), rng.randrange(900)]
            tokens += drafted[:accepted]
            tokens.append(drafted[accepted] if accepted == 3 else (drafted[accepted] + 1) % 900)
        newest = length
        for accepted in plan:
            expected[min(3, len(tokens) - 1 - newest), accepted] += 1
            newest += accepted + 1
        spoken.append(drafts.Spoken(tokens[:length], tokens[length:]))
    tally = drafts.Tally()
    drafts.replay_all(model, spoken, tally)
    assert tally.steps == expected


def test_means_of_drafts() -> None:
    tally = drafts.Tally({(3, 3): 2, (3, 0): 1, (1, 1): 3})
    assert (tally.count(3), tally.count()) == (3, 6)
    assert (tally.accepted(3), tally.accepted()) == (2.0, 1.5)
    assert drafts.together({"one": tally, "other": tally}).steps == {(3, 3): 4, (3, 0): 2, (1, 1): 6}


def test_card_keeps_the_text_around_a_table(tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text("above\n<!-- a: begin -->\nold\n<!-- a: end -->\nbelow\n")
    for figure in ("1", "3"):
        write_section(card, Table("a", ("task", "right"), [("copy", figure)]))
    table = "| task | right |\n| --- | ---: |\n| copy | 3 |"
    assert card.read_text() == f"above\n<!-- a: begin -->\n{table}\n<!-- a: end -->\nbelow\n"


def test_the_card_has_a_place_for_every_table() -> None:
    text = CARD.read_text(encoding="utf-8")
    for name in ("facts", "accuracy", "needle", "drafts", "quantizations"):
        assert 0 < text.index(f"<!-- {name}: begin -->") < text.index(f"<!-- {name}: end -->")
    for picture in re.findall(r"\((\w+\.png)\)", text):
        assert (CARD.parent / picture).exists()
