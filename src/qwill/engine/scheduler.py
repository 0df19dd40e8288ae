"""Which tokens the next step computes. Policy only: no arrays, no model."""

from array import array
from collections import deque
from dataclasses import dataclass

from qwill.engine.pools import Pool
from qwill.engine.request import Request


@dataclass(frozen=True)
class Chunk:
    """The next `count` tokens of a request."""

    request: Request
    count: int


class Scheduler:
    """First come, first served. A request is admitted with all the pages it can ever need, so it never stops halfway.

    Each step decodes every running request and fills what is left of the token budget with prompts, piece by piece.
    """

    def __init__(self, pages: Pool, slots: Pool, page_size: int, token_budget: int) -> None:
        self._pages = pages
        self._slots = slots
        self._page_size = page_size
        self._token_budget = token_budget
        self._waiting: deque[Request] = deque()
        self.running: list[Request] = []

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self.running)

    def add(self, request: Request) -> None:
        assert self.pages_for(request) <= self._pages.size
        self._waiting.append(request)

    def pages_for(self, request: Request) -> int:
        """Pages that hold the prompt and the longest answer."""
        return -(-(len(request.prompt.token_ids) + request.max_tokens) // self._page_size)

    def schedule(self) -> list[Chunk]:
        """The chunks of the next step, at most one a request; the first one of a request starts from a cleared slot."""
        while self._waiting and self._slots.free and self.pages_for(self._waiting[0]) <= self._pages.free:
            request = self._waiting.popleft()
            request.pages = array("i", self._pages.take(self.pages_for(request)))
            (request.slot,) = self._slots.take(1)
            self.running.append(request)
        decoding = [request for request in self.running if request.pending == 1]
        chunks = [Chunk(request, 1) for request in decoding]
        budget = self._token_budget - len(decoding)
        for request in self.running:
            if request.pending > 1 and budget > 0:
                count = min(request.pending, budget)
                chunks.append(Chunk(request, count))
                budget -= count
        return chunks

    def remove(self, request: Request) -> None:
        """Takes a finished or cancelled request out and frees what it held."""
        if request in self.running:
            self.running.remove(request)
            self._pages.give_back(request.pages)
            self._slots.give_back([request.slot])
            request.pages, request.slot = array("i"), -1
        elif request in self._waiting:
            self._waiting.remove(request)

    def check_integrity(self) -> None:
        """Asserts that an idle scheduler holds nothing."""
        assert not self.has_work
        assert self._pages.free == self._pages.size, "pages leaked"
        assert self._slots.free == self._slots.size, "slots leaked"
