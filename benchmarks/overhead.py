"""What a decode step takes outside of the model: scheduler, sampling, bookkeeping.

python benchmarks/overhead.py FILE.gguf [--batch 1 16] [--sampled]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from qwill import LLM, SamplingParams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--batch", nargs="*", type=int, default=[1, 16])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--speculative", action="store_true")
    arguments = parser.parse_args()
    llm = LLM(str(arguments.file), max_context=1024, cache_tokens=16 * 1024, threads=arguments.threads,
              speculative=arguments.speculative)  # fmt: skip
    inside = 0.0

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal inside
            started = time.perf_counter()
            result = function(*arguments)
            inside += time.perf_counter() - started
            return result

        return call

    runner, rng = llm.engine._runner, np.random.default_rng(0)
    for name in ("hidden_states", "logits", "drafted_states"):
        setattr(runner, name, timed(getattr(runner, name)))
    kinds = {
        "greedy": SamplingParams(temperature=0, presence_penalty=0, max_tokens=arguments.tokens, ignore_eos=True),
        "sampled": SamplingParams(
            temperature=0.6, top_p=0.95, top_k=20, presence_penalty=1.5, max_tokens=arguments.tokens, ignore_eos=True
        ),
    }
    for count in arguments.batch:
        for kind, params in kinds.items():
            answers = [llm.answer(rng.integers(0, 1000, 40).tolist(), params) for _ in range(count)]
            steps = llm.steps(answers)
            while not all(answer.request.output_ids for answer in answers):
                next(steps)
            shares, seconds = [], []
            while not answers[0].request.finish_reason:
                inside, started = 0.0, time.perf_counter()
                if next(steps, 0) == 0:
                    break
                seconds.append(time.perf_counter() - started)
                shares.append(1 - inside / seconds[-1])
            steps.close()
            print(f"{arguments.file.stem} b{count} {kind}: {100 * statistics.median(shares):.1f}% of"
                  f" {1000 * statistics.median(seconds):.1f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
