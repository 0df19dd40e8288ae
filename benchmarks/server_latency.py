"""What HTTP adds to the engine: to the first token, and to each token of many streams.

    python benchmarks/server_latency.py [MODEL] [--streams 16] [--tokens 128] [--rounds 7]

The same prompts are answered by the engine alone and by a server in a process of its own, asked by a client that only
takes times; turn by turn, medians. Time to the first token is from the call, or from the request's first byte, to the
first token, or to the first event with text. Time a token is that of all streams together over the tokens of one.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from qwill import LLM, SamplingParams
from qwill.server.run import event_loop

T = TypeVar("T")

FIRST_TOKENS = 20  # whose median a round takes
QUESTION = "What is {} + {}?"


def messages(index: int) -> list[dict[str, Any]]:
    return [{"role": "user", "content": QUESTION.format(11 + index, 20 + 3 * index)}]


def engine_times(llm: LLM, streams: int, tokens: int) -> tuple[float, float]:
    """Seconds to the first token of one answer, and a token of all streams together, as the server writes them."""
    params = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True)
    first_tokens = []
    for _ in range(FIRST_TOKENS):
        started = time.perf_counter()
        first = llm.reply(messages(99), params)
        steps = llm.steps([first])
        while not first.request.output_ids:
            next(steps)
        first_tokens.append(time.perf_counter() - started)
        steps.close()
    answers = [llm.reply(messages(index), params) for index in range(streams)]
    for answer in answers:
        answer.request.streamed = True
    steps = llm.steps(answers)
    while not all(answer.request.output_ids for answer in answers):
        next(steps)
    begun, done = time.perf_counter(), sum(len(answer.request.output_ids) for answer in answers)
    for _ in steps:
        pass
    written = sum(len(answer.request.output_ids) for answer in answers) - done
    return statistics.median(first_tokens), (time.perf_counter() - begun) / (written / streams)


class Taker(asyncio.Protocol):
    """Takes the times of a stream's events and reads no more of them: a client must cost little."""

    def __init__(self, request: bytes) -> None:
        self.begun = 0.0
        self.times: list[float] = []
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request

    def connection_made(self, transport: Any) -> None:
        self.begun = time.perf_counter()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        texts = data.count(b"data: {") - data.count(b'"content":""')  # the first event has no text
        self.times += [time.perf_counter()] * texts

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set_result(None)


async def ask(port: int, index: int, tokens: int) -> tuple[float, list[float]]:
    """Seconds to the first text of a stream, and when each event came."""
    body = json.dumps(
        {"messages": messages(index), "stream": True, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    ).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
    _, taker = await asyncio.get_running_loop().create_connection(lambda: Taker(request), "127.0.0.1", port)
    await taker.closed
    return taker.times[0] - taker.begun, taker.times


async def server_times(port: int, streams: int, tokens: int) -> tuple[float, float]:
    first_tokens = [(await ask(port, 99, 1))[0] for _ in range(FIRST_TOKENS)]
    told = await asyncio.gather(*(ask(port, index, tokens) for index in range(streams)))
    begun = max(times[0] for _, times in told)
    events = sum(sum(moment > begun for moment in times) for _, times in told)
    return statistics.median(first_tokens), (max(times[-1] for _, times in told) - begun) / (events / streams)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--port", type=int, default=18_440)
    arguments = parser.parse_args()
    room = str(arguments.streams * 1024)
    program = [sys.executable, "-m", "qwill", "serve", arguments.model, "--port", str(arguments.port)]
    options = ["--ctx", "1024", "--cache-tokens", room, "--parallel", str(arguments.streams), "--drafts", "0"]
    llm = LLM(arguments.model, max_context=1024, cache_tokens=int(room), max_sequences=arguments.streams)
    server = subprocess.Popen([*program, *options], stderr=subprocess.DEVNULL)
    alone: list[tuple[float, float]] = []
    served: list[tuple[float, float]] = []
    try:
        in_loop(until_ready(arguments.port))
        for _ in range(arguments.rounds + 1):
            alone.append(engine_times(llm, arguments.streams, arguments.tokens))
            served.append(in_loop(server_times(arguments.port, arguments.streams, arguments.tokens)))
    finally:
        server.terminate()
        server.wait()
    for name, place in (("to the first token", 0), (f"a step of {arguments.streams} tokens", 1)):
        engine = statistics.median(times[place] for times in alone[1:])
        whole = statistics.median(times[place] for times in served[1:])
        engine, whole = 1000 * engine, 1000 * whole
        print(f"{name}: engine {engine:.2f} ms, server {whole:.2f} ms, added {whole - engine:.2f} ms")


def in_loop(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=event_loop) as runner:
        return runner.run(work)


async def until_ready(port: int) -> None:
    while True:
        try:
            await ask(port, 0, 1)
            return
        except (OSError, IndexError):
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    main()
