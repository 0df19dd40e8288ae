"""The prefix cache against a naive model that compares whole sequences, driven by random operations."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qwill.engine.prefix_cache import PrefixCache, Snapshot, Trail

PAGE = 4


def trail_of(tokens: list[int]) -> Trail:
    return Trail(PAGE, np.array(tokens, np.int64))


def test_a_place_stands_for_everything_before_it() -> None:
    tokens = [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert trail_of(tokens).place(9) != trail_of([1, 2, 3, 0, 5, 6, 7, 8, 9]).place(9)
    assert trail_of(tokens).place(8) == trail_of(tokens[:8]).place(8)
    assert trail_of(tokens).place(8) != trail_of(tokens).place(4)
    assert trail_of([5, 6, 7, 8, 9]).place(5) != trail_of(tokens).place(9)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30), st.data())
def test_trails_grow(tokens: list[int], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(tokens)))
    grown, whole = trail_of(tokens[:cut]), trail_of(tokens)
    grown.extend(np.array(tokens[cut:], np.int64))
    assert len(grown) == len(whole) == len(tokens)
    assert [grown.place(length) for length in range(1, len(tokens) + 1)] == [
        whole.place(length) for length in range(1, len(tokens) + 1)
    ]


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_random_operations(data: st.DataObject) -> None:
    held: Counter[int] = Counter()

    def release(pages: list[int]) -> None:
        held.subtract(pages)
        assert min(held.values()) >= 0

    budget = data.draw(st.integers(4, 20))
    cache: PrefixCache[int] = PrefixCache(budget, held.update, release)
    known: list[tuple[list[int], Snapshot[int]]] = []  # the oldest first
    sequences = st.lists(st.integers(0, 1), min_size=1, max_size=14)
    for number in range(data.draw(st.integers(1, 40))):
        tokens = data.draw(sequences)
        trail = trail_of(tokens)
        action = data.draw(st.sampled_from(["add", "add", "find", "find", "drop"]))
        if action == "add":
            length = data.draw(st.integers(1, len(tokens)))
            place = trail.place(length)
            assert cache.has(place) == any(prefix == tokens[:length] for prefix, _ in known)
            if cache.has(place):
                continue
            pages = [data.draw(st.integers(0, 9)) for _ in range(-(-length // PAGE))]
            snapshot = Snapshot(length, place, pages, data.draw(st.integers(1, 4)), number)
            while sum(other.size for _, other in known) + snapshot.size > budget:
                known.pop(0)
            known.append((tokens[:length], snapshot))
            cache.add(snapshot)
        elif action == "find":
            found = cache.find(trail)
            fitting = [
                index
                for index, (prefix, _) in enumerate(known)
                if len(prefix) < len(tokens) and tokens[: len(prefix)] == prefix
            ]
            best = max(fitting, key=lambda index: len(known[index][0]), default=None)
            assert found is (None if best is None else known[best][1])
            if best is not None:
                known.append(known.pop(best))
        elif known:
            cache.drop_oldest()
            known.pop(0)
        assert len(cache) == len(known)
        assert cache.used == sum(snapshot.size for _, snapshot in known)
        assert +held == Counter(page for _, snapshot in known for page in snapshot.pages)
    while len(cache):
        cache.drop_oldest()
    assert not +held
    assert cache.used == 0
    assert not cache._snapshots._tails
