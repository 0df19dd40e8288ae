"""The loop detector against a definition that is written out, and in answers."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwill import LLM, SamplingParams
from qwill.engine.loops import LEAST_TOKENS, LONGEST_PERIOD, REPETITIONS, LoopDetector
from qwill.errors import InvalidArgument


def loops(tokens: Sequence[int]) -> bool:
    """Whether the last tokens are one stretch, repeated often and long enough."""
    for period in range(1, LONGEST_PERIOD + 1):
        length = max(REPETITIONS * period, LEAST_TOKENS)
        tail = tokens[-length:]
        if len(tail) == length and all(tail[index] == tail[index - period] for index in range(period, length)):
            return True
    return False


def first_loop(tokens: Sequence[int]) -> int | None:
    """After how many tokens the detector first says that they loop."""
    detector = LoopDetector()
    for count, token in enumerate(tokens, 1):
        detector.add(token)
        if detector.looping:
            return count
    return None


@pytest.mark.parametrize("period", [1, 2, 3, 25, 26, 27, 127, 128])
def test_ends_exactly_when_the_loop_is_complete(period: int) -> None:
    before = [7, 5, 5, 9, 1000]
    tokens = before + [50_000 + index % period for index in range(2000)]
    assert first_loop(tokens) == len(before) + max(REPETITIONS * period, LEAST_TOKENS)


def test_longer_periods_are_no_loop() -> None:
    assert first_loop([index % (LONGEST_PERIOD + 1) for index in range(5000)]) is None


@pytest.mark.parametrize("every", [255, 100, 30])
def test_a_difference_now_and_then_is_no_loop(every: int) -> None:
    """Lists of zeros whose lines have numbers, and tables."""
    assert first_loop([index if index % every == 0 else 3 for index in range(4000)]) is None


@given(st.integers(0, 2**32), st.integers(1, 140), st.integers(1, 4), st.integers(0, 3))
def test_same_as_the_definition(seed: int, period: int, alphabet: int, faults: int) -> None:
    generator = random.Random(seed)
    stretch = [generator.randrange(alphabet) for _ in range(period)]
    tokens = [generator.randrange(alphabet) for _ in range(generator.randrange(300))]
    tokens += [stretch[index % period] for index in range(generator.randrange(200, 1400))]
    for _ in range(faults):
        tokens[generator.randrange(len(tokens))] = alphabet
    detector = LoopDetector()
    checked = {len(tokens), *(generator.randrange(1, len(tokens) + 1) for _ in range(20))}
    for count, token in enumerate(tokens, 1):
        detector.add(token)
        if count in checked:
            assert detector.looping == loops(tokens[:count])


@pytest.mark.parametrize("speculative", [0, 2, 4, True])
def test_an_answer_ends_at_the_same_token(speculative: int | bool) -> None:
    llm = LLM("demo", max_context=1024, cache_tokens=4096, speculative=speculative)
    prompts = ["Repeat: 0 0 0", "17 + 25 ="]
    free = SamplingParams(temperature=0, max_tokens=600, regex="(0 ){900}")  # the model can say nothing else
    expected = [answer.token_ids for answer in llm.generate(prompts, free)]
    bound = replace(free, loop_detection=True)
    for tokens, answer in zip(expected, llm.generate(prompts, bound), strict=True):
        end = next((count for count in range(1, 601) if loops(tokens[:count])), 600)
        assert (answer.token_ids, answer.finish_reason) == (tokens[:end], "loop" if end < 600 else "length")
    assert loops(expected[0][:599])


def test_a_switch_is_true_or_false() -> None:
    with pytest.raises(InvalidArgument, match="loop_detection must be true or false, not 1"):
        SamplingParams(loop_detection=1)  # type: ignore[arg-type]
