"""Connections that are held for long: many idle ones and many streams at a time, and whether memory stays flat.

    python benchmarks/connections.py [--minutes 10] [--idle 200] [--active 64]

A server of the demonstration model in a process of its own. Idle connections ask for /health once in a while, so that
they stay open; active ones stream one answer after another, some of which they leave in the middle. Ends with an error
when a request fails, or when memory after the first third grew by more than a twentieth.
"""

import argparse
import asyncio
import random
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx

IDLE_SECONDS = 30


def resident_bytes(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


async def idle(url: str, end: float, counts: Counter[str]) -> None:
    async with httpx.AsyncClient(base_url=url, limits=httpx.Limits(keepalive_expiry=None)) as client:
        while time.monotonic() < end:
            assert (await client.get("/health")).status_code == 200
            counts["health"] += 1
            await asyncio.sleep(min(IDLE_SECONDS, max(0.0, end - time.monotonic())))


async def active(url: str, end: float, counts: Counter[str], rng: random.Random) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        while time.monotonic() < end:
            question = f"What is {rng.randint(1, 999)} + {rng.randint(1, 999)}?"
            body = {"messages": [{"role": "user", "content": question}], "stream": True, "max_tokens": 100}
            leave = rng.random() < 0.1
            async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                assert answer.status_code == 200, answer.status_code
                last = ""
                async for line in answer.aiter_lines():
                    last = line or last
                    if leave and rng.random() < 0.1:
                        break
                else:
                    assert last == "data: [DONE]", last
            counts["left" if leave else "answers"] += 1


async def hold(url: str, pid: int, arguments: argparse.Namespace) -> None:
    counts: Counter[str] = Counter()
    end = time.monotonic() + 60 * arguments.minutes
    tasks = [asyncio.create_task(idle(url, end, counts)) for _ in range(arguments.idle)]
    tasks += [asyncio.create_task(active(url, end, counts, random.Random(index))) for index in range(arguments.active)]
    memory = []
    while time.monotonic() < end:
        await asyncio.sleep(min(15.0, 20 * arguments.minutes))
        memory.append(resident_bytes(pid))
        print(f"{memory[-1] / 1e6:.0f} MB, {dict(counts)}", flush=True)
        for task in tasks:
            if task.done():
                task.result()
    await asyncio.gather(*tasks)
    early, late = memory[len(memory) // 3], memory[-1]
    print(f"{early / 1e6:.1f} MB after a third, {late / 1e6:.1f} MB at the end; {dict(counts)}")
    if late > 1.05 * early:
        sys.exit("memory grew")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--idle", type=int, default=200)
    parser.add_argument("--active", type=int, default=64)
    parser.add_argument("--port", type=int, default=18_441)
    arguments = parser.parse_args()
    options = ["--port", str(arguments.port), "--queue", str(arguments.active), "--cache-tokens", "16384"]
    server = subprocess.Popen(
        [sys.executable, "-m", "qwill", "serve", "demo", *options], stderr=subprocess.DEVNULL, text=True
    )
    url = f"http://127.0.0.1:{arguments.port}"
    try:
        asyncio.run(hold_when_ready(url, server.pid, arguments))
    finally:
        server.terminate()
        server.wait()


async def hold_when_ready(url: str, pid: int, arguments: argparse.Namespace) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        while True:
            try:
                if (await client.get("/ready")).status_code == 200:
                    break
            except httpx.TransportError:
                await asyncio.sleep(0.1)
    await hold(url, pid, arguments)


if __name__ == "__main__":
    main()
