"""The same tokens however they are computed: batch, pieces, prefix cache, drafts, too little memory."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training.evaluation.asking import Turn, turns
from training.evaluation.tasks import ROWS, held_out_examples

from qwill import LLM, SamplingParams
from qwill.answer import Answer
from qwill.errors import Busy, InvalidArgument

GREEDY = SamplingParams(temperature=0, max_tokens=32)
SEEDED = SamplingParams(temperature=1.2, top_p=0.95, top_k=40, presence_penalty=0.5, seed=11, max_tokens=32)
CONTEXT = 1024


@cache
def prompts(each: int) -> list[Turn]:
    """`each` examples of every task, with pictures, videos, tools, chains and reasoning among them."""
    return [turn for row in ROWS for example in held_out_examples(row, 5, each) for turn in turns(example)]


def answer_to(llm: LLM, turn: Turn, params: SamplingParams) -> Answer:
    if turn.raw:
        return llm.answer(turn.messages[0]["content"], params)
    return llm.reply(turn.messages, params, tools=turn.tools or None, thinking=turn.thinking)


def texts(llm: LLM, asked: list[Turn], params: SamplingParams) -> list[list[int]]:
    return [answer.request.output_ids for answer in finished(llm, asked, params)]


def finished(llm: LLM, asked: list[Turn], params: SamplingParams) -> list[Answer]:
    answers = [answer_to(llm, turn, replace(params, seed=index)) for index, turn in enumerate(asked)]
    for _ in llm.steps(answers):
        pass
    llm.engine.scheduler.check_integrity()
    return answers


@cache
def expected(each: int, sampled: bool) -> list[list[int]]:
    plain = LLM("demo", max_context=CONTEXT, max_sequences=1, prefix_cache=False)
    return texts(plain, prompts(each), SEEDED if sampled else GREEDY)


def check(each: int, sampled: bool, twice: bool, **options: Any) -> LLM:
    llm = LLM("demo", max_context=CONTEXT, **options)
    for again in range(2 if twice else 1):
        answers = finished(llm, prompts(each), SEEDED if sampled else GREEDY)
        assert [answer.request.output_ids for answer in answers] == expected(each, sampled)
        assert not again or sum(answer.request.cached > 0 for answer in answers) > len(answers) / 2
    return llm


@pytest.mark.parametrize("sampled", [False, True], ids=["greedy", "sampled"])
@pytest.mark.parametrize(
    ("batch", "chunk", "cached", "drafts"),
    [(1, 512, False, 4), (3, 16, True, 0), (16, 64, True, 2), (3, 512, True, True), (16, 16, False, 1)],
)
def test_some_combinations(batch: int, chunk: int, cached: bool, drafts: int, sampled: bool) -> None:
    llm = check(
        1, sampled, cached, max_sequences=batch, step_tokens=chunk, prefix_cache=cached, speculative=drafts,
        cache_tokens=(32 if cached else 4) * CONTEXT,
    )  # fmt: skip
    assert bool(len(llm.engine.prefix_cache)) == cached


def check_from_disk(folder: Path, each: int, sampled: bool, **options: Any) -> None:
    """Another start of the program goes on from what the one before wrote."""
    params = SEEDED if sampled else GREEDY
    for again in (False, True):
        llm = LLM("demo", max_context=CONTEXT, disk_cache=folder, **options)
        answers = finished(llm, prompts(each), params)
        assert [answer.request.output_ids for answer in answers] == expected(each, sampled)
        assert not again or sum(answer.request.cached > 0 for answer in answers) > len(answers) / 2
        llm.close()


@pytest.mark.parametrize("sampled", [False, True], ids=["greedy", "sampled"])
@pytest.mark.parametrize(("batch", "chunk", "drafts"), [(1, 64, 2), (16, 512, 0)])
def test_after_a_restart(tmp_path: Path, batch: int, chunk: int, drafts: int, sampled: bool) -> None:
    check_from_disk(tmp_path, 1, sampled, max_sequences=batch, step_tokens=chunk, speculative=drafts)


@pytest.mark.parametrize("drafts", [0, 3])
def test_too_little_memory(drafts: int) -> None:
    """Sixteen at a time in the room of one long context: some are saved and come back."""
    llm = LLM("demo", max_context=CONTEXT, max_sequences=16, speculative=drafts)
    saved = 0
    save: Callable[[Any], None] = llm.engine._sequences.save

    def counted(request: Any) -> None:
        nonlocal saved
        saved += 1
        save(request)

    llm.engine._sequences.save = counted  # type: ignore[method-assign]
    assert texts(llm, prompts(1), SEEDED) == expected(1, True)
    assert saved


@pytest.mark.slow
@pytest.mark.parametrize("sampled", [False, True], ids=["greedy", "sampled"])
def test_all_combinations(tmp_path: Path, sampled: bool) -> None:
    """More than 200 prompts, every batch, chunk, cold and warm cache and that on disk, and number of drafts."""
    assert len(prompts(5)) > 200
    for batch, chunk, drafts in product((1, 3, 16), (16, 64, 512), (0, 1, 2, 4)):
        for cached in (False, True):
            check(
                5, sampled, cached, max_sequences=batch, step_tokens=chunk, prefix_cache=cached, speculative=drafts,
                cache_tokens=(32 if cached else 4) * CONTEXT,
            )  # fmt: skip
        folder = tmp_path / f"{batch} {chunk} {drafts}"
        check_from_disk(folder, 5, sampled, max_sequences=batch, step_tokens=chunk, speculative=drafts)
        shutil.rmtree(folder)


def steps_of(llm: LLM, answer: Answer) -> Iterator[int]:
    """Tokens computed in each step."""
    runner = llm.engine._runner
    forward = runner.hidden_states
    counts: list[int] = []

    def counted(chunks: list[Any]) -> Any:
        counts.append(sum(chunk.count for chunk in chunks))
        return forward(chunks)

    runner.hidden_states = counted  # type: ignore[method-assign]
    try:
        for _ in llm.steps([answer]):
            yield counts.pop()
    finally:
        runner.hidden_states = forward  # type: ignore[method-assign]


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("drafts", [0, 2])
def test_the_second_turn_reads_only_what_is_new(thinking: bool, drafts: int) -> None:
    llm, cold = (LLM("demo", max_context=CONTEXT, speculative=drafts, prefix_cache=cache) for cache in (True, False))
    params = SamplingParams(temperature=0, max_tokens=200)
    messages = [{"role": "user", "content": "Remember this: my cat is called Milo. " * 4 + "What is 17 + 25?"}]
    first = llm.chat(messages, params, thinking=thinking)
    assert first.usage["cached_tokens"] == 0
    messages += [{"role": "assistant", "content": first.text}, {"role": "user", "content": "What is 3 + 4?"}]
    answer = llm.reply(messages, params, thinking=thinking)
    computed = next(iter(steps_of(llm, answer)))
    prompt = len(answer.request.prompt.token_ids)
    # The first answer without its reasoning, its end, the new question, and the beginning of the new answer.
    tokenizer = llm.tokenizer
    assert tokenizer is not None
    new = (
        "\n<think>\n\n</think>\n\n"
        + first.text
        + "<|im_end|>\n<|im_start|>user\nWhat is 3 + 4?<|im_end|>\n<|im_start|>assistant\n<think>\n"
    )
    assert computed <= len(tokenizer.encode(new, allow_special=True))
    assert computed + answer.request.cached == prompt
    assert answer.request.cached > 0.6 * prompt
    assert (
        llm.chat(messages, params, thinking=thinking).token_ids
        == cold.chat(messages, params, thinking=thinking).token_ids
    )


def test_a_picture_is_encoded_once() -> None:
    llm = LLM("demo", max_context=CONTEXT, prefix_cache=False)
    (turn,) = turns(held_out_examples("picture: colour", 3, 1)[0])
    vision = llm._model.vision
    assert vision is not None
    encoded, forward = 0, vision.forward

    def counted(pixels: np.ndarray, grid: tuple[int, int, int]) -> np.ndarray:
        nonlocal encoded
        encoded += 1
        return forward(pixels, grid)

    vision.forward = counted  # type: ignore[method-assign]
    first = texts(llm, [turn], GREEDY)
    again = [*turn.messages, {"role": "assistant", "content": "red"}, {"role": "user", "content": "Sure?"}]
    texts(llm, [turn._replace(messages=again)], GREEDY)
    assert texts(llm, [turn], GREEDY) == first
    assert encoded == 1


def test_two_pictures_of_one_size_are_told_apart() -> None:
    """Their tokens have the same ids; the prefix cache must not take one for the other."""
    llm = LLM("demo", max_context=CONTEXT)
    asked = [turn for example in held_out_examples("picture: colour", 4, 12) for turn in turns(example)]
    cold = LLM("demo", max_context=CONTEXT, prefix_cache=False)
    assert texts(llm, asked, GREEDY) == texts(cold, asked, GREEDY)


def test_a_full_queue_refuses_and_goes_on() -> None:
    llm = LLM("demo", max_context=256, max_sequences=2, max_waiting=3)
    params = SamplingParams(temperature=0, max_tokens=8)
    with pytest.raises(Busy, match="5 requests are answered or wait already"):
        list(llm.steps([llm.answer("17 + 25 =", params) for _ in range(6)]))
    llm.engine.scheduler.check_integrity()  # the others are not left behind
    assert len(llm.generate(["17 + 25 ="] * 40, params)) == 40
    assert sum(1 for _ in llm.steps([llm.answer("17 + 25 =", params) for _ in range(5)]))
    with pytest.raises(InvalidArgument, match="max_waiting"):
        LLM("demo", max_waiting=-1)


@pytest.mark.parametrize(("context", "warned"), [(None, False), (1024, True), (1025, False)])
def test_yarn_that_is_not_needed_is_told(caplog: pytest.LogCaptureFixture, context: int | None, warned: bool) -> None:
    LLM("demo", yarn=4, max_context=context)
    assert ("leave it out or ask for more than 1024" in caplog.text) == warned
