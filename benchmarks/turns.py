"""The second turn of a chat after a long history: qwill's engine beside llama.cpp's server on the same file.

    QWILL_LLAMA_BIN=... python benchmarks/turns.py FILE.gguf [--history 16384]

Random tokens stand for a conversation. `longer`: the second prompt is the first with the answer and a new question.
`cut`: the template left the reasoning of the first answer out, so the second prompt parts from what was computed in the
answer. `shared`: another chat begins with the same long system prompt. `restart`: as longer, in a new process's place,
from the disk. Seconds to the first token of the second prompt; `all` reads everything.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from clients import GREEDY, LlamaServer

from qwill import LLM, SamplingParams

QUESTION, ANSWER, REASONING = 48, 64, 32


def first_token(llm: LLM, prompt: list[int], parting: int) -> tuple[float, int]:
    """Seconds to the first token, and tokens computed for it."""
    answer = llm.answer(prompt, SamplingParams(max_tokens=1, **GREEDY))  # type: ignore[arg-type]
    object.__setattr__(answer.request.prompt, "partings", (parting,))
    started = time.perf_counter()
    for _ in llm.steps([answer]):
        pass
    return time.perf_counter() - started, len(prompt) - answer.request.cached


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--history", type=int, default=16_384)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    context = arguments.history + 1024
    rng = np.random.default_rng(0)

    def tokens(count: int) -> list[int]:
        return rng.integers(0, 200_000, count).tolist()

    with tempfile.TemporaryDirectory() as folder:
        options = {"max_context": context, "cache_tokens": 2 * context, "threads": arguments.threads}
        llm = LLM(str(arguments.file), **options, disk_cache=folder)  # type: ignore[arg-type]
        history = tokens(arguments.history)
        params = SamplingParams(max_tokens=ANSWER, **{**GREEDY, "ignore_eos": True})  # type: ignore[arg-type]
        answer = llm.answer(history, params)
        object.__setattr__(answer.request.prompt, "partings", (len(history) - 2,))
        started = time.perf_counter()
        steps = llm.steps([answer])
        next_token = None
        while not answer.request.output_ids:
            next(steps)
        everything = time.perf_counter() - started
        for _ in steps:
            pass
        next_token = answer.request.output_ids
        cases = {
            "longer": [*history, *next_token, *tokens(QUESTION)],
            "cut": [*history[:-2], *next_token[REASONING:], *tokens(QUESTION)],
            "shared": [*history[:-2], *tokens(QUESTION)],
        }
        measured = {name: first_token(llm, prompt, len(prompt) - 2) for name, prompt in cases.items()}
        llm.close()
        again = LLM(str(arguments.file), **options, disk_cache=folder)  # type: ignore[arg-type]
        measured["restart"] = first_token(again, [*history, *next_token, *tokens(QUESTION)], len(history))
        again.close()
    print(f"qwill: all {everything:.2f} s; " + ", ".join(
        f"{name} {seconds:.2f} s ({computed} tokens, {everything / seconds:.0f} x)"
        for name, (seconds, computed) in measured.items()))  # fmt: skip
    server = LlamaServer(arguments.file, 2, context, arguments.threads)
    try:
        told = {"all": server.complete(history, ANSWER, cache=True)}
        for name, prompt in cases.items():
            told[name] = server.complete(prompt, 1, cache=True)
        timings = {name: answer["timings"] for name, answer in told.items()}
        print("llama.cpp: " + ", ".join(
            f"{name} {times['prompt_ms'] / 1000:.2f} s ({times['prompt_n']} tokens)"  # type: ignore[index]
            for name, times in timings.items()))  # fmt: skip
    finally:
        server.close()


if __name__ == "__main__":
    main()
