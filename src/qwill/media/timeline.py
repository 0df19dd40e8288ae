"""When the frames of a video are shown, by its own clock."""

from array import array
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

import numpy as np

UNKNOWN = -(2**63)  # FFmpeg's number for a missing time
MOST_TICKS = 2**53  # exact as a float; a clock that runs longer is damaged
MOST_REORDERED = 16  # frames: decoders hold back no more, by the standards of video coding
LONGEST_GAP = 86_400  # seconds without a new frame; clocks that leap further were set meanwhile


class Stamps:
    """Times of packets, in the order of decoding, or of `frames`, in the order they are shown, in ticks of `clock`; 16
    bytes for each. `end`: when the last one has been shown, where the file says that.
    """

    def __init__(self, clock: Fraction | None, frames: bool = False) -> None:
        self.clock, self.frames = clock, frames
        self.end: int | None = None
        self.shown, self.decoded = array("q"), array("q")
        self._reordered = False

    def __len__(self) -> int:
        return len(self.shown)

    def add(self, part: Any) -> None:
        """A packet or a frame of PyAV."""
        self.shown.append(UNKNOWN if part.pts is None else part.pts)
        self.decoded.append(UNKNOWN if part.dts is None else part.dts)
        # Where packets are reordered, theirs is how long it takes until the next one is decoded (MP4).
        self._reordered |= len(self) > 1 and self.shown[-1] < self.shown[-2]
        duration = 0 if self._reordered else getattr(part, "duration", None)
        self.end = self.shown[-1] + duration if duration else None


@dataclass(frozen=True)
class Timeline:
    """`ticks`, int64 [frames], at least two: when each frame is first shown, from 0 on and never falling; `length`:
    when the last one has been shown; `clock`: seconds a tick.
    """

    ticks: np.ndarray
    length: int
    clock: Fraction

    @classmethod
    def of(cls, stamps: Stamps) -> Self | None:
        """None where there are no times that could tell more than a rate.

        Frames are decoded into the order they are shown in, so the times, sorted, are theirs: of the two that a file
        may give, of showing and of decoding, those of which fewer are missing or equal (AVI has the latter only). Where
        the clock falls back further than reordering does, or leaps ahead by more than a day, it was set anew, and what
        follows goes on from there. Frames without a time lie evenly between their neighbours. The last frame is shown
        as long as it says, and no shorter than the others on average.
        """
        shown, decoded = np.array(stamps.shown, np.int64), np.array(stamps.decoded, np.int64)
        ticks, ordered = min(shown, decoded, key=_faults), shown if stamps.frames else decoded
        known = np.flatnonzero(ticks != UNKNOWN)
        if not stamps.clock or len(known) < 2 or _span(ticks[known]) > MOST_TICKS:
            return None
        origin = ticks[known].min()
        ticks = np.interp(np.arange(len(ticks)), known, ticks[known] - origin).astype(np.int64)
        end = 0 if stamps.end is None else min(stamps.end - int(origin), MOST_TICKS)
        if len(resets := _resets(ordered, ticks, stamps.clock)):
            ticks, end = _joined(ticks, resets), 0
        ticks.sort()
        first, last = int(ticks[0]), int(ticks[-1])
        if not 0 < last - first <= MOST_TICKS:
            return None
        average = (last - first) * len(ticks) // (len(ticks) - 1)
        return cls(ticks - first, max(end - first, average), stamps.clock)

    @property
    def seconds(self) -> float:
        """From the beginning of the first frame to the end of the last."""
        return float(self.length * self.clock)

    def contradicts(self, rate: float) -> bool:
        """Whether frames at `rate` a second are others than these.

        A rate stands for times as long as each frame is nearer to its own than to another's: off by no more than half a
        frame, or by a tick, since times are rounded to those.
        """
        tick = float(self.clock) * rate
        off = np.abs(self.ticks * tick - np.arange(len(self.ticks))).max()
        return bool(off > max(0.5, tick) + 1e-6)

    def sample(self, count: int) -> tuple[list[int], list[float]]:
        """Which frames are seen at `count` times, evenly spaced from the first frame to the last, and when, in seconds.

        A frame's time is when it is first shown; one that is still shown at later times is seen again, at those. All
        frames, once each, where there are no more than `count`. Where the last one is shown for longer than the others
        are on average, the times go on by what it is longer.
        """
        frames = len(self.ticks)
        if count >= frames:
            return list(range(frames)), [float(tick * self.clock) for tick in self.ticks.tolist()]
        until = max(int(self.ticks[-1]), self.length * (frames - 1) // frames)
        looks = [number * until // max(count - 1, 1) for number in range(count)]
        indices = (np.searchsorted(self.ticks, looks, side="right") - 1).tolist()
        seen = [
            look if number and indices[number - 1] == index else int(self.ticks[index])
            for number, (look, index) in enumerate(zip(looks, indices, strict=True))
        ]
        return indices, [float(tick * self.clock) for tick in seen]


def _faults(ticks: np.ndarray) -> int:
    """How many are missing, or equal to others."""
    known = np.sort(ticks[ticks != UNKNOWN])
    return len(ticks) - int(np.count_nonzero(known[1:] != known[:-1])) - min(len(known), 1)


def _span(ticks: np.ndarray) -> int:
    return int(ticks.max()) - int(ticks.min())


def _resets(ordered: np.ndarray, ticks: np.ndarray, clock: Fraction) -> np.ndarray:
    """Where the clock was set anew: the first frame after each, by what should never fall."""
    known = np.flatnonzero(ordered != UNKNOWN)
    steps = np.diff(ordered[known])
    back = MOST_REORDERED * _usual_step(ticks)
    return known[1:][(steps < -back) | (steps > float(LONGEST_GAP / clock))]


def _joined(ticks: np.ndarray, resets: np.ndarray) -> np.ndarray:
    """Each stretch between settings of the clock a usual step after the one before."""
    step = _usual_step(ticks)
    stretches = []
    after = 0
    for stretch in np.split(ticks, resets):
        stretches.append(stretch - stretch.min() + after)
        after = int(stretches[-1].max()) + step
    return np.concatenate(stretches)


def _usual_step(ticks: np.ndarray) -> int:
    steps = np.diff(np.sort(ticks))
    return int(np.median(steps[steps > 0])) if np.any(steps > 0) else 0
