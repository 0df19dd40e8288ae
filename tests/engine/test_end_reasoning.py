"""Reasoning that is ended while it is written is closed as a budget of the same length closes it."""

from typing import Any

import pytest

from qwill import LLM, SamplingParams
from qwill.answer import Answer
from qwill.engine.rules import Rules

QUESTIONS = ("What is 17 + 25?", "What is 8 * 7?", "Sort: 31 4 15 9")
MOST = 90
GREEDY = {"temperature": 0}
SAMPLED = {"temperature": 1.5, "top_k": 0, "top_p": 1, "seed": 3, "presence_penalty": 1}
NUMBER = {"json_schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}
OTHERS: list[dict[str, Any]] = [{}, {"max_thinking_tokens": 60}, {"loop_detection": True}, NUMBER]


@pytest.fixture(scope="module", params=[0, 3, True], ids=["alone", "drafts", "adaptive"])
def llm(request: pytest.FixtureRequest) -> LLM:
    return LLM("demo", max_context=512, cache_tokens=4096, speculative=request.param)


def reply(llm: LLM, question: str, **more: Any) -> Answer:
    thinking = more.pop("thinking", True)
    params = SamplingParams(**{"max_tokens": MOST, **more})
    return llm.reply([{"role": "user", "content": question}], params, thinking=thinking)


def thoughts(llm: LLM, answer: Answer) -> int:
    assert llm.tokenizer is not None
    tag, ids = llm.tokenizer.added_tokens["</think>"], answer.request.output_ids
    return ids.index(tag) if tag in ids else len(ids)


@pytest.mark.parametrize("others", OTHERS, ids=["free", "budget", "loops", "schema"])
@pytest.mark.parametrize("drawn", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_as_a_budget_does(llm: LLM, drawn: dict[str, Any], others: dict[str, Any]) -> None:
    for steps in (0, 1, 4):
        answers = [reply(llm, question, **drawn, **others) for question in QUESTIONS]
        lengths: list[int] = []
        if not steps:
            assert all(answer.end_reasoning() for answer in answers)
            lengths = [0] * len(answers)
        for step, _ in enumerate(llm.steps(answers), start=1):
            if step == steps:
                before = [len(answer.request.output_ids) for answer in answers]
                open_still = [thoughts(llm, answer) == length for answer, length in zip(answers, before, strict=True)]
                assert [answer.end_reasoning() for answer in answers] == open_still
                assert not any(answer.end_reasoning() for answer in answers)  # they end already
                lengths = [n if still else MOST for n, still in zip(before, open_still, strict=True)]
        assert any(length < MOST for length in lengths)
        for question, answer, length in zip(QUESTIONS, answers, lengths, strict=True):
            if length == MOST:
                continue
            expected = reply(llm, question, **drawn, **{**others, "max_thinking_tokens": length})
            list(llm.steps([expected]))
            assert answer.request.output_ids == expected.request.output_ids
            assert answer.completion().text == expected.completion().text
            assert answer.completion().text


def test_nothing_to_end(llm: LLM) -> None:
    closed = reply(llm, QUESTIONS[0], **GREEDY, thinking=False)
    assert not closed.end_reasoning()
    thinking = reply(llm, QUESTIONS[0], **GREEDY)
    plain = reply(llm, QUESTIONS[0], **GREEDY)
    ended: list[bool] = []
    for _ in llm.steps([thinking]):
        if thinking.completion().text:
            ended.append(thinking.end_reasoning())
    list(llm.steps([plain]))
    assert ended
    assert not any(ended)
    assert not thinking.end_reasoning()  # it is finished
    assert thinking.request.output_ids == plain.request.output_ids


def test_raw_texts_and_what_else_holds(llm: LLM) -> None:
    raw = "<|im_start|>user\nWhat is 17 + 25?<|im_end|>\n<|im_start|>assistant\n<think>\n"
    answer = llm.answer(raw, SamplingParams(temperature=0, max_tokens=MOST))
    assert answer.end_reasoning()
    list(llm.steps([answer]))
    assert answer.completion().text.startswith("\n</think>\n\n")
    none = llm.answer("17 + 25 =", SamplingParams(temperature=0, max_tokens=4))
    assert not none.end_reasoning()
    forbidding = reply(llm, QUESTIONS[0], **GREEDY)
    assert llm.tokenizer is not None
    first = llm.tokenizer.encode("17")[0]
    forbidding.request.sampler.rules = Rules(forbidden=[first])
    assert forbidding.end_reasoning()
    list(llm.steps([forbidding]))
    assert first not in forbidding.request.output_ids
