"""Log-probabilities of prompts and embeddings: right, and the same to the bit in whatever company they are computed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import TinyCheckpoint, save_hf, tiny_config

from qwill import LLM, SamplingParams
from qwill.engine import readers
from qwill.errors import InvalidArgument, PromptTooLong, QwillError
from qwill.model.adapters import Span

CONTEXT = 512
READ = SamplingParams(max_tokens=0, prompt_logprobs=3)
WRITE = SamplingParams(temperature=0, max_tokens=6, logprobs=2, prompt_logprobs=3)
# Float32 exponentials are right to 2 units in the last place, and differences from the greatest logit d to half a unit
# of d, whose mean under the softmax is at most the logarithm of the vocabulary: 2**-22 + 2**-24 * log(3000) < 1e-6.
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def plain() -> LLM:
    """One request at a time, and nothing is kept of it."""
    return LLM("demo", max_context=CONTEXT, max_sequences=1, prefix_cache=False, threads=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    return save_hf(tmp_path_factory.mktemp("readers") / "model", tiny_config(moe=True), seed=3, tokenizer=True)


def prompts(llm: LLM) -> list[list[int]]:
    """Of all lengths; two begin alike, and one comes twice."""
    rng = np.random.default_rng()
    made = [rng.integers(0, llm.config.text.vocab_size, count).tolist() for count in (1, 2, 5, 31, 64, 200, CONTEXT)]
    return [*made, made[5] + [7] * 40, made[5]]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def check_logprobs(told: Any, ids: list[int], expected: np.ndarray, count: int, tolerance: float) -> None:
    """expected [tokens, vocab]: after each token."""
    assert told[0] is None
    assert [one.token_id for one in told[1:]] == ids[1:]
    for one, row in zip(told[1:], expected, strict=False):
        assert abs(one.logprob - row[one.token_id]) <= tolerance
        values = [value for _, value in one.top]
        assert values == sorted(values, reverse=True)
        assert len(one.top) == count
        assert np.allclose(values, np.sort(row)[: -count - 1 : -1], rtol=0, atol=tolerance)
        assert np.allclose(values, [row[token] for token, _ in one.top], rtol=0, atol=tolerance)


def test_they_are_the_log_softmax(plain: LLM) -> None:
    for ids in prompts(plain):
        (read,) = plain.generate([ids], READ)
        assert (read.token_ids, read.text, read.finish_reason) == ([], "", "length")
        assert read.usage["total_tokens"] == len(ids)
        check_logprobs(read.prompt_logprobs, ids, log_softmax(plain.forward(ids)), 3, TOLERANCE)


def test_they_are_those_of_the_reference(made: TinyCheckpoint) -> None:
    llm = LLM(str(made.folder), max_context=128, threads=2, kv="f32")
    ids = np.random.default_rng().integers(0, 288, 77).tolist()
    with torch.no_grad():
        logits = made.model(input_ids=torch.tensor([ids])).logits[0].numpy()
    (read,) = llm.generate([ids], READ)
    # As far as logits may differ, twice: those of the token, and those of all the others.
    check_logprobs(read.prompt_logprobs, ids, log_softmax(logits), 3, 2 * 2e-4 * np.ptp(logits))


@pytest.mark.parametrize(
    ("batch", "chunk", "cached", "drafts"),
    [(1, 512, True, 2), (3, 16, False, 0), (4, 64, True, True), (16, 200, True, 0)],
)
def test_company_changes_nothing(plain: LLM, batch: int, chunk: int, cached: bool, drafts: int) -> None:
    """Readers beside answers, twice, so that a cache has what it may not be taken from. Nor do answers change."""
    asked = prompts(plain)[:-1]
    answered = [plain.generate([ids[: CONTEXT - 6]], WRITE)[0] for ids in asked]
    embedded = [plain.embed([ids])[0] for ids in asked]
    llm = LLM("demo", max_context=CONTEXT, max_sequences=batch, step_tokens=chunk, prefix_cache=cached,
              speculative=drafts, cache_tokens=8 * CONTEXT, threads=2)  # fmt: skip
    drawing = SamplingParams(temperature=0, max_tokens=6, logprobs=2)
    for _ in range(2):
        answers = [
            make()
            for ids in asked
            for make in (
                lambda ids=ids: llm.answer(ids[: CONTEXT - 6], WRITE),
                lambda ids=ids: llm.answer(ids[: CONTEXT - 6], drawing),
                lambda ids=ids: llm.embedding(ids),
            )
        ]
        list(llm.steps(answers))
        llm.engine.scheduler.check_integrity()
        for index, (expected, vector) in enumerate(zip(answered, embedded, strict=True)):
            scored, drawn, read = answers[3 * index : 3 * index + 3]
            assert scored.completion().prompt_logprobs == expected.prompt_logprobs
            assert scored.completion().logprobs == drawn.completion().logprobs == expected.logprobs
            assert (scored.request.cached, read.request.cached) == (0, 0)
            assert drawn.completion().prompt_logprobs is None
            assert np.array_equal(read.embedding, vector)


@pytest.mark.parametrize("embeds", [False, True])
def test_too_little_memory(plain: LLM, embeds: bool) -> None:
    """It is saved in the middle of its prompt for one that goes first, and comes back."""
    llm = LLM("demo", max_context=CONTEXT, max_sequences=2, step_tokens=64, threads=2)
    ids = prompts(plain)[6]
    answer = llm.embedding(ids) if embeds else llm.answer(ids, READ)
    urgent = llm.answer(ids[:300], replace(WRITE, max_tokens=100))
    urgent.request.priority = -1
    steps = llm.steps([answer])
    next(steps)
    next(steps)
    llm.engine.add(urgent.request)
    next(steps)
    assert answer.request.saved is not None
    assert 0 < answer.request.computed < len(ids)
    while urgent.request.finish_reason is None:
        llm.engine.step()
    list(steps)
    if embeds:
        assert np.array_equal(answer.embedding, plain.embed([ids])[0])
    else:
        assert answer.completion().prompt_logprobs == plain.generate([ids], READ)[0].prompt_logprobs
    assert urgent.completion().prompt_logprobs == plain.generate([ids[:300]], READ)[0].prompt_logprobs


def test_few_logits_are_there_at_a_time(plain: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = prompts(plain)[5]
    expected = plain.generate([ids], READ)[0].prompt_logprobs
    row = 4 * plain.config.text.vocab_size
    runner, most = plain.engine._runner, 0
    logits = runner.logits

    def counted(hidden: np.ndarray, adapted: Sequence[Span]) -> np.ndarray:
        nonlocal most
        most = max(most, len(hidden))
        return logits(hidden, adapted)

    monkeypatch.setattr(runner, "logits", counted)
    for rows in (1, 7):
        most = 0
        monkeypatch.setattr(readers, "LOGIT_BYTES", rows * row + row - 1)
        assert plain.generate([ids], READ)[0].prompt_logprobs == expected
        assert most == rows


def test_they_are_those_of_the_answer(plain: LLM) -> None:
    """A text that was drawn and is read afterwards has the same ones, to the bit."""
    params = SamplingParams(temperature=1, logprobs=3, max_tokens=40, ignore_eos=True, seed=5)
    ids = prompts(plain)[3]
    (answer,) = plain.generate([ids], params)
    (read,) = plain.generate([ids + answer.token_ids], READ)
    assert read.prompt_logprobs is not None
    assert read.prompt_logprobs[len(ids) :] == answer.logprobs


def test_a_damaged_model_is_told(plain: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = plain.engine._runner.logits
    monkeypatch.setattr(plain.engine._runner, "logits", lambda hidden, adapted: logits(hidden, adapted) * np.nan)
    with pytest.raises(QwillError, match="NaN at position 1"):
        plain.generate([[1, 2, 3]], READ)
    plain.engine.scheduler.check_integrity()


def test_an_embedding_is_the_mean_of_the_last_states(made: TinyCheckpoint) -> None:
    llm = LLM(str(made.folder), max_context=128, threads=2, kv="f32")
    ids = np.random.default_rng().integers(0, 288, 90).tolist()
    with torch.no_grad():
        states = made.model.model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy().astype(np.float64)
    mean = states.mean(axis=0)
    for dimensions in (None, len(mean), 5, 1):
        expected = mean[:dimensions] / np.linalg.norm(mean[:dimensions])
        (got,) = llm.embed([ids], dimensions)
        assert got.dtype == np.float32
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() <= 2e-4 * np.ptp(states) / np.linalg.norm(mean[:dimensions])
        assert np.linalg.norm(got) == pytest.approx(1, abs=1e-6)


def test_an_embedding_is_exact(plain: LLM) -> None:
    """As near to the mean in float64 of the states themselves as float32 numbers of length 1 are."""
    for ids in prompts(plain):
        states = np.concatenate(list(plain.engine.read(plain.answer(ids[: CONTEXT - 1]).request)))
        mean = states.astype(np.float64).mean(axis=0)
        (got,) = plain.embed([ids[: CONTEXT - 1]])
        assert np.abs(got - mean / np.linalg.norm(mean)).max() <= 2**-24


def test_what_does_not_fit(plain: LLM) -> None:
    ids = [5] * (CONTEXT + 1)
    for read in (lambda: plain.embed([ids]), lambda: plain.generate([ids], READ)):
        with pytest.raises(PromptTooLong, match=str(CONTEXT)):
            read()
    with pytest.raises(PromptTooLong):
        plain.generate([ids[:-1]], WRITE)  # it reads and writes
    answer = plain.embedding(ids, truncate=True)
    list(plain.steps([answer]))
    assert np.array_equal(answer.embedding, plain.embed([ids[:-1]])[0])
    text = "a longer one " * CONTEXT
    answer = plain.embedding(text, truncate=True)
    list(plain.steps([answer]))
    assert plain.tokenizer is not None
    assert np.array_equal(answer.embedding, plain.embed([plain.tokenizer.encode(text)[:CONTEXT]])[0])


def test_mistakes_are_named(plain: LLM) -> None:
    for dimensions in (0, -1, 257):
        with pytest.raises(InvalidArgument, match=f"dimensions must be from 1 to 256, not {dimensions}"):
            plain.embed(["x"], dimensions)
    with pytest.raises(InvalidArgument, match="the prompt is empty"):
        plain.embed([""])
    with pytest.raises(InvalidArgument, match="prompt_logprobs must be a whole number from 0 to 100"):
        SamplingParams(prompt_logprobs=101)
    with pytest.raises(InvalidArgument, match="max_tokens must be a whole number of at least 1, not 0"):
        SamplingParams(max_tokens=0)
    assert plain.embed([]).shape == (0, 256)
    assert plain.embed([], 7).shape == (0, 7)
