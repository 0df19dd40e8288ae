"""Drafts change no answer: the same tokens with and without them, also beside other requests and in pieces."""

from collections.abc import Sequence

import numpy as np
import pytest

from qwill import LLM, SamplingParams

QUESTIONS = (
    "What is 17 + 25?", "Count to five in Spanish.", "What is 8 * 7?", "Say hello in German.",
    "Reverse: meno tiru sola", "Sort: 31 4 15 9", "What can you do?", "How many letters does 'banana' have?",
)  # fmt: skip


@pytest.fixture(scope="module")
def plain() -> LLM:
    return LLM("demo", max_context=512, cache_tokens=4096)


@pytest.fixture(scope="module", params=[1, 2, 4, True])
def drafting(request: pytest.FixtureRequest) -> LLM:
    return LLM("demo", max_context=512, cache_tokens=4096, speculative=request.param)


def chats(llm: LLM, params: SamplingParams, thinking: bool, together: bool) -> list[list[int]]:
    conversations = [[{"role": "user", "content": question}] for question in QUESTIONS]
    if together:
        return [answer.token_ids for answer in llm.chat(conversations, params, thinking=thinking)]
    return [llm.chat(one, params, thinking=thinking).token_ids for one in conversations]


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=0, max_tokens=60),
        SamplingParams(temperature=1, top_p=0.95, top_k=20, presence_penalty=1.5, seed=5, max_tokens=60),
        SamplingParams(temperature=2, top_p=1, top_k=0, seed=9, max_tokens=40),
    ],
    ids=["greedy", "sampled", "wild"],
)
def test_same_tokens(plain: LLM, drafting: LLM, params: SamplingParams, thinking: bool) -> None:
    expected = chats(plain, params, thinking, together=False)
    assert len({tuple(tokens) for tokens in expected}) > 4
    for together in (False, True):
        assert chats(drafting, params, thinking, together) == expected


def test_drafts_are_accepted() -> None:
    """Four drafts a step are right so often that an answer takes less than half as many steps as tokens."""
    llm = LLM("demo", max_context=512, speculative=4)
    answer = llm.answer("12 + 30 =", SamplingParams(temperature=0, max_tokens=200, ignore_eos=True))
    steps = sum(1 for _ in llm.steps([answer]))
    assert len(answer.request.output_ids) == 200
    assert steps < 100


@pytest.mark.parametrize("stop", ["4", "is", " "])
def test_stop_strings_end_within_a_step(plain: LLM, drafting: LLM, stop: str) -> None:
    params = SamplingParams(temperature=0, max_tokens=60, stop=[stop])
    for question in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        expected, got = (llm.chat(messages, params) for llm in (plain, drafting))
        assert (got.text, got.reasoning, got.token_ids) == (expected.text, expected.reasoning, expected.token_ids)
        assert got.finish_reason == expected.finish_reason
        assert got.usage == expected.usage


def test_logprobs_are_the_same(plain: LLM, drafting: LLM) -> None:
    params = SamplingParams(temperature=0.7, seed=3, max_tokens=40, logprobs=3)
    expected, got = (llm.generate(["17 + 25 ="], params)[0].logprobs for llm in (plain, drafting))
    assert got == expected


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_no_token_too_many(plain: LLM, drafting: LLM, count: int) -> None:
    params = SamplingParams(temperature=0, max_tokens=count, ignore_eos=True)
    expected, got = (llm.generate(["3 + 4 ="], params)[0] for llm in (plain, drafting))
    assert got.token_ids == expected.token_ids
    assert len(got.token_ids) == count


def test_given_tokens_between_steps(plain: LLM, drafting: LLM) -> None:
    """Tokens put into an answer take the place of its drafts."""

    def run(llm: LLM, least: int) -> tuple[int, list[int]]:
        answer = llm.answer("12 + 30 =", SamplingParams(temperature=0, max_tokens=40, ignore_eos=True))
        request, given_at = answer.request, 0
        for _ in llm.steps([answer]):
            if not given_at and len(request.output_ids) >= least:
                given_at = len(request.output_ids)
                request.extend([40, 41, 42])
        return given_at, request.output_ids

    given_at, got = run(drafting, 6)
    assert run(plain, given_at) == (given_at, got)


def test_a_request_leaves_nothing_behind(drafting: LLM) -> None:
    answers = [drafting.answer(question, SamplingParams(temperature=0, max_tokens=50)) for question in QUESTIONS]
    for number, _ in enumerate(drafting.steps(answers)):
        if number == 4:
            answers[2].request.finish_reason = answers[5].request.finish_reason = "stop"
    drafting.engine.scheduler.check_integrity()


@pytest.mark.parametrize("seed", range(3))
def test_wrong_drafts_leave_nothing(seed: int) -> None:
    """Prompts of random tokens have random answers, most of whose drafts are wrong."""
    rng = np.random.default_rng(seed)

    def answers(llm: LLM, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        params = SamplingParams(temperature=1.5, seed=1, max_tokens=48, ignore_eos=True)
        return [answer.token_ids for answer in llm.generate(prompts, params)]

    prompts = [rng.integers(0, 2000, int(count)).tolist() for count in rng.integers(1, 60, 12)]
    plain, drafting = (LLM("demo", max_context=256, cache_tokens=2048, speculative=drafts) for drafts in (0, 3))
    assert answers(drafting, prompts) == answers(plain, prompts)
