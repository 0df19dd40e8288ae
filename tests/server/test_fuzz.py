"""A sample of benchmarks/fuzz_server.py: none of it may end in a 5xx, in silence or in an answer that never ends."""

from collections import Counter

import pytest
from benchmarks.fuzz_bodies import BODIES
from benchmarks.fuzz_cases import MAKERS, case
from benchmarks.fuzz_server import answer, play, served_paths

from qwill.server import protocol
from qwill.server.settings import Limits, Settings
from server.running import running

CASES = 400
SEED = 7


def test_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[tuple[str, str]] = Counter()
    with running(Settings(limits=Limits(body_seconds=0.2))) as server:
        paths = served_paths(server.url)
        assert {"/v1/chat/completions", "/v1/completions", "/tokenize"} <= paths & BODIES.keys()
        expected = answer(server.url)
        with monkeypatch.context() as patch:
            patch.setattr(protocol, "HEAD_SECONDS", 0.2)
            for number in range(CASES):
                sent = case(SEED, number, paths)
                try:
                    seen[sent.kind, play(server.url, sent)] += 1
                except AssertionError as error:
                    raise AssertionError(f"case {number}: {error}") from error
        assert answer(server.url) == expected
    assert {kind for kind, _ in seen} == MAKERS.keys()
    assert {"200", "400", "404"} <= {outcome for _, outcome in seen}


def test_cases_are_the_same_each_time() -> None:
    paths = frozenset(BODIES)
    assert [case(1, number, paths) for number in range(50)] == [case(1, number, paths) for number in range(50)]
