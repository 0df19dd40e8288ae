"""First requests of the programs that people use are answered, and what means nothing here is named in the header."""

from collections.abc import Iterator

import numpy as np
import pytest
from scripted import loads

from qwill.server.models import Served
from server.asking import send
from server.first_library_requests import LIBRARIES
from server.first_requests import PROGRAMS, FirstRequest, Words
from server.running import Running, running

REQUESTS = 200
FAILURES = ('{"error"', '"type":"error"', "response.failed")  # of a stream, whose status was told before


@pytest.fixture(scope="module")
def roomy() -> Iterator[Running]:
    """A server whose context holds the tools of agents."""
    options = {"max_context": 8192, "cache_tokens": 16384, "threads": 2}
    with running(served=[Served("demo", "demo", options)], load=loads(lambda messages, tools: "")) as started:
        yield started


def drawn() -> list[FirstRequest]:
    """Two hundred requests, of each shape as many."""
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    shapes = [*PROGRAMS, *LIBRARIES]
    return [shapes[number % len(shapes)](Words(seed + number)) for number in range(REQUESTS)]


def test_first_requests_are_answered_and_told_what_was_ignored(roomy: Running) -> None:
    for request in drawn():
        answer = send("POST", roomy.url + request.path, json=request.body)
        told = f"{request.program}: {answer.text[:500]}\n{request.body}"
        assert answer.status_code == 200, told
        named = answer.headers.get("x-qwill-ignored", "")
        assert named == ", ".join(sorted(request.ignored)), f"{named}\n{told}"
        assert not any(mark in answer.text for mark in FAILURES), told
