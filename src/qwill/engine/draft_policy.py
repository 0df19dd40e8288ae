"""How many drafts of each request pay, from what steps took and from what was accepted. Policy only: no arrays."""

from collections.abc import Sequence

FORGET = 0.97  # weight of a step beside that of the step after it
FASTER, SLOWER = 0.5, 0.05  # weight of the newest step of a size; what delays a step is mostly not its size
OUTLIER = 3.0  # a step counts as at most so many times the others of its size
ROW_COST = 0.1  # of a row's share of the time, before steps of different sizes were seen
BELIEF = 4.0  # drafts that the first guess at the acceptance weighs
FIRST_ACCEPTANCE = 0.7
LATEST, LATEST_OF_ALL = 64.0, 256.0  # drafts that are remembered, of one request and of all
WORTH = 1.08  # tokens a second with drafts against those without, lest noise decides
PROBE_EVERY = 32  # steps without drafts, after which one is tried again


class StepTimes:
    """Seconds of steps by their rows: of the latest ones of just so many where there were some, otherwise base + row *
    rows, fitted by least squares to all, the latest most. Kernels take rows in groups, so a line is not enough.
    """

    def __init__(self) -> None:
        self._weight = self._rows = self._seconds = self._squares = self._products = 0.0
        self._latest: dict[int, float] = {}

    def add(self, rows: int, seconds: float) -> None:
        self._weight = FORGET * self._weight + 1.0
        self._rows = FORGET * self._rows + rows
        self._seconds = FORGET * self._seconds + seconds
        self._squares = FORGET * self._squares + rows * rows
        self._products = FORGET * self._products + rows * seconds
        old = self._latest.get(rows, seconds)
        weight = FASTER if seconds < old else SLOWER
        self._latest[rows] = old + weight * (min(seconds, OUTLIER * old) - old)

    @property
    def known(self) -> bool:
        return self._weight > 0

    def seconds(self, rows: int) -> float:
        if rows in self._latest:
            return self._latest[rows]
        base, row = self.fit()
        return max(base + row * rows, min(self._latest.values()) * min(rows / min(self._latest), 1.0))

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
    """How likely the drafts of one request are right: of each depth, once those before it are.

    Until it has tried some of its own, a request is taken to be like those before it, whose tries `prior` counts.
    """

    def __init__(self, depths: int, prior: "Acceptance | None" = None, memory: float = LATEST) -> None:
        """`memory`: tries of a depth that count; those before them are forgotten."""
        self._right, self._tried = [0.0] * depths, [0.0] * depths
        self._prior = prior
        self._memory = memory
        self.idle = 0  # tokens since the last draft

    def add(self, drafted: int, accepted: int) -> None:
        """A step that verified `drafted` drafts, of which the first `accepted` were right."""
        if self._prior is not None:
            self._prior.add(drafted, accepted)
        self.idle = 0 if drafted else self.idle + 1
        for depth in range(min(drafted, accepted + 1)):
            keep = min(1.0, self._memory / (self._tried[depth] + 1))
            self._right[depth] = keep * self._right[depth] + (depth < accepted)
            self._tried[depth] = keep * self._tried[depth] + 1

    def chances(self) -> list[float]:
        """Of each depth, that this draft and all before it are right."""
        result, chance = [], 1.0
        for depth in range(len(self._right)):
            chance *= self._rate(depth)
            result.append(chance)
        return result

    def _rate(self, depth: int) -> float:
        expected = FIRST_ACCEPTANCE if self._prior is None else self._prior._rate(depth)
        return (self._right[depth] + BELIEF * expected) / (self._tried[depth] + BELIEF)


class DraftPolicy:
    """Chooses the drafts of a step so that most tokens are expected for its time."""

    def __init__(self, most: int) -> None:
        """`most`: drafts of a request in one step."""
        self._most = most
        self._verifying, self._drafting = StepTimes(), StepTimes()
        self._most_rows = 0  # that a step had so far
        self._without = 0  # steps since the last with drafts
        self._everyone = Acceptance(most, memory=LATEST_OF_ALL)

    def newcomer(self) -> Acceptance:
        """What is known of a request that had no drafts yet."""
        return Acceptance(self._most, self._everyone)

    def add_step(self, rows: int, seconds: float) -> None:
        """A step of the text model over `rows` tokens, none of them a prompt's."""
        self._verifying.add(rows, seconds)
        self._most_rows = max(self._most_rows, rows)

    def add_draft(self, rows: int, seconds: float) -> None:
        """A pass of the draft head that guessed one token for each of `rows` requests."""
        self._drafting.add(rows, seconds)

    def choose(self, requests: Sequence[Acceptance]) -> list[int]:
        """How many drafts each of the requests of the next step gets."""
        if not requests:
            return []
        counts = self._paying(requests)
        if any(counts):
            self._without = 0
        elif self._without < PROBE_EVERY or not self._could_pay(len(requests)):
            self._without += 1
        else:  # the one that had none for the longest time tries one again
            self._without = 0
            counts[max(range(len(requests)), key=lambda index: requests[index].idle)] = 1
        return counts

    def _paying(self, requests: Sequence[Acceptance]) -> list[int]:
        """Depth by depth, each draft that promises more tokens than its row of text model and head would bring
        otherwise; then as many of the depths as give the most tokens a second, if that is clearly more than without.
        Steps grow to little more than twice the largest so far, for what larger ones take is not known.
        """
        counts = [0] * len(requests)
        room = 2 * (self._most_rows + 1) - len(requests)
        if not (self._verifying.known and self._drafting.known):
            counts[:1] = [1] * len(requests[:1])
            return counts
        _, row = self._verifying.fit()
        head, head_row = self._drafting.fit()
        rows, tokens, drafting = len(requests), float(len(requests)), 0.0
        speed = tokens / self._verifying.seconds(rows)
        best, best_speed = list(counts), WORTH * speed
        chances = [request.chances() for request in requests]
        for depth in range(self._most):
            worth = [
                index
                for index, chance in enumerate(chances)
                if counts[index] == depth and chance[depth] > (row + head_row) * speed
            ]
            worth = sorted(worth, key=lambda index: -chances[index][depth])[: room - sum(counts)]
            if not worth:
                break
            for index in worth:
                counts[index] += 1
            rows += len(worth)
            tokens += sum(chances[index][depth] for index in worth)
            drafting += head + head_row * len(worth)
            speed = tokens / (self._verifying.seconds(rows) + drafting)
            if speed > best_speed:
                best, best_speed = list(counts), speed
        return best

    def _could_pay(self, requests: int) -> bool:
        """Whether a draft for each would pay if all were right."""
        head, head_row = self._drafting.fit()
        without = self._verifying.seconds(requests)
        return 2 * without > WORTH * (self._verifying.seconds(2 * requests) + head + head_row * requests)
