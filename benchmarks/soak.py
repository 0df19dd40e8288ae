"""Random arrivals, cancellations, refusals and too little memory for a long time; every answer is compared.

    PYTHONPATH=. python benchmarks/soak.py [--minutes 30] [--seed N]

Questions of all tasks of the demonstration model, greedy and seeded, are answered once each by an engine that does one
thing at a time. Then an engine with room for two long contexts, sixteen requests at a time, drafts, a small prefix
cache and a small disk cache gets them at random, with random priorities; some are cancelled at random places, some have
prompts that are too long, and now and then it is drained and its pages and slots are counted. Ends with an error at the
first wrong token; prints how the process's memory grew.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from training.evaluation.asking import Turn, turns
from training.evaluation.tasks import ROWS, held_out_examples

from qwill import LLM, SamplingParams
from qwill.answer import Answer
from qwill.errors import PromptTooLong

CONTEXT = 768
KINDS = (
    SamplingParams(temperature=0, max_tokens=64),
    SamplingParams(temperature=1.2, top_p=0.95, top_k=40, presence_penalty=0.5, max_tokens=64),
    SamplingParams(temperature=1.5, max_tokens=200, ignore_eos=True),
)


def answer_to(llm: LLM, turn: Turn, kind: int, seed: int) -> Answer:
    params = replace(KINDS[kind], seed=seed)
    if turn.raw:
        return llm.answer(turn.messages[0]["content"], params)
    return llm.reply(turn.messages, params, tools=turn.tools or None, thinking=turn.thinking)


def resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmRSS")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    asked = [turn for row in ROWS for example in held_out_examples(row, arguments.seed, 2) for turn in turns(example)]
    plain = LLM("demo", max_context=CONTEXT, max_sequences=1, prefix_cache=False)
    expected: dict[tuple[int, int], list[int]] = {}
    for index, turn in enumerate(asked):
        for kind in range(len(KINDS)):
            answer = answer_to(plain, turn, kind, index)
            for _ in plain.steps([answer]):
                pass
            expected[index, kind] = answer.request.output_ids
    print(f"seed {arguments.seed}: {len(expected)} answers to compare with", flush=True)
    counts: Counter[str] = Counter()
    memory: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        llm = LLM(
            "demo", max_context=CONTEXT, cache_tokens=2 * CONTEXT, max_sequences=16, speculative=True,
            prefix_cache=20 << 20, disk_cache=folder, disk_cache_bytes=50_000_000,
        )  # fmt: skip
        engine, cache = llm.engine, llm.engine.prefix_cache
        alive: dict[int, tuple[tuple[int, int], Answer]] = {}
        saves = 0
        save = engine._sequences.save

        def counted(request: object) -> None:
            nonlocal saves
            saves += 1
            save(request)  # type: ignore[arg-type]

        engine._sequences.save = counted  # type: ignore[assignment, method-assign]
        started = told = time.monotonic()
        draining = False
        while time.monotonic() - started < 60 * arguments.minutes or alive:
            draining = draining or rng.random() < 0.0005 or time.monotonic() - started >= 60 * arguments.minutes
            if draining and not alive:
                engine.scheduler.check_integrity()
                counts["drained"] += 1
                memory.append(resident_bytes())
                draining = False
                continue
            if not draining and len(alive) < 40 and rng.random() < 0.3:
                key = rng.randrange(len(asked)), rng.randrange(len(KINDS))
                answer = answer_to(llm, asked[key[0]], key[1], key[0])
                answer.request.priority = rng.choice((0, 0, 1))
                answer.request.streamed = rng.random() < 0.5
                engine.add(answer.request)
                alive[id(answer.request)] = key, answer
            if rng.random() < 0.01:
                try:
                    llm.answer([1] * (CONTEXT + rng.randrange(100)))
                    raise AssertionError("a prompt that is too long was taken")
                except PromptTooLong:
                    counts["refused"] += 1
            if alive and rng.random() < 0.02:
                key, answer = alive.pop(rng.choice(list(alive)))
                engine.cancel(answer.request)
                written = answer.request.output_ids
                assert written == expected[key][: len(written)], (key, written)
                counts["cancelled"] += 1
            if not engine.has_work:
                continue
            for request in engine.step():
                if request.finish_reason is None:
                    continue
                key, answer = alive.pop(id(request))
                if request.output_ids != expected[key]:
                    sys.exit(f"seed {arguments.seed}: {key} answered {request.output_ids}, not {expected[key]}")
                counts["answered"] += 1
                counts["from the cache"] += request.cached > 0
            if time.monotonic() - told > 60:
                told = time.monotonic()
                print(f"{(told - started) / 60:.0f} min: {dict(counts)}, {saves} saved, {len(cache)} snapshots,"
                      f" {resident_bytes() / 1e6:.0f} MB", flush=True)  # fmt: skip
        llm.close()
    third = max(1, len(memory) // 3)
    print(f"{dict(counts)}, {saves} saved; memory after drains: {memory[third] / 1e6:.0f} MB after the first third,"
          f" {memory[-1] / 1e6:.0f} MB at the end; no wrong token, nothing leaked")  # fmt: skip


if __name__ == "__main__":
    main()
