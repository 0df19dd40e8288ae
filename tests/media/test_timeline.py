import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwill.media.timeline import Stamps, Timeline
from qwill.media.video import VideoSettings, choose_frames

RATES = [Fraction(24_000, 1001), Fraction(25), Fraction(30_000, 1001), Fraction(30), Fraction(60), Fraction(120)]
CLOCKS = [Fraction(1, 1000), Fraction(1, 90_000), Fraction(1, 600), Fraction(1, 12_800)]


def stamps(
    shown: list[int | None],
    clock: Fraction = Fraction(1, 1000),
    decoded: list[int | None] | None = None,
    last: int = 0,
    frames: bool = False,
) -> Stamps:
    result = Stamps(clock, frames)
    for number, (pts, dts) in enumerate(zip(shown, shown if decoded is None else decoded, strict=True)):
        result.add(SimpleNamespace(pts=pts, dts=dts, duration=last if number == len(shown) - 1 else 0))
    return result


def timeline(*given: object, **more: object) -> Timeline:
    result = Timeline.of(stamps(*given, **more))
    assert result is not None
    return result


@settings(deadline=None)
@given(
    st.sampled_from(RATES), st.sampled_from(CLOCKS), st.integers(2, 3000), st.integers(-(10**12), 10**12), st.booleans()
)
def test_a_constant_rate_in_any_clock_is_none_of_its_contradictions(
    rate: Fraction, clock: Fraction, count: int, start: int, down: bool
) -> None:
    rounded = [(math.floor if down else round)(number / rate / clock) + start for number in range(count)]
    assert not timeline(rounded, clock).contradicts(float(rate))
    chosen, times = choose_frames(stamps(rounded, clock), float(rate), VideoSettings())
    assert times == [index / float(rate) for index in chosen]


@settings(deadline=None)
@given(st.integers(2, 400), st.data())
def test_a_frame_further_off_than_half_of_one_contradicts(count: int, data: st.DataObject) -> None:
    """At 25 a second, 40 ms each, in a clock of 1/1000."""
    ticks = [40 * number + data.draw(st.integers(-10, 10)) for number in range(count)]
    ticks[0] = 0
    assert not timeline(ticks).contradicts(25)
    late = data.draw(st.integers(1, count - 1))
    ticks[late] = 40 * late + 21
    assert timeline(ticks).contradicts(25)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=2, max_size=80), st.integers(1, 90), st.integers(0, 9000))
def test_what_is_shown_at_even_times(gaps: list[int], count: int, last: int) -> None:
    ticks = np.cumsum([0, *gaps[1:]]).tolist()
    if ticks[-1] == 0:
        assert Timeline.of(stamps(ticks)) is None
        return
    indices, times = timeline(ticks, last=last).sample(count)
    if count >= len(ticks):
        assert indices == list(range(len(ticks)))
        assert times == [tick / 1000 for tick in ticks]
        return
    # The end of the last look is the last frame, or as much later as that is shown longer than the average frame.
    length = max(ticks[-1] + last, ticks[-1] * len(ticks) // (len(ticks) - 1))
    until = max(ticks[-1], length * (len(ticks) - 1) // len(ticks))
    for number, (index, time) in enumerate(zip(indices, times, strict=True)):
        look = Fraction(number * until, max(count - 1, 1))
        assert index == max(place for place, tick in enumerate(ticks) if tick <= look)
        again = number > 0 and indices[number - 1] == index
        assert time == pytest.approx((math.floor(look) if again else ticks[index]) / 1000)


def test_packets_in_the_order_of_decoding() -> None:
    """As H.264 in an MP4: the fourth frame is decoded second, and lasts until the next one that is decoded."""
    line = timeline([0, 90, 30, 60, 180, 120], decoded=[-30, 0, 30, 60, 90, 120], last=5000)
    assert line.ticks.tolist() == [0, 30, 60, 90, 120, 180]
    assert line.length == 216


def test_times_of_decoding_alone() -> None:
    """As H.264 in an AVI, whose times of showing are guesses: two are the same."""
    line = timeline([40, 80, 120, 160, 160], decoded=[0, 40, 80, 120, 160])
    assert line.ticks.tolist() == [0, 40, 80, 120, 160]


def test_frames_without_a_time_lie_between_their_neighbours() -> None:
    assert timeline([None, 0, 10, None, None, 70]).ticks.tolist() == [0, 0, 10, 30, 50, 70]
    assert timeline([5, None, 25], decoded=[None] * 3).ticks.tolist() == [0, 10, 20]


@pytest.mark.parametrize("shown", [[], [7], [None, None], [None, 7], [7, 7, 7], [-(2**62), 2**62]])
def test_no_times_that_tell_more_than_a_rate(shown: list[int | None]) -> None:
    assert Timeline.of(stamps(shown)) is None
    assert Timeline.of(stamps([0, 10], Fraction(0))) is None


def test_frames_a_little_out_of_order_are_put_into_it() -> None:
    assert timeline([0, 10, 30, 20, 40, 40, 50], frames=True).ticks.tolist() == [0, 10, 20, 30, 40, 40, 50]


def test_a_clock_that_begins_again_goes_on() -> None:
    twice = [*range(0, 2000, 40), *range(0, 2000, 40)]
    assert timeline(twice, frames=True).ticks.tolist() == list(range(0, 4000, 40))
    assert timeline(twice).ticks.tolist() == list(range(0, 4000, 40))


def test_a_clock_that_was_set_meanwhile_goes_on() -> None:
    """The first frames came before the camera knew the date."""
    ticks = [0, 40, 1_700_000_000_000, 1_700_000_000_040]
    assert timeline(ticks).ticks.tolist() == [0, 40, 80, 120]


def test_a_long_wait_is_waited_for() -> None:
    ticks = [0, 40, 80, 3_600_000, 3_600_040]
    assert timeline(ticks).ticks.tolist() == ticks


AT_ALL = st.one_of(st.none(), st.integers(-(2**63) + 1, 2**63 - 1), st.integers(-100, 10_000))


@settings(deadline=None, max_examples=500)
@given(
    st.lists(st.tuples(AT_ALL, AT_ALL), min_size=1, max_size=60),
    st.fractions(0, 10**6, max_denominator=10**6),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(1e-6, 1e9),
    st.booleans(),
)
def test_hostile_times(
    times: list[tuple[int | None, int | None]], clock: Fraction, last: int, rate: float, frames: bool
) -> None:
    given = stamps([shown for shown, _ in times], clock, [decoded for _, decoded in times], last, frames)
    indices, seconds = choose_frames(given, rate, VideoSettings())
    assert 1 <= len(indices) == len(seconds) <= len(times)
    assert indices == sorted(indices)
    assert set(indices) <= set(range(len(times)))
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0
    assert math.isfinite(seconds[-1])
