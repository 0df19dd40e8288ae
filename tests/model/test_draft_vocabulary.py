"""Which tokens of a large vocabulary the draft head guesses, and what becomes of the others."""

import numpy as np
import pytest
from random_members import tiny_family_config

from qwill import LLM, SamplingParams
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.random import random_checkpoint


def large_vocabulary(tied: bool, moe: bool = False) -> Checkpoint:
    config = tiny_family_config(moe, tied)
    text = config["text_config"] | {"vocab_size": 40_000}
    return random_checkpoint("tiny", config | {"text_config": text}, "Q4_K_M", draft_head=True)


@pytest.mark.parametrize("tied", [False, True])
def test_logits_of_some_tokens(tied: bool) -> None:
    llm = LLM(large_vocabulary(tied), max_context=64)
    hidden = np.random.default_rng().normal(0, 1, (3, 256)).astype(np.float32)
    logits, ids = llm._model.text.draft_logits(hidden)
    assert len(ids) < 40_000 / 3
    assert set(range(10_000)) | set(range(40_000 - 276, 40_000)) <= set(ids.tolist())
    assert (np.diff(ids) > 0).all()
    np.testing.assert_array_equal(logits, llm._model.text.logits(hidden)[:, ids])


def test_all_tokens_of_a_small_one() -> None:
    llm = LLM("demo")
    hidden = np.random.default_rng().normal(0, 1, (2, 256)).astype(np.float32)
    logits, ids = llm._model.text.draft_logits(hidden)
    assert ids.tolist() == list(range(2048))
    np.testing.assert_array_equal(logits, llm._model.text.logits(hidden))


@pytest.mark.parametrize("moe", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_answers_stay_the_same(moe: bool, temperature: float) -> None:
    """Random weights write tokens that are never guessed as well as others."""
    prompts = [np.random.default_rng(seed).integers(0, 40_000, 20).tolist() for seed in range(4)]
    params = SamplingParams(temperature=temperature, top_k=0, top_p=1, seed=3, max_tokens=24, ignore_eos=True)
    plain, drafting = (
        [answer.token_ids for answer in LLM(large_vocabulary(False, moe), max_context=64, speculative=count).generate(
            prompts, params)]
        for count in (0, 3)
    )  # fmt: skip
    assert drafting == plain
    assert any(10_000 <= token < 39_000 for answer in plain for token in answer)
