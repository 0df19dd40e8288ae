"""A model on a thread of its own, and the answers that asyncio code waits for."""

import asyncio
import threading
import time
from array import array
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

from qwill.answer import Answer, Completion, StreamDelta
from qwill.errors import Busy, QwillError
from qwill.llm import LLM

KEEP_ALIVE = 15.0  # seconds without a token after which a stream tells that it is alive
Piece = tuple[int, StreamDelta]


class Stopped(QwillError):
    """The answer was cancelled, or its model has been closed."""


class Job:
    """Answers to one request, of which the worker's engine has at most `at_once`: the others wait here, so that other
    requests get their turn. Iterate it once.

    `times`: for each answer when pieces of it came, by `time.perf_counter`.
    """

    def __init__(self, worker: "Worker", answers: Sequence[Answer], at_once: int) -> None:
        self.answers = list(answers)
        self.at_once = at_once
        self.completions: list[Completion | None] = [None] * len(self.answers)
        self.times = [array("d") for _ in self.answers]
        self.ended = False
        self._worker: Worker | None = worker  # until the end: an error that is kept would keep the model with it
        self._waiting_answers = deque(enumerate(self.answers))  # of the thread
        self._pieces: list[Piece] = []
        self._error: BaseException | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._at_end: list[Callable[[], None]] = []
        self._at_rest: list[Callable[[], None]] = []

    @property
    def error(self) -> BaseException | None:
        """What ended the answers early."""
        return self._error

    def on_end(self, call: Callable[[], None]) -> None:
        """Calls that once when the job ends, whether or not it is finished."""
        self._at_end.append(call)

    def on_rest(self, call: Callable[[], None]) -> None:
        """Calls that once when no step works on the answers any more, which may be a step after the end."""
        self._at_rest.append(call)

    async def pieces(self) -> AsyncIterator[list[Piece]]:
        """What is new of the answers, each piece with its answer's index, until all are finished.

        An empty list says that nothing has come for a while. Raises what ended the answers early.
        """
        try:
            while not all(self.completions):
                if not self._pieces:
                    if self._error is not None:
                        raise self._error
                    self._waiting = asyncio.get_running_loop().create_future()
                    await self._waiting
                    if not self._pieces and self._error is None:
                        yield []
                    continue
                pieces, self._pieces = self._pieces, []
                for index, delta in pieces:
                    if delta.completion is not None:
                        self.completions[index] = delta.completion
                yield pieces
        finally:
            self.cancel()

    async def finish(self) -> list[Completion]:
        """The whole answers."""
        async for _ in self.pieces():
            pass
        return [completion for completion in self.completions if completion is not None]

    async def end_reasoning(self) -> bool:
        """Has the reasoning of the answers closed by their next tokens; False where that changes nothing."""
        return False if self._worker is None else await self._worker.end_reasoning(self)

    def cancel(self) -> None:
        """Ends what is not finished; whoever iterates gets Stopped."""
        worker, self._worker = self._worker, None
        if worker is not None:
            self.ended = True
            worker._leave(self)
            self._fail(Stopped("the answer was cancelled"))
            _call_all(self._at_end)

    def _take(self, pieces: Sequence[Piece]) -> None:
        self.times[pieces[0][0]].append(time.perf_counter())
        self._pieces.extend(pieces)
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _rest(self) -> None:
        _call_all(self._at_rest)

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._wake()


def _call_all(calls: list[Callable[[], None]]) -> None:
    """Calls them and lets go of them: they know the job, which would keep its model in memory with itself."""
    while calls:
        calls.pop(0)()


class Worker:
    """Steps the engine of a model whenever there is work. All methods but `prepare` belong to one event loop."""

    def __init__(self, llm: LLM, max_waiting: int) -> None:
        """`max_waiting`: answers that may wait beside those that are computed."""
        self.llm = llm
        self.answering = 0
        self._most = llm.max_sequences + max_waiting
        self.loop = asyncio.get_running_loop()
        self._alive = self.loop.call_later(KEEP_ALIVE, self._nudge)
        self._open: set[Job] = set()
        self._orders: deque[Callable[[], None]] = deque()
        self._ordered = threading.Event()
        self._jobs: dict[int, tuple[Job, int, Answer]] = {}  # of the thread: by the identity of the request
        self._closing = self._closed = False
        self._thread = threading.Thread(target=self._work, name="qwill-engine", daemon=True)
        self._thread.start()

    def check_room(self, answers: int) -> None:
        """Raises Busy when so many answers more were too many."""
        if self.answering + answers > self._most:
            raise Busy(f"{self.answering} answers are written or wait already; send this one again later")

    def submit(self, answers: Sequence[Answer], streamed: bool, at_once: int) -> Job:
        """Begins with answers that `LLM` prepared, of which the engine has at most `at_once`. Raises Busy."""
        self.check_room(at_once)
        job = Job(self, answers, at_once)
        self.answering += at_once
        self._open.add(job)
        for answer in answers:
            answer.request.streamed = streamed
        self._order(lambda: self._add(job, at_once))
        return job

    async def end_reasoning(self, job: Job) -> bool:
        """See `Job.end_reasoning`."""
        if self._closing:
            return False
        told: asyncio.Future[bool] = self.loop.create_future()
        self._order(lambda: self._end_reasoning(job, told))
        return await told

    async def close(self, keep: bool = False) -> None:
        """Ends all answers and the thread, and writes what is to be on disk. keep: for this model's next time, too."""
        self._closing = True
        self._alive.cancel()
        self._order(self._stop)
        await asyncio.to_thread(self._thread.join)
        if keep:
            await asyncio.to_thread(self.llm.keep)
        await asyncio.to_thread(self.llm.close)

    def _nudge(self) -> None:
        """Wakes whoever waits, so that streams tell that they are alive. One timer for all: each wait costs less."""
        for job in self._open:
            job._wake()
        self._alive = self.loop.call_later(KEEP_ALIVE, self._nudge)

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        self._ordered.set()

    def _leave(self, job: Job) -> None:
        self.answering -= job.at_once
        self._open.discard(job)
        if self._closing or all(job.completions):
            self.loop.call_soon(job._rest)
        else:
            self._order(lambda: self._drop(job))

    # What follows runs on the thread.

    def _work(self) -> None:
        engine = self.llm.engine
        while not self._closed:
            if not engine.has_work:
                self._ordered.wait()
            self._ordered.clear()
            while self._orders:
                self._orders.popleft()()
            if not engine.has_work:
                continue
            try:
                grown = engine.step()
                news = [self._advance(id(request)) for request in grown]
            except Exception as error:  # told to whoever waits; the next requests start afresh
                self._fail_all(error)
                continue
            self._tell([piece for piece in news if piece is not None])

    def _advance(self, key: int) -> tuple[Job, list[Piece]] | None:
        if key not in self._jobs:
            return None
        job, index, answer = self._jobs[key]
        deltas = answer.advance()
        if answer.request.finish_reason is not None:
            del self._jobs[key]
            self.llm.engine.cancel(answer.request)
            self._add(job, 1)
        return job, [(index, delta) for delta in deltas]

    def _tell(self, news: list[tuple[Job, list[Piece]]]) -> None:
        """One call into the event loop for all that a step brought."""

        def deliver() -> None:
            for job, pieces in news:
                if pieces:
                    job._take(pieces)

        self._in_loop(deliver)

    def _add(self, job: Job, count: int) -> None:
        """Queues so many of the job's answers, if there are any left."""
        try:
            for _ in range(min(count, len(job._waiting_answers))):
                index, answer = job._waiting_answers.popleft()
                self._jobs[id(answer.request)] = job, index, answer
                self.llm.engine.add(answer.request)
        except Exception as error:
            self._cancel(job)
            self._report(job, error)

    def _end_reasoning(self, job: Job, told: asyncio.Future[bool]) -> None:
        try:
            effects = [answer.end_reasoning() for answer in job.answers if id(answer.request) in self._jobs]
        except Exception as error:
            raised = error
            self._in_loop(lambda: None if told.done() else told.set_exception(raised))
        else:
            self._in_loop(lambda: None if told.done() else told.set_result(any(effects)))

    def _drop(self, job: Job) -> None:
        self._cancel(job)
        self._in_loop(job._rest)

    def _cancel(self, job: Job) -> None:
        for answer in job.answers:
            self._jobs.pop(id(answer.request), None)
            self.llm.engine.cancel(answer.request)

    def _fail_all(self, error: Exception) -> None:
        for job in {id(job): job for job, _, _ in self._jobs.values()}.values():
            self._cancel(job)
            self._report(job, error)

    def _report(self, job: Job, error: Exception) -> None:
        self._in_loop(lambda: job._fail(error))

    def _stop(self) -> None:
        self._closed = True
        self._fail_all(Stopped("the model is being closed"))

    def _in_loop(self, call: Callable[[], None]) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(call)
