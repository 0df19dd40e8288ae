"""Many clients at once: qwill's engine beside llama.cpp's server on the same file and the same requests.

    QWILL_LLAMA_BIN=... python benchmarks/clients.py FILE.gguf [--clients 16] [--requests 48]
    python benchmarks/clients.py FILE.gguf --gaps       how long streams wait for a token beside a long prompt

Each client sends its next request when it has its answer. Prompts have 32 to 2,048 random tokens, as many of each
length as of twice that length; answers have a fixed number of tokens. llama.cpp's server is asked over HTTP on this
machine, qwill through its engine: what HTTP costs is little beside a step.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from qwill import LLM, SamplingParams
from qwill.answer import Answer

PORT = 18_431
SHORTEST, LONGEST = 32, 2048
GREEDY = {"temperature": 0, "presence_penalty": 0, "ignore_eos": True}


def prompts(count: int, vocab_size: int, seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    lengths = np.exp(rng.uniform(math.log(SHORTEST), math.log(LONGEST), count)).astype(int)
    return [rng.integers(0, vocab_size, length).tolist() for length in lengths]


def qwill_seconds(llm: LLM, asked: list[list[int]], tokens: int, clients: int) -> float:
    """From the first request to the last answer."""
    params = SamplingParams(max_tokens=tokens, **GREEDY)  # type: ignore[arg-type]
    waiting = [llm.answer(prompt, params) for prompt in asked]
    engine = llm.engine
    started = time.perf_counter()
    running: dict[int, Answer] = {}
    while waiting or running:
        while waiting and len(running) < clients:
            answer = waiting.pop(0)
            engine.add(answer.request)
            running[id(answer.request)] = answer
        for request in engine.step():
            running[id(request)].advance()
            if request.finish_reason is not None:
                del running[id(request)]
    return time.perf_counter() - started


class LlamaServer:
    """llama.cpp's server with a slot for each client and room for the longest request in each."""

    def __init__(self, path: Path, clients: int, context: int, threads: int) -> None:
        program = Path(os.environ["QWILL_LLAMA_BIN"]) / "llama-server"
        command = [program, "-m", path, "-t", threads, "-np", clients, "-c", clients * context, "--port", PORT, "-cb"]
        self._process = subprocess.Popen(
            [str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while True:
            assert self._process.poll() is None, "llama-server ended"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health") as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.2)

    def complete(self, prompt: list[int], tokens: int, cache: bool = False) -> dict[str, object]:
        body = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "ignore_eos": True, "cache_prompt": cache}
        request = urllib.request.Request(
            f"http://127.0.0.1:{PORT}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            told: dict[str, object] = json.load(answer)
        assert told["tokens_predicted"] == tokens, told
        return told

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


def llama_seconds(server: LlamaServer, asked: list[list[int]], tokens: int, clients: int) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda prompt: server.complete(prompt, tokens), asked))
    return time.perf_counter() - started


def compare(arguments: argparse.Namespace) -> None:
    context = LONGEST + arguments.tokens + 32
    llm = LLM(
        str(arguments.file), max_context=context, cache_tokens=arguments.clients * context, threads=arguments.threads,
        max_sequences=arguments.clients, prefix_cache=False,
    )  # fmt: skip
    server = LlamaServer(arguments.file, arguments.clients, context, arguments.threads)
    speeds: dict[str, list[float]] = {"qwill": [], "llama.cpp": []}
    try:
        for repetition in range(arguments.repetitions):
            asked = prompts(arguments.requests, llm.config.text.vocab_size, repetition)
            total = arguments.requests * arguments.tokens
            speeds["qwill"].append(total / qwill_seconds(llm, asked, arguments.tokens, arguments.clients))
            speeds["llama.cpp"].append(total / llama_seconds(server, asked, arguments.tokens, arguments.clients))
            print({name: round(values[-1], 1) for name, values in speeds.items()}, flush=True)
    finally:
        server.close()
    middle = {name: statistics.median(values) for name, values in speeds.items()}
    print(
        f"{arguments.file.stem}: {arguments.clients} clients, {arguments.requests} requests of {SHORTEST} to {LONGEST}"
        f" tokens, {arguments.tokens} written each: qwill {middle['qwill']:.1f}, llama.cpp {middle['llama.cpp']:.1f}"
        f" tokens/s, {middle['qwill'] / middle['llama.cpp']:.2f} x"
    )


def gaps(arguments: argparse.Namespace) -> None:
    """Streams write alone for a while, then beside a prompt of 8,192 tokens."""
    long = 8192
    llm = LLM(
        str(arguments.file), max_context=long + 64, cache_tokens=2 * long + arguments.clients * 1024,
        threads=arguments.threads, max_sequences=arguments.clients, prefix_cache=False,
    )  # fmt: skip
    engine, rng = llm.engine, np.random.default_rng(0)
    params = SamplingParams(max_tokens=900, **GREEDY)  # type: ignore[arg-type]
    streams = [llm.answer(rng.integers(0, 1000, 64).tolist(), params) for _ in range(arguments.clients - 1)]
    times: dict[int, list[float]] = {id(answer.request): [] for answer in streams}
    for answer in streams:
        answer.request.streamed = True
        engine.add(answer.request)

    def step() -> None:
        for request in engine.step():
            if id(request) in times:
                times[id(request)].append(time.perf_counter())

    while min(map(len, times.values())) < 40:
        step()
    alone = {key: statistics.median(np.diff(values[-30:])) for key, values in times.items()}
    begun = {key: len(values) for key, values in times.items()}
    prompt = llm.answer(rng.integers(0, 1000, long).tolist(), SamplingParams(max_tokens=1, **GREEDY))  # type: ignore[arg-type]
    engine.add(prompt.request)
    started = time.perf_counter()
    while prompt.request.finish_reason is None and any(answer.request.finish_reason is None for answer in streams):
        step()
    seconds = time.perf_counter() - started
    worst = max(max(np.diff(values[begun[key] - 1 :])) / alone[key] for key, values in times.items())
    middle = statistics.median(gap for key, values in times.items() for gap in np.diff(values[begun[key] - 1 :]))
    print(
        f"{arguments.file.stem}: {len(streams)} streams, gaps of {1000 * statistics.median(alone.values()):.0f} ms"
        f" alone and {1000 * middle:.0f} ms beside the prompt (medians); the longest is {worst:.2f} times a stream's"
        f" median alone; {prompt.request.computed} tokens of the prompt in {seconds:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--gaps", action="store_true")
    arguments = parser.parse_args()
    (gaps if arguments.gaps else compare)(arguments)


if __name__ == "__main__":
    main()
