"""How many drafts are chosen, for steps whose cost is known."""

import pytest

from qwill.engine.draft_policy import FIRST_ACCEPTANCE, PROBE_EVERY, Acceptance, DraftPolicy, LinearTime


def policy(base: float, row: float, head: float, head_row: float = 0.0) -> DraftPolicy:
    """One that has seen steps of 1 to 8 rows that took exactly so long."""
    result = DraftPolicy(4)
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
    times = LinearTime()
    for rows in (1, 2, 3, 4, 6, 8) * 20:
        times.add(rows, 20 + 3 * rows)
    base, row = times.fit()
    assert base == pytest.approx(20, rel=0.1)
    assert row == pytest.approx(3, rel=0.1)


def test_steps_of_one_size_tell_little_about_a_row() -> None:
    times = LinearTime()
    for _ in range(50):
        times.add(4, 10.0)
    base, row = times.fit()
    assert base + 4 * row == pytest.approx(10)
    assert row == pytest.approx(0.25)


def test_slower_steps_of_late_count_most() -> None:
    times = LinearTime()
    for seconds in (1.0, 2.0):
        for rows in (1, 2, 3, 4) * 50:
            times.add(rows, seconds + 0.1 * rows)
    assert times.fit()[0] == pytest.approx(2.0, abs=0.1)


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
    wrong = acceptance(*[0] * 100)
    for _ in range(PROBE_EVERY):
        assert policy(20, 1, 1).choose([wrong]) == [0]
        wrong.add(0, 0)
    assert policy(20, 1, 1).choose([wrong]) == [1]


def test_acceptance_is_learned_anew() -> None:
    changed = acceptance(*[0] * 200)
    for _ in range(100):
        changed.add(1, 1)
    assert changed.chances()[0] > 0.7
