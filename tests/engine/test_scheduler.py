"""The scheduler against a naive model of what it may do, driven by random operations."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qwill.engine.pools import Pool
from qwill.engine.request import Prompt, Request
from qwill.engine.sampler import Sampled, Sampler
from qwill.engine.sampling_params import SamplingParams
from qwill.engine.scheduler import Scheduler

PAGE = 4
EOS = 7


def make_request(length: int, max_tokens: int) -> Request:
    params = SamplingParams(temperature=0, max_tokens=max_tokens)
    positions = np.broadcast_to(np.arange(length, dtype=np.int32), (3, length))
    prompt = Prompt(list(range(length)), positions, length)
    return Request(prompt, params, Sampler(params, 10, []), frozenset({EOS}))


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_random_operations(data: st.DataObject) -> None:
    pages, slots = Pool(data.draw(st.integers(4, 12))), Pool(data.draw(st.integers(1, 4)))
    budget = data.draw(st.integers(1, 9))
    scheduler = Scheduler(pages, slots, PAGE, budget)
    alive: list[Request] = []
    for _ in range(data.draw(st.integers(1, 30))):
        action = data.draw(st.sampled_from(["add", "step", "step", "step", "cancel"]))
        if action == "add":
            request = make_request(data.draw(st.integers(1, 10)), data.draw(st.integers(1, 6)))
            scheduler.add(request)
            alive.append(request)
        elif action == "cancel" and alive:
            scheduler.remove(alive.pop(data.draw(st.integers(0, len(alive) - 1))))
        elif action == "step" and scheduler.has_work:
            chunks = scheduler.schedule()
            assert chunks, "work but no progress"
            assert len({id(chunk.request) for chunk in chunks}) == len(chunks)
            prefill = sum(chunk.count for chunk in chunks if chunk.request.pending > 1)
            decoding = [chunk for chunk in chunks if chunk.request.pending == 1]
            assert prefill <= max(budget - len(decoding), 0)
            # Nobody who only waits for one token is left out.
            assert len(decoding) == sum(request.pending == 1 for request in scheduler.running)
            for chunk in chunks:
                request = chunk.request
                assert 0 < chunk.count <= request.pending
                ready = chunk.count == request.pending
                request.computed += chunk.count
                assert request.computed <= len(request.pages) * PAGE
                if ready:
                    request.commit(Sampled(data.draw(st.sampled_from([1, 2, EOS]))))
                    if request.finish_reason is not None:
                        scheduler.remove(request)
                        alive.remove(request)
        held = [page for request in scheduler.running for page in request.pages]
        assert len(held) == len(set(held)) == pages.size - pages.free
        assert len({request.slot for request in scheduler.running}) == slots.size - slots.free
    for request in alive:
        scheduler.remove(request)
    scheduler.check_integrity()


def test_first_come_first_served() -> None:
    scheduler = Scheduler(Pool(4), Pool(2), PAGE, 100)
    first, large, small = make_request(4, 4), make_request(8, 4), make_request(1, 1)
    for request in (first, large, small):
        scheduler.add(request)
    assert [chunk.request for chunk in scheduler.schedule()] == [first]  # large must wait, small must not overtake it
    scheduler.remove(first)
    scheduler.schedule()
    assert scheduler.running == [large, small]


@given(st.integers(1, 12), st.integers(0, 12), st.data())
def test_tokens_and_positions_of_a_stretch(prompt: int, generated: int, data: st.DataObject) -> None:
    request = make_request(prompt, 20)
    request.output_ids = [100 + index for index in range(generated)]
    first = data.draw(st.integers(0, prompt + generated - 1))
    count = data.draw(st.integers(1, prompt + generated - first))
    everything = list(range(prompt)) + request.output_ids
    assert request.tokens(first, count) == everything[first : first + count]
    expected = np.tile(np.arange(first, first + count), (3, 1))
    np.testing.assert_array_equal(request.positions(first, count), expected)
