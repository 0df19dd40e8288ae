"""How many drafts of each request pay, from what steps took and from what was accepted. Policy only: no arrays."""

from collections.abc import Sequence

FORGET = 0.97  # weight of a step beside that of the step after it
ROW_COST = 0.1  # of a row's share of the time, before steps of different sizes were seen
BELIEF = 4.0  # drafts that the first guess at the acceptance weighs
FIRST_ACCEPTANCE = 0.7
LATEST = 64.0  # drafts that are remembered
PROBE_EVERY = 32  # tokens after which a request without drafts tries one again


class LinearTime:
    """seconds = base + row * rows, fitted by least squares to the steps so far, the latest most."""

    def __init__(self) -> None:
        self._weight = self._rows = self._seconds = self._squares = self._products = 0.0

    def add(self, rows: int, seconds: float) -> None:
        for name, value in (
            ("_weight", 1.0),
            ("_rows", rows),
            ("_seconds", seconds),
            ("_squares", rows * rows),
            ("_products", rows * seconds),
        ):
            setattr(self, name, FORGET * getattr(self, name) + value)

    @property
    def known(self) -> bool:
        return self._weight > 0

    def fit(self) -> tuple[float, float]:
        """base and row. Where the steps were all of one size, a row is taken to cost `ROW_COST` of its share."""
        rows, seconds = self._rows / self._weight, self._seconds / self._weight
        spread = self._squares / self._weight - rows * rows
        together = self._products / self._weight - rows * seconds
        guess = ROW_COST * seconds / rows
        slope = max(0.0, (together + guess / self._weight) / (spread + 1 / self._weight))
        slope = min(slope, seconds / rows)
        return seconds - slope * rows, slope


class Acceptance:
    """How likely the drafts of one request are right: of each depth, once those before it are."""

    def __init__(self, depths: int) -> None:
        self._right = [FIRST_ACCEPTANCE * BELIEF] * depths
        self._tried = [BELIEF] * depths
        self.idle = 0  # tokens since the last draft

    def add(self, drafted: int, accepted: int) -> None:
        """A step that verified `drafted` drafts, of which the first `accepted` were right."""
        self.idle = 0 if drafted else self.idle + 1
        for depth in range(min(drafted, accepted + 1)):
            keep = min(1.0, LATEST / (self._tried[depth] + 1))
            self._right[depth] = keep * self._right[depth] + (depth < accepted)
            self._tried[depth] = keep * self._tried[depth] + 1

    def chances(self) -> list[float]:
        """Of each depth, that this draft and all before it are right."""
        result, chance = [], 1.0
        for right, tried in zip(self._right, self._tried, strict=True):
            chance *= right / tried
            result.append(chance)
        return result


class DraftPolicy:
    """Chooses the drafts of a step so that most tokens are expected for its time."""

    def __init__(self, most: int) -> None:
        """`most`: drafts of a request in one step."""
        self._most = most
        self._verifying, self._drafting = LinearTime(), LinearTime()

    def add_step(self, rows: int, seconds: float) -> None:
        """A step of the text model over `rows` tokens, none of them a prompt's."""
        self._verifying.add(rows, seconds)

    def add_draft(self, rows: int, seconds: float) -> None:
        """A pass of the draft head that guessed one token for each of `rows` requests."""
        self._drafting.add(rows, seconds)

    def choose(self, requests: Sequence[Acceptance]) -> list[int]:
        """How many drafts each of the requests of the next step gets.

        Depth by depth: a draft is worth its chance of being right, and costs a row of the text model and of the head;
        a depth costs a pass of the head, too. It is taken while it yields more tokens a second than the step does
        without it.
        """
        counts = [0] * len(requests)
        if not (self._verifying.known and self._drafting.known):
            return [self._most] * len(requests)
        step, row = self._verifying.fit()
        head, head_row = self._drafting.fit()
        tokens, seconds = float(len(requests)), step + row * len(requests)
        chances = [request.chances() for request in requests]
        for depth in range(self._most):
            worth = [
                index
                for index, chance in enumerate(chances)
                if counts[index] == depth and chance[depth] * seconds > (row + head_row) * tokens
            ]
            gain = sum(chances[index][depth] for index in worth)
            cost = head + (row + head_row) * len(worth)
            if not worth or gain * seconds <= cost * tokens:
                break
            tokens, seconds = tokens + gain, seconds + cost
            for index in worth:
                counts[index] += 1
        for index, request in enumerate(requests):
            if counts[index] == 0 and request.idle >= PROBE_EVERY:
                counts[index] = 1
        return counts
