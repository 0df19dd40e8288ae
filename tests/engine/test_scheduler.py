"""The scheduler against a naive model of what it may do, driven by random operations."""

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qwill.engine.pools import Pool
from qwill.engine.prefix_cache import PrefixCache, Snapshot, Trail
from qwill.engine.request import Prompt, Request
from qwill.engine.sampler import Sampled, Sampler
from qwill.engine.sampling_params import SamplingParams
from qwill.engine.scheduler import MOST_LAID_BY, Chunk, Scheduler

PAGE = 4
EOS = 7


class Pages:
    """Arrays in the small: which token of which beginning each place of a page, and each slot, holds."""

    def __init__(self, pages: int, slots: int) -> None:
        self.pages: list[list[Any]] = [[None] * PAGE for _ in range(pages)]
        self.slots: list[Any] = [None] * slots
        self.begun: list[Request] = []

    def begin(self, request: Request, snapshot: Snapshot[Any] | None) -> int:
        self.begun.append(request)
        self.slots[request.slot] = () if snapshot is None else snapshot.saved
        if snapshot is not None:
            self.pages[request.pages[len(snapshot.pages) - 1]] = list(self.pages[snapshot.pages[-1]])
        return 0 if snapshot is None else snapshot.length

    def save(self, request: Request) -> None:
        request.saved = [list(self.pages[page]) for page in request.pages], self.slots[request.slot]

    def load(self, request: Request) -> None:
        contents, self.slots[request.slot] = request.saved
        for page, content in zip(request.pages, contents, strict=False):
            self.pages[page] = content
        request.saved = None

    def forget(self, request: Request) -> None:
        request.saved = None

    def compute(self, chunk: Chunk) -> None:
        """Writes the chunk's tokens, and checks all those before them."""
        request, last = chunk.request, chunk.first + chunk.count
        tokens = tuple(request.tokens(0, last))
        assert self.slots[request.slot] == tokens[: chunk.first - request.replayed]
        self.slots[request.slot] = tokens[: chunk.first + chunk.kept]
        for index in range(last):
            page = self.pages[request.pages[index // PAGE]]
            if index >= chunk.first:
                page[index % PAGE] = tokens[: index + 1]
            assert page[index % PAGE] == tokens[: index + 1]


def make_request(tokens: list[int], max_tokens: int, priority: int = 0) -> Request:
    params = SamplingParams(temperature=0, max_tokens=max_tokens)
    positions = np.broadcast_to(np.arange(len(tokens), dtype=np.int32), (3, len(tokens)))
    prompt = Prompt(tokens, positions, len(tokens))
    return Request(prompt, params, Sampler(params, 10, []), frozenset({EOS}), priority)


def make_scheduler(pages: int, slots: int, budget: int, snapshots: int = 0) -> tuple[Scheduler, Pages]:
    pool, arrays = Pool(pages), Pages(pages, slots)
    cache: PrefixCache[Any] = PrefixCache(snapshots, pool.hold, pool.release)
    return Scheduler(pool, Pool(slots), PAGE, budget, arrays, cache), arrays


def take_snapshot(scheduler: Scheduler, request: Request) -> None:
    length, trail = request.in_state, request.trail
    assert trail is not None
    trail.extend(np.array(request.tokens(len(trail), length - len(trail)), np.int64))
    cache = scheduler._cache
    if not cache.has(trail.place(length)) and cache.budget:
        pages = list(request.pages[: -(-length // PAGE)])
        cache.add(Snapshot(length, trail.place(length), pages, 1, tuple(request.tokens(0, length))))


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_random_operations(data: st.DataObject) -> None:
    pages, slots, budget = (data.draw(st.integers(low, high)) for low, high in ((5, 14), (1, 4), (5, 12)))
    scheduler, arrays = make_scheduler(pages, slots, budget, data.draw(st.integers(0, 4)))
    alive: list[Request] = []
    for _ in range(data.draw(st.integers(1, 40))):
        action = data.draw(st.sampled_from(["add", "step", "step", "step", "cancel"]))
        if action == "add":
            tokens = data.draw(st.lists(st.integers(1, 2), min_size=1, max_size=14))
            longest = pages * PAGE - len(tokens)
            request = make_request(tokens, data.draw(st.integers(1, min(20, longest))), data.draw(st.integers(0, 1)))
            request.trail = Trail(PAGE, np.array(tokens, np.int64))
            request.snapshots = sorted(data.draw(st.sets(st.integers(1, len(tokens) - 1)))) if len(tokens) > 1 else []
            scheduler.add(request)
            alive.append(request)
        elif action == "cancel" and alive:
            scheduler.remove(alive.pop(data.draw(st.integers(0, len(alive) - 1))))
        elif action == "step" and scheduler.has_work:
            run_step(scheduler, arrays, alive, budget, data)
        held = Counter(page for request in scheduler.running for page in request.pages) + scheduler._cache.pages()
        assert all(scheduler._pages.holders(page) == held[page] for page in range(pages))
        assert len({request.slot for request in scheduler.running}) == slots - scheduler._slots.free
        assert sorted(map(id, [*scheduler.running, *scheduler.waiting])) == sorted(map(id, alive))
        for queue in (scheduler.running, scheduler.waiting):
            assert queue == sorted(queue, key=lambda request: request.turn)
    steps = 0
    while scheduler.has_work:
        run_step(scheduler, arrays, alive, budget, data)
        steps += 1
        assert steps < 2000, "they hinder each other for ever"
    scheduler.check_integrity()


def run_step(scheduler: Scheduler, arrays: Pages, alive: list[Request], budget: int, data: st.DataObject) -> None:
    chunks = scheduler.schedule()
    assert chunks, "work but no progress"
    assert min(alive, key=lambda request: request.turn) in [chunk.request for chunk in chunks], "the first one waits"
    assert len({chunk.request for chunk in chunks}) == len(chunks)
    decoding = [chunk for chunk in chunks if chunk.request.pending == 1]
    assert sum(chunk.count for chunk in chunks if chunk.request.pending > 1) <= max(budget - len(decoding), 0)
    for chunk in chunks:
        request = chunk.request
        assert chunk.first == request.computed
        assert 0 < chunk.kept <= chunk.count <= request.pending + chunk.drafts
        assert chunk.count - chunk.kept <= MOST_LAID_BY
        arrays.compute(chunk)
        request.computed += chunk.count - chunk.drafts
        request.replayed = chunk.count - chunk.drafts - chunk.kept
        drafts, request.drafts = request.drafts, []
        if request.snapshots and request.snapshots[0] == request.in_state:
            take_snapshot(scheduler, request)
        while request.snapshots and request.snapshots[0] <= request.in_state:
            request.snapshots.pop(0)
        if request.pending:
            continue
        request.snapshots.clear()
        for draft in [*drafts, None]:
            token = data.draw(st.sampled_from([1, 2, 2, 2, EOS]))
            request.commit(Sampled(token))
            if request.finish_reason is not None or token != draft:
                break
            request.computed += 1
            request.replayed += 1
        if request.finish_reason is None:
            most = min(MOST_LAID_BY, request.max_tokens - len(request.output_ids) - 1)
            request.drafts = data.draw(st.lists(st.integers(1, 2), max_size=most))
            continue
        take_snapshot(scheduler, request)
        scheduler.remove(request)
        alive.remove(request)


def test_first_come_first_served() -> None:
    scheduler, _ = make_scheduler(pages=5, slots=2, budget=100)
    first, large, small = make_request([1] * 9, 4), make_request([1] * 9, 4), make_request([1], 1)
    for request in (first, large, small):
        scheduler.add(request)
    assert [chunk.request for chunk in scheduler.schedule()] == [first]  # large must wait, small must not overtake it
    scheduler.remove(first)
    scheduler.schedule()
    assert scheduler.running == [large, small]


def test_a_higher_priority_takes_the_place() -> None:
    scheduler, arrays = make_scheduler(pages=8, slots=1, budget=100)
    patient, urgent = make_request([1] * 5, 4, priority=1), make_request([2] * 5, 4)
    scheduler.add(patient)
    for chunk in scheduler.schedule():
        arrays.compute(chunk)
        patient.computed += chunk.count
    scheduler.add(urgent)
    assert [chunk.request for chunk in scheduler.schedule()] == [urgent]
    assert scheduler.waiting == [patient]
    scheduler.remove(urgent)
    patient.commit(Sampled(1))
    (chunk,) = scheduler.schedule()
    assert (chunk.request, chunk.first, chunk.count) == (patient, 5, 1)
    arrays.compute(chunk)  # finds what was there before


def test_the_last_one_makes_room_and_comes_back() -> None:
    """Two answers grow until their pages run out: the later one is saved, and goes on where it was."""
    scheduler, arrays = make_scheduler(pages=8, slots=2, budget=100)
    requests = [make_request([number] * 6, 24) for number in (1, 2)]
    for request in requests:
        scheduler.add(request)
    saved = 0
    while scheduler.has_work:
        for chunk in scheduler.schedule():
            arrays.compute(chunk)
            request = chunk.request
            request.computed += chunk.count
            request.commit(Sampled(3))
            if request.finish_reason is not None:
                scheduler.remove(request)
        saved += requests[1].saved is not None
        assert requests[0].saved is None
    assert saved > 5
    assert [len(request.output_ids) for request in requests] == [24, 24]
    scheduler.check_integrity()


def test_a_prompt_waits_for_what_another_computes() -> None:
    scheduler, arrays = make_scheduler(pages=100, slots=4, budget=60, snapshots=9)
    tokens = [1] * 80
    first, second, other = make_request([*tokens, 1], 4), make_request([*tokens, 2], 4), make_request([2] * 90, 4)
    for request in (first, second, other):
        request.trail = Trail(PAGE, np.array(request.prompt.token_ids, np.int64))
        request.snapshots = [80]
        scheduler.add(request)
    while second not in scheduler.running:
        assert second in scheduler.waiting
        for chunk in scheduler.schedule():
            arrays.compute(chunk)
            chunk.request.computed += chunk.count
            chunk.request.replayed = chunk.count - chunk.kept
            if chunk.request.in_state == 80:
                take_snapshot(scheduler, chunk.request)
                chunk.request.snapshots.clear()
        assert arrays.begun[:2] == [first, other]
    assert second.cached == 80


def test_watched_answers_are_not_held_up() -> None:
    """A long prompt is read in pieces that take at most the time that a watched answer may wait."""
    scheduler, arrays = make_scheduler(pages=1000, slots=4, budget=512)
    for _ in range(20):
        scheduler.pace.add_step(decoding=2, prompt_tokens=0, seconds=0.05)
        scheduler.pace.add_step(decoding=2, prompt_tokens=100, seconds=0.05 + 100 * 0.001)
    watched, prompt = make_request([1], 50), make_request([1] * 2000, 4)
    scheduler.add(watched)
    for chunk in scheduler.schedule():
        arrays.compute(chunk)
        watched.computed += 1
        watched.commit(Sampled(1))
    scheduler.add(prompt)
    for watched.streamed, least, most in ((False, 511, 511), (True, 40, 60)):
        counts = {chunk.request: chunk.count for chunk in scheduler.schedule()}
        assert counts[watched] == 1
        assert least <= counts[prompt] <= most


def test_short_prompts_pass_a_long_one() -> None:
    scheduler, _ = make_scheduler(pages=1000, slots=4, budget=64)
    long, short, middle = make_request([1] * 900, 4), make_request([1] * 20, 4), make_request([1] * 50, 4)
    for request in (long, middle, short):
        scheduler.add(request)
    assert {chunk.request: chunk.count for chunk in scheduler.schedule()} == {long: 32, short: 20, middle: 12}


@given(st.integers(1, 12), st.integers(0, 12), st.data())
def test_tokens_and_positions_of_a_stretch(prompt: int, generated: int, data: st.DataObject) -> None:
    request = make_request(list(range(prompt)), 20)
    request.output_ids = [100 + index for index in range(generated)]
    first = data.draw(st.integers(0, prompt + generated - 1))
    count = data.draw(st.integers(1, prompt + generated - first))
    everything = list(range(prompt)) + request.output_ids
    assert request.tokens(first, count) == everything[first : first + count]
    expected = np.tile(np.arange(first, first + count), (3, 1))
    np.testing.assert_array_equal(request.positions(first, count), expected)
