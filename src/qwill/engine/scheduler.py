"""Which tokens the next step computes, and who gets pages and slots. Policy only: no arrays, no model."""

from array import array
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from qwill.engine.pace import Pace
from qwill.engine.pools import Pool
from qwill.engine.prefix_cache import PrefixCache, Snapshot
from qwill.engine.request import Request

MOST_LAID_BY = 4  # last tokens of a step that can stay out of the recurrent states: drafts, or the end of a prompt
ROOM_TO_GROW = 2  # pages that stay free for each request before another one joins, lest it has to leave again at once
WORTH_SHARING = 64  # tokens that a request waits for while another computes them


@dataclass(frozen=True)
class Chunk:
    """`count` tokens of a request from token `first` on, of which the last `drafts` are guesses. The first `kept` enter
    the recurrent states; the others are laid by.
    """

    request: Request
    first: int
    count: int
    kept: int
    drafts: int = 0


class Arrays(Protocol):
    """What holds the sequences' keys, values and states, and moves them when the scheduler says so."""

    def begin(self, request: Request, snapshot: Snapshot[Any] | None) -> int:
        """A request got pages and a slot, and goes on from a snapshot or starts from nothing. Returns its tokens that
        need not be computed.
        """

    def save(self, request: Request) -> None:
        """A request loses its pages and its slot after this."""

    def load(self, request: Request) -> None:
        """A saved request got other pages and another slot."""

    def forget(self, request: Request) -> None:
        """A saved request does not come back."""


class Scheduler:
    """Requests go in the order of their priority, then of their arrival; nobody overtakes into memory.

    Pages are taken as a request grows. When they run out, snapshots are dropped, then the requests that come last are
    saved and wait; the first one can always go on, so all are answered in the end. A step writes for every running
    request and reads as much of the prompts as the budget allows: half of it goes to whoever is first, the rest to the
    shortest, so that a long prompt holds nobody up and is never held up for good.
    """

    def __init__(
        self, pages: Pool, slots: Pool, page_size: int, token_budget: int, arrays: Arrays, cache: PrefixCache[Any],
    ) -> None:  # fmt: skip
        self._pages = pages
        self._slots = slots
        self._page_size = page_size
        self._token_budget = token_budget
        self._arrays = arrays
        self._cache = cache
        self._arrivals = count()
        self.pace = Pace()
        self.waiting: list[Request] = []
        self.running: list[Request] = []

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.running)

    def add(self, request: Request) -> None:
        """Queues a request whose prompt and longest answer fit into all pages."""
        assert self._pages_for(len(request.prompt.token_ids) + request.max_tokens) <= self._pages.size
        request.arrival = next(self._arrivals)
        insort(self.waiting, request, key=_turn)

    def schedule(self) -> list[Chunk]:
        """The chunks of the next step, at most one a request; none only when nothing is left to do."""
        self._admit()
        counts = {request: 1 + len(request.drafts) for request in self.running if request.pending == 1}
        budget = self._token_budget - len(counts)
        if any(request.streamed for request in counts):
            budget = min(budget, self.pace.prompt_tokens() or budget)
        counts |= self._shares([request for request in self.running if request.pending > 1], budget)
        # In the order of turns: whoever has to make room for another has no chunk yet.
        return [
            self._chunk(request, counts[request])
            for request in list(self.running)
            if counts.get(request) and request in self.running and self._grow(request, counts[request])
        ]

    def remove(self, request: Request) -> None:
        """Takes a finished or cancelled request out and frees what it held."""
        if request in self.running:
            self.running.remove(request)
            self._give_back(request)
        elif request in self.waiting:
            self.waiting.remove(request)
            if request.saved is not None:
                self._arrays.forget(request)

    def check_integrity(self) -> None:
        """Asserts that an idle scheduler holds nothing but snapshots."""
        assert not self.has_work
        assert self._pages.size - self._pages.free == len(self._cache.pages()), "pages leaked"
        assert self._slots.free == self._slots.size, "slots leaked"

    def _admit(self) -> None:
        for request in list(self.waiting):
            if request.saved is not None:
                admitted = self._resume(request)
            else:
                snapshot = self._cache.find(request.trail) if request.trail is not None else None
                if self._computed_soon(request, snapshot.length if snapshot else 0):
                    continue
                admitted = self._begin(request, snapshot)
            if not admitted:
                return

    def _begin(self, request: Request, snapshot: Snapshot[Any] | None) -> bool:
        found = snapshot.pages if snapshot else []
        # The last page of a snapshot goes on with other tokens, so a copy of it is needed.
        shared = max(len(found) - 1, 0)
        self._pages.hold(found)
        needed = min(self._pages_for(request.length + MOST_LAID_BY), self._most_pages(request)) - shared
        admitted = self._take(request, needed, found[:shared], found[shared:])
        if not admitted:
            self._pages.release(found)
            return snapshot is not None and not self.running and self._begin(request, None)
        request.computed = request.cached = self._arrays.begin(request, snapshot)
        while request.snapshots and request.snapshots[0] <= request.computed:
            request.snapshots.pop(0)
        self._pages.release(found[shared:])
        return True

    def _resume(self, request: Request) -> bool:
        needed = self._pages_for(request.computed + 1 + len(request.drafts) + MOST_LAID_BY)
        if not self._take(request, min(needed, self._most_pages(request)), [], []):
            return False
        self._arrays.load(request)
        return True

    def _take(self, request: Request, needed: int, shared: Sequence[int], copied: Sequence[int]) -> bool:
        """Moves a waiting request to the running ones, with a slot, the shared pages and `needed` of its own."""
        room = sum(
            min(ROOM_TO_GROW, self._most_pages(other) - len(other.pages))
            for other in self.running
            if other.turn < request.turn
        )
        if not self._make_room(request, needed + room, 1, [*shared, *copied]):
            return False
        self.waiting.remove(request)
        insort(self.running, request, key=_turn)
        request.pages = array("i", [*shared, *self._pages.take(needed)])
        (request.slot,) = self._slots.take(1)
        return True

    def _computed_soon(self, request: Request, found: int) -> bool:
        """Whether a running request is about to save a beginning of this one, longer than the `found` tokens."""
        trail = request.trail
        if trail is None:
            return False
        return any(
            found + WORTH_SHARING <= length < len(trail) and other.trail.place(length) == trail.place(length)
            for other in self.running
            if other.trail is not None
            for length in other.snapshots
        )

    def _shares(self, reading: list[Request], budget: int) -> dict[Request, int]:
        """How many tokens of each prompt the next step reads, at most `budget` in all."""
        counts = dict.fromkeys(reading, 0)
        if reading:
            counts[reading[0]] = min(reading[0].pending, -(-budget // 2))
            budget -= counts[reading[0]]
        for request in sorted(reading[1:], key=lambda request: (request.priority, request.pending)):
            counts[request] = max(0, min(request.pending, budget))
            budget -= counts[request]
        if reading and budget > 0:
            counts[reading[0]] = min(reading[0].pending, counts[reading[0]] + budget)
        return counts

    def _chunk(self, request: Request, count: int) -> Chunk:
        """The next `count` tokens of a request, fewer where a snapshot is due before them."""
        first, drafts = request.computed, len(request.drafts)
        kept = count - drafts
        if request.snapshots and request.snapshots[0] < first + count:
            kept = request.snapshots[0] - first
            if count < request.pending or count - kept > MOST_LAID_BY:
                count = kept
        return Chunk(request, first, count, kept, drafts)

    def _grow(self, request: Request, count: int) -> bool:
        """Takes the pages for that many tokens more and for the drafts after them. When there are none, the request
        sits this step out with what it has.
        """
        pages = min(self._pages_for(request.computed + count + MOST_LAID_BY), self._most_pages(request))
        missing = pages - len(request.pages)
        if missing > 0:
            if not self._make_room(request, missing, slots=0):
                return False
            request.pages.extend(self._pages.take(missing))
        return True

    def _make_room(self, request: Request, pages: int, slots: int, holding: Sequence[int] = ()) -> bool:
        """Whether that many are free for the request beside the pages that it is `holding`, once snapshots are dropped
        and the requests that come after it are saved. Nobody is dropped or saved in vain.
        """
        if self._pages.free < pages or self._slots.free < slots:
            before = [other for other in self.running if other.turn <= request.turn]
            held = {page for other in before for page in other.pages}.union(holding)
            if self._pages.size - len(held) < pages or self._slots.size - len(before) < slots:
                return False
            while self._slots.free < slots or self._pages.free < pages:
                if self._slots.free >= slots and len(self._cache):
                    self._cache.drop_oldest()
                else:
                    self._save(self.running[-1])
        return True

    def _save(self, request: Request) -> None:
        self._arrays.save(request)
        self.running.remove(request)
        self._give_back(request)
        insort(self.waiting, request, key=_turn)

    def _give_back(self, request: Request) -> None:
        self._pages.release(request.pages)
        self._slots.release([request.slot])
        request.pages, request.slot = array("i"), -1

    def _pages_for(self, tokens: int) -> int:
        return -(-tokens // self._page_size)

    def _most_pages(self, request: Request) -> int:
        return self._pages_for(len(request.prompt.token_ids) + request.max_tokens)


def _turn(request: Request) -> tuple[int, int]:
    return request.turn
