"""Tens of thousands of requests that no client would send, against a server of the demonstration model.

    PYTHONPATH=. python benchmarks/fuzz_server.py [--cases 50000] [--seed N] [--clients 16] [--only NUMBER]

The cases are those of fuzz_cases.py: mutated bodies of all dialects, random bytes, damaged pictures and videos, torn,
chunked and pipelined requests, broken HTTP, and clients that leave in the middle of answers. The server runs in a
process of its own. Ends with an error, which names the seed and the number of the case, at the first answer of 500 or
above, connection that nobody answers, refusal without a reason, or death of the server; and if a question that comes in
between is not answered as always, if the server's log has errors, or if its memory after the first third grew by more
than a tenth. Prints how many cases of each kind were answered how.
"""

import argparse
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from benchmarks.fuzz_cases import Case, case

SECONDS = 120.0  # after which an answer does not come any more
BETWEEN = 500  # cases between two good requests
MEMORY_SHARE = 0.10
# glibc holds on to much of what threads freed, which would look like a leak; with these it gives back what is free.
GIVEN_BACK = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "262144"}
QUESTION = {"messages": [{"role": "user", "content": "What is 17 + 25?"}], "temperature": 0, "seed": 1}
STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3})", re.MULTILINE)


def play(url: str, sent: Case) -> str:
    """What came of a case: the statuses of its answers, or that the client left. Raises AssertionError."""
    parts = urlsplit(url)
    said = b""
    try:
        with socket.create_connection((parts.hostname, parts.port), SECONDS) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in sent.pieces:
                connection.sendall(piece)
            while (sent.leave is None or len(said) < sent.leave) and not stays_open(said):
                piece = connection.recv(65536)
                if not piece:
                    break
                said += piece
    except (BrokenPipeError, ConnectionResetError):  # the server has heard enough
        pass
    except TimeoutError:
        raise AssertionError(f"no answer in {SECONDS:g} s; so far {said[:500]!r}") from None
    statuses = [int(found) for found in STATUS.findall(said)]
    assert all(100 <= status < 500 for status in statuses), said[:2000]
    head, _, body = said.partition(b"\r\n\r\n")
    if b"text/event-stream" in head:  # which may fail after a 200
        assert b'"server_error"' not in body, said[-2000:]
        assert b'"api_error"' not in body, said[-2000:]
    if sent.leave is not None:
        return "left"
    if len(statuses) == 1 and statuses[0] >= 400 and b"application/json" in head and body:
        assert b'"error"' in body, said[:2000]
    return str(statuses[0]) if len(statuses) == 1 else "several" if statuses else "nothing"


def stays_open(said: bytes) -> bool:
    """Whether a whole answer came, in a connection that the server holds open for the next request."""
    head, end, body = said.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").lower().partition(b"\r\n\r\n")
    if not end or b"connection: close" in head:
        return False
    length = re.search(rb"content-length: (\d+)", head)
    return body.endswith(b"0\r\n\r\n") if length is None else len(body) >= int(length[1])


def answer(url: str) -> str:
    """The answer to a good question."""
    request = Request(f"{url}/v1/chat/completions", json.dumps(QUESTION).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=SECONDS) as response:
        return str(json.load(response)["choices"][0]["message"]["content"])


def served_paths(url: str) -> frozenset[str]:
    with urlopen(f"{url}/openapi.json", timeout=SECONDS) as response:
        return frozenset(json.load(response)["paths"])


class Fuzzing:
    """Clients that take one number after the other."""

    def __init__(self, url: str, seed: int, cases: int, pid: int) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.memory: list[int] = []
        self.failure: str | None = None
        self._url = url
        self._seed = seed
        self._cases = cases
        self._pid = pid
        self._paths = served_paths(url)
        self._expected = answer(url)
        self._next = 0
        self._lock = threading.Lock()
        self._told = time.monotonic()

    def work(self) -> None:
        while self.failure is None:
            with self._lock:
                number = self._next
                self._next += 1
            if number >= self._cases:
                return
            try:
                self._one(number)
            except Exception as error:
                self.failure = self.failure or f"case {number} of seed {self._seed}: {type(error).__name__}: {error}"

    def _one(self, number: int) -> None:
        sent = case(self._seed, number, self._paths)
        outcome = play(self._url, sent)
        with self._lock:
            self.counts[sent.kind, outcome] += 1
        if number % BETWEEN == 0:
            found = answer(self._url)
            assert found == self._expected, f"a good question is answered {found!r}, not {self._expected!r}"
            self.memory.append(resident_bytes(self._pid))
            if time.monotonic() - self._told > 30:
                self._told = time.monotonic()
                print(f"{number} cases, {self.memory[-1] / 1e6:.0f} MB", flush=True)


def resident_bytes(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


def serve() -> None:
    """The server's process. Its caches of prompts and pictures are small, so that memory is soon what it stays."""
    from qwill.engine import runner
    from qwill.server import protocol
    from qwill.server.models import Models, Served
    from qwill.server.run import serve as run
    from qwill.server.settings import Limits, Settings

    options = {"max_context": 512, "cache_tokens": 4096, "speculative": True, "threads": 2, "prefix_cache": 8 << 20}
    settings = Settings(port=0, limits=Limits(body_seconds=1, media_seconds=20), max_waiting=256)
    runner.EMBEDDING_BYTES = 4 << 20
    protocol.HEAD_SECONDS = 1.0  # most of the broken requests never come to their end
    run(settings, lambda: Models([Served("demo", "demo", options)], settings.max_waiting))


def start(log: Path) -> tuple[subprocess.Popen[bytes], str]:
    """The server's process, and its address once it answers."""
    with log.open("wb") as errors:
        process = subprocess.Popen([sys.executable, __file__, "--serve"], stderr=errors, env=os.environ | GIVEN_BACK)
    while process.poll() is None:
        found = re.search(r"http://\S+:\d+", log.read_text("utf-8", "replace"))
        if found is not None:
            try:
                urlopen(f"{found[0]}/ready", timeout=5).close()
                return process, found[0]
            except OSError:
                pass
        time.sleep(0.1)
    sys.exit(f"the server did not start: {log.read_text('utf-8', 'replace')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--only", type=int, help="one case, and what came of it")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
        return
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        process, url = start(log)
        try:
            fuzz(url, process, log, arguments)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def fuzz(url: str, process: "subprocess.Popen[bytes]", log: Path, arguments: argparse.Namespace) -> None:
    """All cases, then what is to be said of them."""
    if arguments.only is not None:
        sent = case(arguments.seed, arguments.only, served_paths(url))
        print(sent, play(url, sent), sep="\n")
        return
    started = time.monotonic()
    fuzzing = Fuzzing(url, arguments.seed, arguments.cases, process.pid)
    threads = [threading.Thread(target=fuzzing.work) for _ in range(arguments.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kinds = sorted({kind for kind, _ in fuzzing.counts})
    for kind in kinds:
        outcomes = {outcome: count for (other, outcome), count in sorted(fuzzing.counts.items()) if other == kind}
        print(f"{kind:20} {sum(outcomes.values()):6} {outcomes}")
    lines = log.read_text("utf-8", "replace").splitlines()
    errors = [line for line in lines if '"error": "Traceback' in line or line.startswith("Traceback")]
    if process.poll() is not None:
        sys.exit(f"the server died with {process.returncode}: {fuzzing.failure}")
    if fuzzing.failure or errors:
        sys.exit("\n".join([fuzzing.failure or "the log has errors", *(line[-1500:] for line in errors[:5])]))
    third = len(fuzzing.memory) // 3
    early, late = max(fuzzing.memory[: third + 1]), max(fuzzing.memory[-third - 1 :])
    print(f"seed {arguments.seed}: {arguments.cases} cases in {time.monotonic() - started:.0f} s; memory at most"
          f" {early / 1e6:.0f} MB in the first third, {late / 1e6:.0f} MB in the last")  # fmt: skip
    if late > early * (1 + MEMORY_SHARE):
        sys.exit("memory grew")


if __name__ == "__main__":
    main()
