"""The engine: schedule, forward, sample, commit, again and again until every request is answered."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, islice
from typing import Any
from weakref import WeakMethod

import numpy as np

from qwill.engine.disk_cache import DiskCache
from qwill.engine.pools import Pool
from qwill.engine.prefix_cache import Place, PrefixCache, Snapshot, Trail
from qwill.engine.readers import PromptReader
from qwill.engine.request import Prompt, Request
from qwill.engine.runner import Runner, spans, together
from qwill.engine.scheduler import MOST_LAID_BY, Chunk, Scheduler
from qwill.engine.sequences import Sequences, Stored
from qwill.engine.session import Session
from qwill.engine.speculative import MOST_UNREAD, Speculator, most_drafts
from qwill.errors import Busy
from qwill.model.adapters import NOTHING, Applied
from qwill.model.batch import allocate_cache
from qwill.model.model import Model
from qwill.model.parameters import kv_bytes_per_token, state_bytes
from qwill.quant.types import TensorType

PAGE_SIZE = 32
TOKEN_BUDGET = 512
LEAST_SNAPSHOT = 32  # tokens that a snapshot has to add to the one before it


@dataclass(frozen=True)
class Load:
    """How busy an engine is. `pages` are held by requests or by snapshots, which make room when requests need it;
    `pages_of_requests` by running requests alone. `drafts` were verified so far, `drafts_accepted` of them were right.
    """

    running: int
    waiting: int
    pages: int
    pages_of_requests: int
    pages_total: int
    slots: int
    slots_total: int
    snapshots: int
    snapshot_bytes: int
    drafts: int
    drafts_accepted: int


class Engine:
    """Answers requests together. Not thread-safe: one caller steps it."""

    def __init__(
        self,
        model: Model,
        cache_tokens: int,
        max_sequences: int,
        kv_type: TensorType,
        token_budget: int = TOKEN_BUDGET,
        drafts: int | None = 0,
        snapshot_bytes: int = 0,
        disk_cache: DiskCache | None = None,
        max_waiting: int | None = None,
    ) -> None:
        """Pages for `cache_tokens` tokens in all, which the requests share; slots for `max_sequences` at a time.

        A step computes at most `token_budget` tokens of prompts. `drafts`: tokens that a model with a draft head
        guesses for each request in a step, None for as many as pay. `snapshot_bytes`: how much the states may take that
        let later prompts go on where earlier ones were the same; a `disk_cache` keeps them beyond that.
        `max_waiting`: how many requests may wait beside `max_sequences`; None is any number.
        """
        pages = cache_tokens // PAGE_SIZE + 1
        config = model.config.text
        sequences = Sequences(allocate_cache(config, pages, PAGE_SIZE, max_sequences, kv_type, MOST_LAID_BY))
        pool = Pool(pages)
        self.prefix_cache: PrefixCache[Any] = PrefixCache(snapshot_bytes, pool.hold, pool.release, _weak(self._stored))
        self.disk_cache = disk_cache
        self.sessions: list[Session] = []
        self.max_waiting = max_waiting
        self._most = max_sequences
        self._pages, self._slots = pool, Pool(max_sequences)
        self._drafts = self._drafts_accepted = 0
        self.scheduler = Scheduler(pool, self._slots, PAGE_SIZE, token_budget, sequences, self.prefix_cache)
        self._sequences = sequences
        self._runner = Runner(model, sequences.cache)
        self._speculator = Speculator(self._runner, drafts) if most_drafts(model, drafts) else None
        # A state costs as much as the keys and values of so many tokens; further apart, none is kept in between.
        self._interval = max(TOKEN_BUDGET, state_bytes(config) // max(1, kv_bytes_per_token(config, kv_type)))

    @property
    def has_work(self) -> bool:
        return self.scheduler.has_work

    @property
    def load(self) -> Load:
        """Read from any thread, also while another one steps: figures of one moment, give or take a step."""
        running = list(self.scheduler.running)
        return Load(
            running=len(running),
            waiting=len(self.scheduler.waiting),
            pages=self._pages.size - self._pages.free,
            pages_of_requests=len(set().union(*(request.pages for request in running))),
            pages_total=self._pages.size,
            slots=self._slots.size - self._slots.free,
            slots_total=self._slots.size,
            snapshots=len(self.prefix_cache),
            snapshot_bytes=self.prefix_cache.used,
            drafts=self._drafts,
            drafts_accepted=self._drafts_accepted,
        )

    def add(self, request: Request) -> None:
        """Queues a request; prompt and longest answer must fit into `cache_tokens`. Raises Busy when too many wait."""
        known = len(self.scheduler.running) + len(self.scheduler.waiting)
        if self.max_waiting is not None and known >= self._most + self.max_waiting:
            raise Busy(f"{known} requests are answered or wait already; send this one again later")
        caches = self.prefix_cache.budget or self.disk_cache is not None or self.sessions
        if caches and request.reader is None:  # others read what nobody goes on from, and need all of it computed
            request.trail = Trail(PAGE_SIZE, request.prompt.keys(), request.adapters.digest)
            request.snapshots = self._snapshot_lengths(request)
        self.scheduler.add(request)

    def step(self) -> list[Request]:
        """Computes one batch. Returns the requests that got tokens, or are only read and have been; those finished have
        left the engine.
        """
        chunks = together(self.scheduler.schedule())
        begun = time.perf_counter()
        hidden = self._runner.hidden_states(chunks)
        starts = list(accumulate((chunk.count for chunk in chunks), initial=0))
        for chunk, start in zip(chunks, starts, strict=False):
            if chunk.request.reader is not None:
                self._read_prompt(chunk, hidden[start : start + chunk.count], chunk.request.reader)
            chunk.request.computed += chunk.count - chunk.drafts
            chunk.request.replayed = chunk.count - chunk.drafts - chunk.kept
        due = [(chunk, start) for chunk, start in zip(chunks, starts, strict=False) if chunk.request.pending == 0]
        writing = [(chunk, start) for chunk, start in due if chunk.request.writes]
        if writing:
            rows = [
                row
                for chunk, start in writing
                for row in range(start + chunk.count - 1 - chunk.drafts, start + chunk.count)
            ]
            adapted = spans((chunk.request.adapters, 1 + chunk.drafts) for chunk, _ in writing)
            logits = iter(self._runner.logits(hidden[rows], adapted))
            for chunk, _ in writing:
                self._sample(chunk.request, list(islice(logits, 1 + chunk.drafts)))
        self._learn(chunks, time.perf_counter() - begun)
        for chunk, start in zip(chunks, starts, strict=False):
            self._take_snapshot(chunk, hidden[start : start + chunk.count])
        if self._speculator is not None:
            self._speculator.follow(chunks, hidden)
        for chunk, _ in due:
            if chunk.request.finish_reason is not None:
                self.scheduler.remove(chunk.request)
        return [chunk.request for chunk, _ in due]

    def cancel(self, request: Request) -> None:
        """Ends a request that is waiting or running; its tokens so far stay in it."""
        self.scheduler.remove(request)

    def computed(
        self, prompt: Prompt, adapters: Applied = NOTHING
    ) -> tuple[Place, int, list[list[np.ndarray]], list[np.ndarray]]:
        """Place and length of the longest known beginning of a prompt, copies of its pages and states."""
        trail = Trail(PAGE_SIZE, prompt.keys(), adapters.digest)
        snapshot = self.prefix_cache.find(trail)
        copied = self._sequences.copy_of(snapshot) if snapshot is not None else None
        if snapshot is None or copied is None:
            return trail.place(0), 0, [], []
        return snapshot.place, snapshot.length, *copied

    def write_snapshots(self, disk_cache: DiskCache) -> None:
        """Has a disk cache keep what the idle engine has in memory: of what was used last, as much as there is room."""
        chosen: list[Snapshot[Any]] = []
        pages: set[int] = set()
        size = 0
        page_bytes = sum(array[0].nbytes for array in self._sequences.paged)
        for snapshot in self.prefix_cache.newest_first():
            size += snapshot.size + page_bytes * len(set(snapshot.pages) - pages)
            if size > disk_cache.budget:
                break
            pages.update(snapshot.pages)
            if not disk_cache.has(snapshot.place):
                chosen.append(snapshot)
        for snapshot in reversed(chosen):
            assert snapshot.trail is not None
            page = partial(self._page_of, snapshot.pages)
            disk_cache.add(snapshot.trail, snapshot.length, page, snapshot.saved.arrays, waits=True)

    def read(self, request: Request, draft_head: bool = False) -> Iterator[np.ndarray]:
        """Hidden states [tokens, hidden_size] f32 after the final norm, of one piece after the other of a request's
        prompt, which the idle engine reads and forgets. draft_head: the model's draft head, which it must have, reads
        them, too.
        """
        assert not self.has_work
        self.scheduler.add(request)
        try:
            while request.pending:
                (chunk,) = self.scheduler.schedule()
                hidden = self._runner.hidden_states([chunk])
                followed = min(chunk.count, request.length - 1 - chunk.first)
                if draft_head and followed:
                    self._runner.drafted_states([replace(chunk, count=followed, kept=followed)], hidden[:followed])
                request.computed += chunk.count
                yield hidden
        finally:
            self.cancel(request)

    def prompt_logits(self, request: Request) -> np.ndarray:
        """Logits [tokens, vocab] f32 at every token of a request's prompt, which the idle engine reads and forgets."""
        logits = np.empty((request.length, request.sampler.vocab_size), np.float32)
        first = 0
        for hidden in self.read(request):
            adapted = spans([(request.adapters, len(hidden))])
            logits[first : first + len(hidden)] = self._runner.logits(hidden, adapted)
            first += len(hidden)
        return logits

    def _read_prompt(self, chunk: Chunk, hidden: np.ndarray, reader: PromptReader) -> None:
        """Shows the reader those of the chunk's states that are the prompt's."""
        left = len(chunk.request.prompt.token_ids) - chunk.first
        if left > 0:
            adapters = chunk.request.adapters
            reader.read(hidden[:left], lambda some: self._runner.logits(some, spans([(adapters, len(some))])))
        if not chunk.request.writes and chunk.count == left:
            chunk.request.finish_reason = "length"

    def _sample(self, request: Request, logits: list[np.ndarray]) -> None:
        """Draws the next token, and the one after each draft that was right."""
        drafts, request.drafts = request.drafts, []
        self._drafts += len(drafts)
        for row, draft in zip(logits, [*drafts, None], strict=True):
            sampled = request.sampler.sample(row, request.length)
            request.commit(sampled)
            if request.finish_reason is not None or sampled.token != draft:
                return
            self._drafts_accepted += 1
            request.computed += 1
            request.replayed += 1

    def _learn(self, chunks: list[Chunk], seconds: float) -> None:
        """What the step took, for those who decide on the next ones."""
        reading = [chunk.count for chunk in chunks if chunk.first < len(chunk.request.prompt.token_ids)]
        self.scheduler.pace.add_step(len(chunks) - len(reading), sum(reading), seconds)
        if self._speculator is not None and not reading:
            self._speculator.policy.add_step(sum(chunk.count for chunk in chunks), seconds)

    def _snapshot_lengths(self, request: Request) -> list[int]:
        """After how many tokens of its prompt the request's states are kept: where other prompts may part from it, and
        every now and then.
        """
        end = len(request.prompt.token_ids)
        lengths = [*range(self._interval, end, self._interval), *request.prompt.partings]
        chosen: list[int] = []
        for length in sorted(lengths, reverse=True):
            if LEAST_SNAPSHOT <= length < end and (not chosen or length + LEAST_SNAPSHOT <= chosen[0]):
                chosen.insert(0, length)
        return chosen

    def _take_snapshot(self, chunk: Chunk, hidden: np.ndarray) -> None:
        """Keeps the request's states if that is due, or if the answer ended. hidden: those of the chunk's tokens."""
        request, length = chunk.request, chunk.request.in_state
        due = bool(request.snapshots) and request.snapshots[0] == length
        while request.snapshots and request.snapshots[0] <= length:
            request.snapshots.pop(0)
        if request.trail is None or not (due or request.finish_reason is not None) or length < LEAST_SNAPSHOT:
            return
        request.trail.extend(np.array(request.tokens(len(request.trail), length - len(request.trail)), np.int64))
        place = request.trail.place(length)
        in_memory = self.prefix_cache.has(place)
        on_disk = self.disk_cache is None or not self.disk_cache.at_once or self.disk_cache.has(place)
        if in_memory and on_disk:
            return
        state = self._sequences.snapshot(request, self._unread(request, hidden[: length - chunk.first]))
        pages = list(request.pages[: -(-length // PAGE_SIZE)])
        if not in_memory and state.nbytes <= self.prefix_cache.budget:
            self.prefix_cache.add(Snapshot(length, place, pages, state.nbytes, state, request.trail))
        if self.disk_cache is not None and not on_disk:
            self.disk_cache.add(
                request.trail, length, partial(self._page_of, pages), state.arrays
            )  # fmt: skip

    def _page_of(self, pages: Sequence[int], index: int) -> list[np.ndarray]:
        return self._sequences.page(pages[index])

    def _stored(self, trail: Trail, longer_than: int) -> Snapshot[Stored] | None:
        """The longest snapshot in files that has more tokens than that."""
        found: Stored | None = self.disk_cache.find(trail, longer_than) if self.disk_cache is not None else None
        for session in self.sessions:
            found = session.find(trail, found.length if found else longer_than) or found
        return Snapshot(found.length, found.place, [], 0, found) if found is not None else None

    def _unread(self, request: Request, hidden: np.ndarray) -> np.ndarray:
        """The states that the draft head has not read, up to the newest; that one is always among them, for what comes
        after it may differ.
        """
        if self._speculator is None:
            return hidden[:0]
        waiting = sum(map(len, request.unread)) + len(hidden)
        return np.concatenate([*request.unread, hidden]) if waiting <= MOST_UNREAD else hidden[-1:].copy()


def _weak(method: Callable[[Trail, int], Snapshot[Any] | None]) -> Callable[[Trail, int], Snapshot[Any] | None]:
    """A method of an object that is not kept alive by it: an engine that nobody has any more gives its memory back at
    once, not when Python next looks for what holds itself.
    """
    weak = WeakMethod(method)

    def call(trail: Trail, longer_than: int) -> Snapshot[Any] | None:
        found = weak()
        return found(trail, longer_than) if found is not None else None

    return call
