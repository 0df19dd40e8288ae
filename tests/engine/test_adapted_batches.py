"""The same tokens with adapters however they are computed: alone, beside others, in pieces, from caches, by drafts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_adapters import adapter_of_demo

from qwill import LLM, SamplingParams
from qwill.answer import Answer
from qwill.errors import InvalidArgument

GREEDY = SamplingParams(temperature=0, max_tokens=16, ignore_eos=True)
SEEDED = SamplingParams(temperature=1.2, top_p=0.95, seed=11, max_tokens=16, ignore_eos=True)
CONTEXT = 512
BEGINNING = "The same beginning of many prompts, which is long enough to be kept. " * 3
PROMPTS = [BEGINNING + end for end in ("One", "Two things", "Three more things to say")]
CHOICES: list[Any] = [None, "all", "mixers", "experts", {"all": 0.5}, {"mixers": 1, "experts": -0.5}]


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("adapters")
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    wanted = {
        "all": lambda name: True,
        "mixers": lambda name: "attn" in name or "ssm" in name,
        "experts": lambda name: "shexp" in name or "ffn_gate_inp" in name,
    }
    return {
        name: f"{adapter_of_demo(folder / f'{name}.gguf', seed + number, chosen)}={1 + number / 4}"
        for number, (name, chosen) in enumerate(wanted.items())
    }


def asked() -> list[tuple[str, Any]]:
    return [(prompt, choice) for prompt in PROMPTS for choice in CHOICES]


def finished(llm: LLM, params: SamplingParams) -> list[Answer]:
    answers = [
        llm.answer(prompt, replace(params, seed=number), lora=choice) for number, (prompt, choice) in enumerate(asked())
    ]
    for _ in llm.steps(answers):
        pass
    llm.engine.scheduler.check_integrity()
    return answers


def tokens(answers: list[Answer]) -> list[list[int]]:
    return [answer.request.output_ids for answer in answers]


@pytest.fixture(scope="module")
def alone(adapters: dict[str, str]) -> dict[bool, list[list[int]]]:
    """Answers one at a time."""
    llm = LLM("demo", max_context=CONTEXT, max_sequences=1, prefix_cache=False, lora=adapters)
    return {sampled: tokens(finished(llm, SEEDED if sampled else GREEDY)) for sampled in (False, True)}


@pytest.mark.parametrize("sampled", [False, True], ids=["greedy", "sampled"])
@pytest.mark.parametrize(
    ("batch", "chunk", "cached", "drafts", "pages"),
    [(16, 512, False, 0, 8), (5, 16, True, 3, 32), (16, 64, True, 2, 32), (7, 512, False, 4, 1)],
)
def test_beside_others(
    batch: int, chunk: int, cached: bool, drafts: int, pages: int, sampled: bool, adapters: dict[str, str],
    alone: dict[bool, list[list[int]]],
) -> None:  # fmt: skip
    llm = LLM(
        "demo", max_context=CONTEXT, max_sequences=batch, step_tokens=chunk, prefix_cache=cached, speculative=drafts,
        cache_tokens=pages * CONTEXT, lora=adapters,
    )  # fmt: skip
    for again in range(2 if cached else 1):
        answers = finished(llm, SEEDED if sampled else GREEDY)
        assert tokens(answers) == alone[sampled]
        assert not again or all(answer.request.cached for answer in answers)


def test_each_set_computes_something_else(adapters: dict[str, str]) -> None:
    llm = LLM("demo", max_context=CONTEXT, lora=adapters)
    params = replace(GREEDY, logprobs=0)
    answers = [llm.answer(PROMPTS[0], params, lora=choice) for choice in CHOICES]
    for _ in llm.steps(answers):
        pass
    assert len({answer.request.samples[0].logprob for answer in answers}) == len(CHOICES)


def test_without_adapters_as_if_there_were_none(alone: dict[bool, list[list[int]]]) -> None:
    llm = LLM("demo", max_context=CONTEXT, prefix_cache=False)
    plain = [answer.output_ids for answer in (llm.answer(prompt, GREEDY).request for prompt in PROMPTS)]
    answers = [llm.answer(prompt, GREEDY) for prompt in PROMPTS]
    for _ in llm.steps(answers):
        pass
    assert plain == [[], [], []]
    assert tokens(answers) == alone[False][:: len(CHOICES)]


def test_a_disk_cache_keeps_them_apart(
    tmp_path: Path, adapters: dict[str, str], alone: dict[bool, list[list[int]]]
) -> None:
    for again in (False, True):
        llm = LLM("demo", max_context=CONTEXT, disk_cache=tmp_path, lora=adapters, cache_tokens=8 * CONTEXT)
        answers = finished(llm, GREEDY)
        assert tokens(answers) == alone[False]
        assert not again or all(answer.request.cached for answer in answers)
        llm.close()
    plain = LLM("demo", max_context=CONTEXT, disk_cache=tmp_path)
    answers = [plain.answer(prompt, GREEDY) for prompt in PROMPTS]
    for _ in plain.steps(answers):
        pass
    assert tokens(answers) == alone[False][:: len(CHOICES)]
    assert all(answer.request.cached for answer in answers), "what is computed without adapters does not depend on them"


def test_a_session_of_an_adapter_is_none_of_the_model(tmp_path: Path, adapters: dict[str, str]) -> None:
    chat = [{"role": "user", "content": BEGINNING}]
    changed = LLM("demo", max_context=CONTEXT, lora=adapters["all"])
    said = changed.chat(chat, GREEDY).text
    messages = [*chat, {"role": "assistant", "content": said}]
    assert changed.save_session(tmp_path / "session", messages) > 0
    question = {"role": "user", "content": "And?"}
    for lora, found in ((adapters["all"], True), (None, False), (adapters["mixers"], False)):
        llm = LLM("demo", max_context=CONTEXT, lora=lora)
        loaded = llm.load_session(tmp_path / "session")
        answer = llm.reply([*loaded, question], GREEDY)
        for _ in llm.steps([answer]):
            pass
        assert (answer.request.cached > 0) == found
        fresh = LLM("demo", max_context=CONTEXT, lora=lora, prefix_cache=False)
        assert fresh.chat([*loaded, question], GREEDY).token_ids == answer.request.output_ids


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("other", "no such adapter here of 3; there is all, mixers, experts"),
        ({"all": float("nan")}, "the scale must be a number"),
        ({3: 1.0}, "no such adapter"),
        ({-1: 1.0}, "no such adapter"),
    ],
)
def test_what_is_not_here_is_said(choice: Any, said: str, adapters: dict[str, str]) -> None:
    llm = LLM("demo", max_context=CONTEXT, lora=adapters)
    with pytest.raises(InvalidArgument, match=said):
        llm.answer("Hi", lora=choice)


def test_by_number(adapters: dict[str, str]) -> None:
    llm = LLM("demo", max_context=CONTEXT, lora=adapters)
    (named,) = llm.generate(PROMPTS[0], GREEDY, lora={"mixers": 1, "experts": -0.5})
    (numbered,) = llm.generate(PROMPTS[0], GREEDY, lora={1: 1.0, 2: -0.5, 0: 0})
    (plain,) = llm.generate(PROMPTS[0], GREEDY)
    (off,) = llm.generate(PROMPTS[0], GREEDY, lora={})
    assert numbered.token_ids == named.token_ids
    assert plain.token_ids == off.token_ids
