"""Drafts by the model's own multi-token-prediction head, which the text model's next step verifies."""

import time

import numpy as np

from qwill.engine.draft_policy import DraftPolicy
from qwill.engine.request import Request
from qwill.engine.runner import Runner
from qwill.engine.scheduler import MOST_LAID_BY, Chunk
from qwill.model.model import Model

MOST_DRAFTS = MOST_LAID_BY  # of a request in one step
MOST_UNREAD = 256  # states of a request that wait for the head
FEW_UNREAD = MOST_DRAFTS + 1


def most_drafts(model: Model, drafts: int | None) -> int:
    """How many drafts a request can have in a step: none without a draft head."""
    return 0 if model.mtp is None else MOST_DRAFTS if drafts is None else drafts


class Speculator:
    """Keeps the head's keys and values up with the text model's, and guesses the next tokens of each request.

    A guess is the head's own draw with the noise of the request's seed and of the guess's position, so that sampled
    text is guessed as well as greedy text. What is guessed changes no answer: a draft is kept only where the text model
    draws the same token.

    The head reads every state of the text model, but those of an answer only once it is asked to guess: while drafts do
    not pay, states wait, and the oldest are forgotten. Then the head guesses worse, which is learned like all else.
    """

    def __init__(self, runner: Runner, drafts: int | None) -> None:
        """`drafts`: how many tokens are guessed in a step; None for as many as pay, up to 4."""
        self.most = MOST_DRAFTS if drafts is None else drafts
        self.policy = DraftPolicy(self.most)
        self._adaptive = drafts is None
        self._runner = runner

    def follow(self, chunks: list[Chunk], hidden: np.ndarray) -> None:
        """Takes in the tokens of a step that turned out right, then sets the drafts of the requests that decode.

        hidden [tokens of the chunks, hidden_size] f32: the text model's states of the step.
        """
        requests, start = [], 0
        for chunk in chunks:
            request, count = chunk.request, chunk.request.computed - chunk.first
            if request.finish_reason is None and request.writes:
                right = hidden[start : start + count]
                request.unread.append(right.copy() if count < chunk.count else right)
                request.acceptance = request.acceptance or self.policy.newcomer()
                if chunk.first >= len(request.prompt.token_ids):
                    request.acceptance.add(chunk.drafts, request.replayed)
                requests.append(request)
            start += chunk.count
        decoding = [request for request in requests if request.pending == 1]
        wanted = dict(zip(map(id, decoding), self._wanted(decoding), strict=True))
        reading = [request for request in requests if wanted.get(id(request)) or request.pending > 1]
        for request in requests:
            if request not in reading:
                _forget_old(request.unread)
        if not reading:
            return
        begun, rows = time.perf_counter(), sum(len(part) for request in reading for part in request.unread)
        states = self._read(reading)
        if rows > FEW_UNREAD * len(reading):
            begun = time.perf_counter()  # much had been put off, which tells nothing of a pass
        guessing = [(request, state) for request, state in zip(reading, states, strict=True) if wanted.get(id(request))]
        self._guess(guessing, wanted, begun)

    def _wanted(self, decoding: list[Request]) -> list[int]:
        """Drafts for each request: the token drawn after them is part of the answer, too."""
        if self._adaptive:
            counts = self.policy.choose([request.acceptance for request in decoding if request.acceptance is not None])
        else:
            counts = [self.most] * len(decoding)
        return [
            min(count, request.max_tokens - len(request.output_ids) - 1)
            for request, count in zip(decoding, counts, strict=True)
        ]

    def _read(self, requests: list[Request]) -> np.ndarray:
        """The head's states [requests, hidden_size] after the last token that the text model computed of each."""
        counts = [sum(map(len, request.unread)) for request in requests]
        chunks = [
            Chunk(request, request.computed - count, count, count)
            for request, count in zip(requests, counts, strict=True)
        ]
        hidden = [part for request in requests for part in request.unread]
        states = self._runner.drafted_states(chunks, hidden[0] if len(hidden) == 1 else np.concatenate(hidden))
        for request in requests:
            request.unread.clear()
        return states[np.cumsum(counts) - 1]

    def _guess(self, guessing: list[tuple[Request, np.ndarray]], wanted: dict[int, int], begun: float) -> None:
        """Drafts from the head's state of the token before the newest, for all requests together."""
        while guessing:
            rows, ids = self._runner.draft_logits(_together([state for _, state in guessing]))
            for (request, _), logits in zip(guessing, rows, strict=True):
                position = request.length + len(request.drafts)
                request.drafts.append(request.sampler.guess(logits, position, ids, request.drafts))
            unfinished = [pair for pair in guessing if len(pair[0].drafts) < wanted[id(pair[0])]]
            if unfinished:
                chunks = [Chunk(request, request.computed + len(request.drafts) - 1, 1, 1) for request, _ in unfinished]
                states = self._runner.drafted_states(chunks, _together([state for _, state in unfinished]))
                unfinished = [(request, state) for (request, _), state in zip(unfinished, states, strict=True)]
            now = time.perf_counter()
            self.policy.add_draft(len(guessing), now - begun)
            guessing, begun = unfinished, now


def _together(states: list[np.ndarray]) -> np.ndarray:
    """[states, hidden_size], without a copy of a single one."""
    return states[0][None] if len(states) == 1 else np.stack(states)


def _forget_old(unread: list[np.ndarray]) -> None:
    """Drops the oldest states beyond `MOST_UNREAD`."""
    while unread and sum(map(len, unread)) - len(unread[0]) >= MOST_UNREAD:
        unread.pop(0)
