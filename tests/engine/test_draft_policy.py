"""How many drafts are chosen, for steps whose cost is known."""

from itertools import pairwise

import pytest

from qwill.engine.draft_policy import FIRST_ACCEPTANCE, PROBE_EVERY, Acceptance, DraftPolicy, StepTimes


def policy(base: float, row: float, head: float, head_row: float = 0.0) -> DraftPolicy:
    """One that has seen steps of 1 to 8 rows that took exactly so long."""
    result = DraftPolicy(4)
    result._most_rows = 1000
    for rows in (1, 2, 3, 4, 6, 8) * 20:
        result.add_step(rows, base + row * rows)
        result.add_draft(rows, head + head_row * rows)
    return result


def acceptance(*accepted: int, drafted: int = 4) -> Acceptance:
    result = Acceptance(4)
    for count in accepted:
        result.add(drafted, count)
    return result


def test_times_are_fitted() -> None:
    times = StepTimes()
    for rows in (1, 2, 3, 4, 6, 8) * 20:
        times.add(rows, 20 + 3 * rows)
    base, row = times.fit()
    assert base == pytest.approx(20, rel=0.1)
    assert row == pytest.approx(3, rel=0.1)


def test_steps_of_one_size_tell_little_about_a_row() -> None:
    times = StepTimes()
    for _ in range(50):
        times.add(4, 10.0)
    base, row = times.fit()
    assert base + 4 * row == pytest.approx(10)
    assert row == pytest.approx(0.25)


def test_slower_steps_of_late_count_most() -> None:
    times = StepTimes()
    for seconds in (1.0, 2.0):
        for rows in (1, 2, 3, 4) * 50:
            times.add(rows, seconds + 0.1 * rows)
    assert times.fit()[0] == pytest.approx(2.0, abs=0.1)


def test_steps_of_a_known_size_are_looked_up() -> None:
    times = StepTimes()
    for rows, seconds in ((1, 18.0), (2, 19.0), (3, 30.0), (4, 24.0)) * 30:
        times.add(rows, seconds)
    assert [times.seconds(rows) for rows in (1, 2, 3, 4)] == pytest.approx([18, 19, 30, 24])
    assert times.seconds(6) == pytest.approx(sum(times.fit()) + 5 * times.fit()[1])
    times.add(3, 1000.0)
    assert times.seconds(3) < 45


def test_what_delays_a_step_now_and_then_is_not_taken_for_its_size() -> None:
    times = StepTimes()
    for step in range(90):
        times.add(5, 40.0 if step % 3 == 2 else 20.0)
    assert times.seconds(5) < 22
    for _ in range(60):
        times.add(5, 40.0)
    assert times.seconds(5) > 38


def test_no_step_takes_no_time() -> None:
    times = StepTimes()
    for rows, seconds in ((4, 0.1), (5, 10.0)) * 20:
        times.add(rows, seconds)
    assert times.seconds(1) >= 0.1 / 4
    assert times.seconds(3) > 0
    assert times.seconds(40) > 10


def test_nobody_gets_nothing() -> None:
    steep = DraftPolicy(4)
    for rows, seconds in ((4, 0.1), (5, 10.0)) * 20:
        steep.add_step(rows, seconds)
        steep.add_draft(1, 0.1)
    assert steep.choose([]) == []


def test_a_dear_size_is_stepped_over() -> None:
    """Three rows take longer than four: no drafts, or three, but never two."""
    result = DraftPolicy(4)
    for rows, seconds in ((1, 18.0), (2, 19.0), (3, 40.0), (4, 24.0), (5, 60.0)) * 30:
        result.add_step(rows, seconds)
        result.add_draft(1, 1.0)
    assert result.choose([acceptance(*[4] * 100)]) == [3]


def test_chances_follow_what_was_accepted() -> None:
    assert acceptance().chances()[0] == pytest.approx(FIRST_ACCEPTANCE)
    good, bad = acceptance(*[4] * 100).chances(), acceptance(*[0] * 100).chances()
    assert good[0] > 0.95
    assert good[3] > 0.85
    assert bad[0] < 0.05
    first_only = acceptance(*[1] * 100).chances()
    assert first_only[0] > 0.95
    assert first_only[1] < 0.05


def test_cheap_drafts_that_are_right_are_all_taken() -> None:
    assert policy(20, 1, 1).choose([acceptance(*[4] * 100)]) == [4]


def test_drafts_that_are_wrong_are_not_taken() -> None:
    assert policy(20, 1, 1).choose([acceptance(*[0] * 100)]) == [0]


def test_a_head_as_slow_as_the_model_is_not_used() -> None:
    assert policy(20, 1, 30).choose([acceptance(*[4] * 100)]) == [0]


def test_full_batches_leave_no_room_for_drafts() -> None:
    """Where a row costs its full share, no draft pays; where rows are nearly free, all do."""
    requests = [acceptance(*[3, 4] * 50) for _ in range(16)]
    assert policy(0.1, 5, 1).choose(requests) == [0] * 16
    assert policy(20, 0.1, 1).choose(requests) == [4] * 16


def test_each_request_by_its_own_acceptance() -> None:
    right, wrong = acceptance(*[4] * 100), acceptance(*[0] * 100)
    assert policy(20, 2, 0.5).choose([right, wrong, right]) == [4, 0, 4]


def test_one_draft_is_tried_again_after_a_while() -> None:
    wrong, other = acceptance(*[0] * 100), acceptance(*[0] * 100)
    tried, chosen = policy(20, 1, 1), []
    for _ in range(3 * PROBE_EVERY + 3):
        chosen.append(tried.choose([wrong, other]))
        for request, count in zip((wrong, other), chosen[-1], strict=True):
            request.add(count, 0)
    probes = [(step, counts) for step, counts in enumerate(chosen) if any(counts)]
    assert [step for step, _ in probes] == [PROBE_EVERY, 2 * PROBE_EVERY + 1, 3 * PROBE_EVERY + 2]
    assert sorted(counts for _, counts in probes[:2]) == [[0, 1], [1, 0]]  # in turns


def test_nothing_is_tried_where_nothing_could_pay() -> None:
    full, requests = policy(0.1, 5, 3), [acceptance(*[0] * 20) for _ in range(16)]
    assert all(full.choose(requests) == [0] * 16 for _ in range(3 * PROBE_EVERY))


def test_a_newcomer_is_like_those_before() -> None:
    known = policy(20, 1, 1)
    assert known.choose([known.newcomer()]) == [4]
    for _ in range(30):
        known.newcomer().add(4, 0)
    assert known.choose([known.newcomer()]) == [0]
    assert known.newcomer().chances()[0] < 0.15


def test_steps_grow_bit_by_bit() -> None:
    """As long as larger ones were not seen, whatever the drafts promise."""
    unknown, right = DraftPolicy(4), acceptance(*[4] * 100)
    rows = []
    for _ in range(6):
        counts = unknown.choose([right, right])
        rows.append(2 + sum(counts))
        unknown.add_step(rows[-1], 20.0 + 0.1 * rows[-1])
        unknown.add_draft(2, 0.1)
    assert rows[0] == 3
    assert all(after <= 2 * (before + 1) for before, after in pairwise(rows))
    assert rows[-1] == 10


def test_acceptance_is_learned_anew() -> None:
    changed = acceptance(*[0] * 200)
    for _ in range(100):
        changed.add(1, 1)
    assert changed.chances()[0] > 0.7
