"""The engine: schedule, forward, sample, commit, again and again until every request is answered."""

from itertools import accumulate

import numpy as np

from qwill.engine.pools import Pool
from qwill.engine.request import Request
from qwill.engine.runner import Runner
from qwill.engine.scheduler import Chunk, Scheduler
from qwill.model.batch import allocate_cache
from qwill.model.model import Model
from qwill.quant.types import TensorType

PAGE_SIZE = 32
TOKEN_BUDGET = 512


class Engine:
    """Answers requests together. Not thread-safe: one caller steps it."""

    def __init__(
        self,
        model: Model,
        cache_tokens: int,
        max_sequences: int,
        kv_type: TensorType,
        token_budget: int = TOKEN_BUDGET,
    ) -> None:
        """Pages for `cache_tokens` tokens in all, which the requests share; slots for `max_sequences` at a time.

        A step computes at most `token_budget` tokens of prompts.
        """
        pages = cache_tokens // PAGE_SIZE + 1
        self.scheduler = Scheduler(Pool(pages), Pool(max_sequences), PAGE_SIZE, token_budget)
        self._runner = Runner(model, allocate_cache(model.config.text, pages, PAGE_SIZE, max_sequences, kv_type))

    @property
    def has_work(self) -> bool:
        return self.scheduler.has_work

    def add(self, request: Request) -> None:
        """Queues a request; prompt and longest answer must fit into `cache_tokens`."""
        self.scheduler.add(request)

    def step(self) -> list[Request]:
        """Computes one batch. Returns the requests that got a token; those finished have left the engine."""
        chunks = self.scheduler.schedule()
        hidden = self._runner.hidden_states(chunks)
        ends = accumulate(chunk.count for chunk in chunks)
        due = [(chunk, end) for chunk, end in zip(chunks, ends, strict=True) if chunk.count == chunk.request.pending]
        for chunk in chunks:
            chunk.request.computed += chunk.count
        if not due:
            return []
        logits = self._runner.logits(hidden[[end - 1 for _, end in due]])
        for (chunk, _), row in zip(due, logits, strict=True):
            self._sample(chunk, row)
        return [chunk.request for chunk, _ in due]

    def cancel(self, request: Request) -> None:
        """Ends a request that is waiting or running; its tokens so far stay in it."""
        self._runner.forget_media(request.prompt.media)
        self.scheduler.remove(request)

    def prompt_logits(self, request: Request) -> np.ndarray:
        """Logits [tokens, vocab] f32 at every token of a request's prompt, which the idle engine reads and forgets."""
        assert not self.has_work
        self.add(request)
        logits = np.empty((request.length, request.sampler.vocab_size), np.float32)
        while request.pending:
            (chunk,) = self.scheduler.schedule()
            rows = slice(request.computed, request.computed + chunk.count)
            logits[rows] = self._runner.logits(self._runner.hidden_states([chunk]))
            request.computed = rows.stop
        self.cancel(request)
        return logits

    def _sample(self, chunk: Chunk, logits: np.ndarray) -> None:
        request = chunk.request
        if not request.output_ids:
            self._runner.forget_media(request.prompt.media)
        request.commit(request.sampler.sample(logits, request.length))
        if request.finish_reason is not None:
            self.scheduler.remove(request)
