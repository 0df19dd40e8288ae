"""How much faster drafts make answers: each case with and without them, turn by turn, in one process.

    PYTHONPATH=. python benchmarks/speculation.py demo      the demonstration model's own drafts, on its text tasks
    PYTHONPATH=. python benchmarks/speculation.py shape Qwen3.5-4B Q4_K_M [--context 8192] [--batch 1 4 16]
                                                            a true shape with random weights, whose drafts are right
                                                            as often as `--acceptance` says for each of four depths

Random weights guess nothing, so the second mode answers once without drafts, then lets the draft head do all its work
and puts the token that will be drawn, or a wrong one, in the place of its guess.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from training.evaluation.asking import turns
from training.evaluation.tasks import TEXT_ROWS, held_out_examples

from qwill import LLM, SamplingParams
from qwill.answer import Answer
from qwill.engine.sampler import Sampler
from qwill.engine.speculative import Speculator
from qwill.fit.family import family_config
from qwill.weights.random import random_checkpoint

DEMO_ACCEPTANCE = (0.99, 0.98, 0.97, 0.96)  # of a draft whose predecessors were right; the demonstration model's


def set_drafts(llm: LLM, drafts: int | None) -> None:
    """Changes how many drafts the next answers get; 0 for none, None for as many as pay."""
    engine = llm.engine
    engine._speculator = Speculator(engine._runner, drafts) if drafts != 0 else None


def demo_answers(llm: LLM, each: int) -> list[Answer]:
    params = SamplingParams(temperature=0, max_tokens=200)
    asked = [turn for row in TEXT_ROWS for example in held_out_examples(row, 9, each) for turn in turns(example)]
    return [
        llm.answer(turn.messages[0]["content"], params)
        if turn.raw
        else llm.reply(turn.messages, params, tools=turn.tools or None, thinking=turn.thinking)
        for turn in asked
    ]


def decode_seconds(llm: LLM, answers: list[Answer]) -> tuple[float, int]:
    """Seconds after all prompts were read, and tokens written in them."""
    steps = llm.steps(answers)
    while not all(answer.request.output_ids for answer in answers):
        next(steps)
    before = sum(len(answer.request.output_ids) for answer in answers)
    started = time.perf_counter()
    for _ in steps:
        pass
    return time.perf_counter() - started, sum(len(answer.request.output_ids) for answer in answers) - before


@contextmanager
def known_drafts(truth: dict[int, list[int]], acceptance: tuple[float, ...], rng: random.Random) -> Iterator[None]:
    """Guesses are right with the given chances. truth: the tokens to come, by the request's seed."""
    guess: Callable[..., int] = Sampler.guess
    follow = Speculator._guess
    depth: dict[int, int] = {}

    def counted(self: Speculator, *more: Any) -> None:
        depth.clear()
        follow(self, *more)

    def known(self: Sampler, logits: np.ndarray, position: int, *more: Any) -> int:
        token = guess(self, logits, position, *more)
        level = depth[self.seed] = depth.get(self.seed, -1) + 1
        tokens = truth[self.seed]
        right = tokens[position] if position < len(tokens) else token
        return right if rng.random() < acceptance[level] else (right + 1) % self.vocab_size

    Sampler.guess, Speculator._guess = known, counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        Sampler.guess, Speculator._guess = guess, follow  # type: ignore[method-assign]


def show(name: str, drafts: list[int | None], speeds: dict[int | None, list[float]]) -> None:
    plain = statistics.median(speeds[0])
    for count in drafts:
        label = "auto" if count is None else str(count)
        middle = statistics.median(speeds[count])
        print(
            f"{name:24} drafts {label:>4}: {middle:8.1f} tokens/s  {middle / plain:.2f} x"
            f"   ({min(speeds[count]):.1f} to {max(speeds[count]):.1f})",
            flush=True,
        )


def measure_demo(arguments: argparse.Namespace) -> None:
    llm = LLM("demo", max_context=1024, threads=arguments.threads, prefix_cache=False, speculative=True)
    speeds: dict[int | None, list[float]] = {count: [] for count in arguments.drafts}
    speculators = {count: Speculator(llm.engine._runner, count) if count != 0 else None for count in arguments.drafts}
    for _ in range(arguments.repetitions):
        totals = {count: [0.0, 0] for count in arguments.drafts}
        answers = [demo_answers(llm, arguments.each) for _ in arguments.drafts]
        for same in zip(*answers, strict=True):  # question by question, for neighbours come and go
            for count, answer in zip(arguments.drafts, same, strict=True):
                llm.engine._speculator = speculators[count]
                for index, value in enumerate(decode_seconds(llm, [answer])):
                    totals[count][index] += value
        for count, (seconds, tokens) in totals.items():
            speeds[count].append(tokens / seconds)
    show("demonstration model", arguments.drafts, speeds)


def measure_shape(arguments: argparse.Namespace) -> None:
    member, mix = arguments.member, arguments.mix
    checkpoint = random_checkpoint(member, family_config(member), mix, arguments.layers, draft_head=True)
    longest = arguments.context + arguments.tokens + 16
    most = max(arguments.batch)
    llm = LLM(
        checkpoint, max_context=longest, cache_tokens=most * (longest + 64), max_sequences=most,
        threads=arguments.threads, prefix_cache=arguments.context > 0, speculative=True,
    )  # fmt: skip
    vocabulary = llm.config.text.vocab_size
    rng = np.random.default_rng(1)

    def answers(prompts: list[list[int]]) -> list[Answer]:
        made = []
        for seed, prompt in enumerate(prompts):
            params = SamplingParams(
                temperature=0, presence_penalty=0, max_tokens=arguments.tokens, ignore_eos=True, seed=seed
            )
            made.append(llm.answer(prompt, params))
        return made

    for count in arguments.batch:
        prompts = [rng.integers(0, vocabulary, max(arguments.context, 1)).tolist() for _ in range(count)]
        speeds: dict[int | None, list[float]] = {drafts: [] for drafts in arguments.drafts}
        set_drafts(llm, 0)
        first = answers(prompts)
        decode_seconds(llm, first)
        truth = {seed: prompts[seed] + answer.request.output_ids for seed, answer in enumerate(first)}
        for _ in range(arguments.repetitions):
            for drafts in arguments.drafts:
                set_drafts(llm, drafts)
                with known_drafts(truth, arguments.acceptance, random.Random(1)):
                    again = answers(prompts)
                    seconds, tokens = decode_seconds(llm, again)
                for seed, answer in enumerate(again):
                    assert prompts[seed] + answer.request.output_ids == truth[seed], "drafts changed an answer"
                speeds[drafts].append(tokens / seconds)
        show(f"{member} {mix} b{count} d{arguments.context}", arguments.drafts, speeds)


def count_or_auto(text: str) -> int | None:
    return None if text == "auto" else int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drafts", nargs="*", type=count_or_auto, default=[0, 1, 2, 3, 4, None])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    modes = parser.add_subparsers(dest="mode", required=True)
    demo = modes.add_parser("demo")
    demo.add_argument("--each", type=int, default=4, help="questions of each task")
    shape = modes.add_parser("shape")
    shape.add_argument("member")
    shape.add_argument("mix")
    shape.add_argument("--layers", type=int)
    shape.add_argument("--context", type=int, default=0)
    shape.add_argument("--tokens", type=int, default=64)
    shape.add_argument("--batch", nargs="*", type=int, default=[1])
    shape.add_argument("--acceptance", nargs=4, type=float, default=DEMO_ACCEPTANCE)
    arguments = parser.parse_args()
    if 0 not in arguments.drafts:
        arguments.drafts.insert(0, 0)
    (measure_demo if arguments.mode == "demo" else measure_shape)(arguments)


if __name__ == "__main__":
    main()
