"""One request's choice of tokens: penalties, filters, and a draw that only seed, position and logits decide."""

import math
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from qwill.engine.rules import Rules
from qwill.engine.sampling_params import MAX_BIAS, SamplingParams
from qwill.errors import InvalidArgument, QwillError

LOGIT_PART = 32_768  # logits whose exponentials are added up at a time
FIRST_LOOK = 1024  # how many of the likeliest tokens top-p sorts first, before it needs more


@dataclass(frozen=True)
class Sampled:
    """A drawn token; its log-probability and the likeliest tokens with theirs are None unless the request asks."""

    token: int
    logprob: float | None = None
    top: list[tuple[int, float]] | None = None


class Sampler:
    """Draws the tokens of one request. The steps and their order:

    0. Rules: a token that they force is taken; those that they forbid have no chance, nor those that end an answer of
       too few tokens.
    1. The request's biases, then penalties as vLLM defines them: repetition over prompt and answer, then frequency and
       presence over the answer. A bias of -100 forbids a token, too.
    2. Temperature: 0 takes the likeliest token, the lowest id among equals; otherwise it divides the logits.
    3. Filters: top-k, then top-p on what top-k left, then min-p. Of equals the lowest id is kept first.
    4. Gumbel-max: the greatest of logit + noise, where the noise is a hash of (seed, position, token id).

    The draw has the softmax's distribution (Gumbel 1954; Yellott 1977) and no state: batch size, chunking and
    speculation cannot change it. Log-probabilities are those of the raw logits, before all steps.
    """

    def __init__(
        self, params: SamplingParams, vocab_size: int, prompt_ids: Sequence[int], rules: Rules | None = None,
        end_ids: Iterable[int] = (),
    ) -> None:  # fmt: skip
        """`params` should be resolved; what is still None takes the family's default. `rules` forbid tokens, or leave
        no choice; others may take their place between two tokens. `end_ids`: what may not come before `min_tokens`
        have. Raises InvalidArgument for tokens outside the vocabulary."""
        resolved = params.resolve({})
        self._temperature = float(resolved.temperature or 0)
        self._top_k = int(resolved.top_k or 0)
        self._top_p = float(resolved.top_p or 0)
        self._min_p = float(resolved.min_p or 0)
        self._logprobs = resolved.logprobs
        self.vocab_size = vocab_size
        self.seed = secrets.randbits(64) if params.seed is None else params.seed % 2**64
        self._biased, self._biases = _bias_arrays(resolved, vocab_size)
        self._penalties = _Penalties(resolved, prompt_ids)
        self._early = resolved.min_tokens  # as many more tokens that must not end the answer
        self._ends = np.fromiter((token for token in end_ids if token < vocab_size), np.int64)
        if any(token >= vocab_size for token in resolved.stop_token_ids):
            raise InvalidArgument(
                f"stop_token_ids has {max(resolved.stop_token_ids)}, outside the vocabulary of {vocab_size}"
            )
        self.rules = rules

    @property
    def finish_reason(self) -> str | None:
        """Why the rules end the answer; None while they do not."""
        return None if self.rules is None else self.rules.finish_reason

    def sample(self, logits: np.ndarray, position: int) -> Sampled:
        """The token that follows, from float32 logits [vocab_size], which stay as they are; -inf forbids a token.

        `position` is the index, in the whole sequence, of the token that is drawn. Raises QwillError when the logits
        hold NaN or +inf, or forbid every token.
        """
        assert logits.shape == (self.vocab_size,), (logits.shape, self.vocab_size)
        likeliest = _likeliest(logits, position)
        forced = None if self.rules is None else self.rules.forced
        token = self._draw(logits, likeliest, position) if forced is None else forced
        return Sampled(token) if self._logprobs is None else _with_logprobs(token, logits, likeliest, self._logprobs)

    def _draw(self, logits: np.ndarray, likeliest: int, position: int) -> int:
        allowed = self._without_ends(logits if self.rules is None else self.rules.restrict(logits))
        adjusted = self._penalties.apply(self._with_biases(allowed))
        if self._temperature == 0:
            return likeliest if adjusted is logits else int(adjusted.argmax())
        ids, scores = self._keep(adjusted)
        return int(ids[np.argmax(scores + gumbel_noise(self.seed, position, ids))])

    def guess(self, logits: np.ndarray, position: int, ids: np.ndarray, drafts: Sequence[int] = ()) -> int:
        """What `sample` would draw after `drafts` if the model's logits of the tokens `ids` were these, a draft head's,
        and others had none; penalties left aside.
        """
        if self.rules is not None or len(self._biased):
            every = np.full(self.vocab_size, -np.inf, np.float32)
            every[ids] = logits
            logits, ids = self._with_biases(every), np.arange(self.vocab_size)
            if self.rules is not None:
                logits = self.rules.foresee(logits, drafts)
            if logits.max() == -np.inf:  # what has to come is none of the tokens that are guessed
                return 0
        if self._temperature == 0:
            return int(ids[logits.argmax()])
        kept, scores = self._keep(logits)
        return int(ids[kept[np.argmax(scores + gumbel_noise(self.seed, position, ids[kept]))]])

    def commit(self, token: int) -> None:
        """Makes the token part of the answer, for penalties and rules."""
        self._penalties.add(token)
        self._early = max(self._early - 1, 0)
        if self.rules is not None:
            self.rules.commit(token)

    def _without_ends(self, logits: np.ndarray) -> np.ndarray:
        """The logits themselves, or a copy without the tokens that end the answer, while it is too short; of tokens
        that are all there is, none is lost."""
        if not self._early or not len(self._ends):
            return logits
        longer = logits.copy()
        longer[self._ends] = -np.inf
        return longer if longer.max() > -np.inf else logits

    def _with_biases(self, logits: np.ndarray) -> np.ndarray:
        """The logits themselves, or a copy with the request's biases; of tokens that are all there is, none is lost."""
        if not len(self._biased):
            return logits
        biased = logits.copy()
        biased[self._biased] += self._biases
        return biased if biased.max() > -np.inf else logits

    def _keep(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The ids that the filters leave, and their scores."""
        if 0 < self._top_k < len(logits):
            ids = _largest(logits, self._top_k)
            scores = self._scores(logits, ids)
            if self._top_p < 1:
                ids, scores = _nucleus(ids, scores, self._top_p * np.exp(scores).sum())
        elif self._top_p < 1:
            mass = self._top_p * np.exp(self._scores(logits)).sum()
            look = min(FIRST_LOOK, len(logits))
            ids = _largest(logits, look)
            while look < len(logits) and np.exp(self._scores(logits, ids)).sum() < mass:
                look = min(16 * look, len(logits))
                ids = _largest(logits, look)
            ids, scores = _nucleus(ids, self._scores(logits, ids), mass)
        else:
            ids, scores = np.arange(len(logits)), self._scores(logits)
        if self._min_p > 0:
            likely = scores >= np.log(self._min_p)
            ids, scores = ids[likely], scores[likely]
        return ids, scores

    def _scores(self, logits: np.ndarray, ids: np.ndarray | None = None) -> np.ndarray:
        """float64 (logit - greatest logit) / temperature, of all tokens or of `ids`."""
        chosen = logits if ids is None else logits[ids]
        with np.errstate(over="ignore"):  # a tiny temperature: -inf is right
            return (chosen.astype(np.float64) - float(logits.max())) / self._temperature


def with_logprobs(token: int, logits: np.ndarray, count: int, position: int) -> Sampled:
    """A token that was given, at `position` of the sequence, with what `Sampler` tells of drawn ones: from float32
    logits [vocab_size] its log-probability and the `count` likeliest tokens.

    Raises QwillError when the logits hold NaN or +inf.
    """
    return _with_logprobs(token, logits, _likeliest(logits, position), count)


def _with_logprobs(token: int, logits: np.ndarray, likeliest: int, count: int) -> Sampled:
    peak = logits[likeliest]
    # A part at a time: arrays that a vocabulary long come from the system each time, which takes longer than the sum.
    parts = (np.exp(logits[first : first + LOGIT_PART] - peak) for first in range(0, len(logits), LOGIT_PART))
    log_sum = float(peak) + math.log(sum(float(part.sum(dtype=np.float64)) for part in parts))
    if count == 1:
        best = np.array([likeliest])
    else:
        best = _largest(logits, min(count, len(logits))) if count else np.empty(0, np.int64)
    return Sampled(token, float(logits[token]) - log_sum, [(int(id), float(logits[id]) - log_sum) for id in best])


def _likeliest(logits: np.ndarray, position: int) -> int:
    """The id of the greatest logit, the lowest among equals. Raises QwillError when there is none."""
    likeliest = int(logits.argmax())  # a NaN counts as the greatest
    peak = float(logits[likeliest])
    if math.isnan(peak) or peak == math.inf:
        raise QwillError(f"the model produced {'NaN' if math.isnan(peak) else 'infinity'} at position {position}")
    if peak == -math.inf:
        raise QwillError(f"every token is forbidden at position {position}")
    return likeliest


def gumbel_noise(seed: int, position: int, ids: np.ndarray) -> np.ndarray:
    """Standard Gumbel noise float64, one value for each token id, a pure function of (seed, position, id).

    The uniform behind each is the top 52 bits of a 64-bit hash: splitmix64 (Steele, Lea, Flood 2014) of the seed, that
    of the result and the position, and that of the result and the id. Half a step is added, so 0 and 1 never occur.
    """
    key = _splitmix64(np.array([seed], np.uint64))
    key = _splitmix64(key + np.array([position], np.uint64))
    bits = _splitmix64(key + ids.astype(np.uint64)) >> np.uint64(12)
    return -np.log(-np.log((bits.astype(np.float64) + 0.5) * 2.0**-52))


def _splitmix64(state: np.ndarray) -> np.ndarray:
    """The output of splitmix64 for each uint64 state. Arithmetic is modulo 2**64."""
    z = state * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` greatest values, greatest first, the lowest index first among equals; -inf is left out."""
    part = values[::8] if count <= len(values) // 8 else values
    bound = np.partition(part, len(part) - count)[len(part) - count]  # never above the count-th greatest of all
    candidates = np.flatnonzero(values >= bound if bound > -np.inf else values > -np.inf)
    return candidates[np.argsort(-values[candidates], kind="stable")[:count]]


def _nucleus(ids: np.ndarray, scores: np.ndarray, mass: float) -> tuple[np.ndarray, np.ndarray]:
    """The shortest prefix, of ids sorted by falling score, whose exp(score) sums to `mass`; at least one."""
    before = np.concatenate([[0.0], np.cumsum(np.exp(scores[:-1]))])
    count = max(1, int(np.searchsorted(before, mass, side="left")))
    return ids[:count], scores[:count]


def _bias_arrays(params: SamplingParams, vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and what their logits get. Raises InvalidArgument for an id outside the vocabulary."""
    biases = params.logit_bias or {}
    for token in biases:
        if token >= vocab_size:
            raise InvalidArgument(f"logit_bias has token {token}, outside the vocabulary of {vocab_size}")
    values = np.array([-np.inf if value == -MAX_BIAS else value for value in biases.values()], np.float32)
    return np.fromiter(biases, np.int64, len(biases)), values


class _Penalties:
    """Which tokens prompt and answer have, and how often the answer; a step costs what was seen, not the vocabulary."""

    def __init__(self, params: SamplingParams, prompt_ids: Sequence[int]) -> None:
        self._presence = np.float32(params.presence_penalty or 0)
        self._frequency = np.float32(params.frequency_penalty or 0)
        self._repetition = np.float32(params.repetition_penalty or 1)
        self._active = (self._presence, self._frequency, self._repetition) != (0, 0, 1)
        self._ids = np.unique(np.asarray(prompt_ids, np.int64)) if self._active else np.empty(0, np.int64)
        self._counts = np.zeros(len(self._ids), np.float32)
        self._slots = {int(token): slot for slot, token in enumerate(self._ids)}

    def add(self, token: int) -> None:
        if not self._active:
            return
        slot = self._slots.setdefault(token, len(self._slots))
        if slot == len(self._ids):
            grown = max(64, 2 * slot)
            self._ids = np.concatenate([self._ids, np.zeros(grown - slot, np.int64)])
            self._counts = np.concatenate([self._counts, np.zeros(grown - slot, np.float32)])
        self._ids[slot] = token
        self._counts[slot] += 1

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """The logits themselves, or a penalised copy."""
        seen = len(self._slots)
        if not self._active or seen == 0:
            return logits
        ids, counts = self._ids[:seen], self._counts[:seen]
        values = logits[ids]
        values = np.where(values > 0, values / self._repetition, values * self._repetition)
        values -= self._frequency * counts + self._presence * (counts > 0)
        penalised = logits.copy()
        penalised[ids] = values
        return penalised
