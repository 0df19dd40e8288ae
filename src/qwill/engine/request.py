"""One request on its way through the engine."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from qwill.engine.sampler import Sampled, Sampler
from qwill.engine.sampling_params import SamplingParams
from qwill.media.placement import MediaRows


@dataclass(frozen=True)
class Prompt:
    """A tokenized prompt. positions [3, tokens] int32; the first generated token stands at `next_position`."""

    token_ids: list[int]
    positions: np.ndarray
    next_position: int
    media: tuple[MediaRows, ...] = ()


@dataclass(eq=False)
class Request:
    """What the scheduler and the runner fill in while a prompt is answered.

    `params` are resolved and their `max_tokens` is set. `computed` counts the tokens in the cache: the prompt's, then
    those generated before the newest.
    """

    prompt: Prompt
    params: SamplingParams
    sampler: Sampler
    eos_ids: frozenset[int]
    output_ids: list[int] = field(default_factory=list)
    samples: list[Sampled] = field(default_factory=list)
    computed: int = 0
    pages: "array[int]" = field(default_factory=lambda: array("i"))
    slot: int = -1
    finish_reason: str | None = None

    @property
    def max_tokens(self) -> int:
        assert self.params.max_tokens is not None
        return self.params.max_tokens

    @property
    def length(self) -> int:
        """Tokens known so far: prompt and output."""
        return len(self.prompt.token_ids) + len(self.output_ids)

    @property
    def pending(self) -> int:
        """Known tokens that are not in the cache yet."""
        return self.length - self.computed

    def tokens(self, first: int, count: int) -> list[int]:
        """Token ids `first` to `first + count` of prompt and output."""
        prompt = self.prompt.token_ids
        if first >= len(prompt):
            return self.output_ids[first - len(prompt) : first - len(prompt) + count]
        return (prompt[first : first + count] + self.output_ids)[:count]

    def positions(self, first: int, count: int) -> np.ndarray:
        """Their rotary positions, int32 [3, count]."""
        inside = self.prompt.positions[:, first : first + count]
        offset = self.prompt.next_position + max(first - len(self.prompt.token_ids), 0)
        after = np.arange(offset, offset + count - inside.shape[1], dtype=np.int32)
        outside = np.broadcast_to(after, (3, len(after)))
        return np.concatenate([inside, outside], axis=1) if inside.shape[1] else outside

    def extend(self, token_ids: Sequence[int]) -> None:
        """Appends tokens that were given, not drawn. The next steps read them together, as they read a prompt."""
        assert self.finish_reason is None
        assert len(self.output_ids) + len(token_ids) < self.max_tokens
        self.output_ids.extend(token_ids)
        for token in token_ids:
            self.samples.append(Sampled(token))
            self.sampler.commit(token)

    def commit(self, sampled: Sampled) -> None:
        """Appends a token, and finishes the request when it was the last."""
        self.output_ids.append(sampled.token)
        self.samples.append(sampled)
        self.sampler.commit(sampled.token)
        if sampled.token in self.eos_ids and not self.params.ignore_eos:
            self.finish_reason = "stop"
        elif len(self.output_ids) == self.max_tokens:
            self.finish_reason = "length"
