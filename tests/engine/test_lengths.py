"""Where an answer may end: not before it has enough tokens, and at tokens that a request names."""

import random
from dataclasses import replace

import numpy as np
import pytest

from qwill.engine.sampler import Sampler
from qwill.engine.sampling_params import SamplingParams
from qwill.errors import InvalidArgument
from qwill.llm import LLM

QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]
PARAMS = SamplingParams(temperature=0.8, seed=5, max_tokens=60)


@pytest.fixture(scope="module", params=[False, 4])
def llm(request: pytest.FixtureRequest) -> LLM:
    return LLM("demo", max_context=512, speculative=request.param)


def test_enough_tokens_come(llm: LLM) -> None:
    for least in (1, random.randint(2, 40), 60):
        params = replace(PARAMS, min_tokens=least, seed=random.randrange(2**32))
        completion = llm.chat(QUESTION, params, thinking=False)
        ended = completion.token_ids[-1] in llm._eos_ids
        assert len(completion.token_ids) >= least + (ended and least < 60)
        assert not set(completion.token_ids[:least]) & llm._eos_ids


def test_drafts_and_batches_change_nothing() -> None:
    """An answer's end is a draw like any other."""
    params = [replace(PARAMS, min_tokens=least, seed=least) for least in (0, 20, 40)]
    alone, together = LLM("demo", max_context=512), LLM("demo", max_context=512, speculative=4)
    expected = [alone.chat(QUESTION, one, thinking=False).token_ids for one in params]
    answers = [together.reply(QUESTION, one, thinking=False) for one in params]
    for _ in together.steps(answers):
        pass
    assert [answer.request.output_ids for answer in answers] == expected


def test_a_token_that_is_named_ends_the_answer(llm: LLM) -> None:
    free = llm.chat(QUESTION, replace(PARAMS, temperature=0), thinking=False)
    stop = free.token_ids[len(free.token_ids) // 2]
    place = free.token_ids.index(stop)
    cut = llm.chat(QUESTION, replace(PARAMS, temperature=0, stop_token_ids=[stop]), thinking=False)
    assert (cut.token_ids, cut.finish_reason) == (free.token_ids[: place + 1], "stop")
    assert free.text.startswith(cut.text)
    more = replace(PARAMS, temperature=0, stop_token_ids=(stop,), ignore_eos=True)
    assert llm.chat(QUESTION, more, thinking=False).token_ids == cut.token_ids


def test_what_is_all_there_is_comes_all_the_same() -> None:
    """Where nothing but an end may follow, it does."""
    logits = np.full(8, -np.inf, np.float32)
    logits[3] = 0
    sampler = Sampler(SamplingParams(temperature=0, min_tokens=5), 8, [], end_ids=[3])
    assert sampler.sample(logits, 0).token == 3
    logits[5] = -9
    assert sampler.sample(logits, 0).token == 5
    for token in range(5):
        sampler.commit(token)
    assert sampler.sample(logits, 0).token == 3


@pytest.mark.parametrize("given", [5, ["a"], [True], [1.0], [-1], [2**31]])
def test_what_are_no_tokens_is_named(given: object) -> None:
    with pytest.raises(InvalidArgument, match="stop_token_ids must be token ids, not"):
        SamplingParams(stop_token_ids=given)  # type: ignore[arg-type]
