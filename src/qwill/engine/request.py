"""One request on its way through the engine."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qwill.engine.draft_policy import Acceptance
from qwill.engine.prefix_cache import Trail
from qwill.engine.readers import PromptReader
from qwill.engine.sampler import Sampled, Sampler
from qwill.engine.sampling_params import SamplingParams
from qwill.media.placement import MediaRows
from qwill.model.adapters import NOTHING, Applied


@dataclass(frozen=True)
class Prompt:
    """A tokenized prompt. positions [3, tokens] int32; the first generated token stands at `next_position`.

    partings: numbers of tokens after which other prompts that begin alike are likely to go on differently.
    """

    token_ids: list[int]
    positions: np.ndarray
    next_position: int
    media: tuple[MediaRows, ...] = ()
    partings: tuple[int, ...] = ()

    def keys(self) -> np.ndarray:
        """int64 [tokens]: the ids, and for tokens of media numbers that only their pixels and places have."""
        keys = np.array(self.token_ids, np.int64)
        for rows in self.media:
            keys[rows.start : rows.start + rows.length] = rows.patches.keys(rows.first_row, rows.length)
        return keys


@dataclass(eq=False)
class Request:
    """What the scheduler and the runner fill in while a prompt is answered.

    `params` are resolved and their `max_tokens` is set. `end_ids` are the tokens that end the answer. A lower
    `priority` goes first; among equals whoever came first. `streamed`: somebody reads along, so other prompts must not
    hold the answer up. `reader` sees the prompt's hidden states; unless it `writes` that is all, and the request is
    finished once its prompt is read. `adapters` change the model for it.

    `computed` counts the tokens in the cache: the prompt's, then those generated before the newest. `drafts` are
    guesses at the tokens after the newest, which the next step verifies; the last `replayed` of the computed tokens are
    not in the recurrent states yet. `unread`: states [tokens, hidden_size] of the last computed tokens, which the draft
    head has not read. `cached` tokens of the prompt were computed for others. `saved` is where the arrays are while
    the request had to make room.
    """

    prompt: Prompt
    params: SamplingParams
    sampler: Sampler
    end_ids: frozenset[int]
    priority: int = 0
    streamed: bool = False
    reader: PromptReader | None = None
    writes: bool = True
    adapters: Applied = NOTHING
    output_ids: list[int] = field(default_factory=list)
    samples: list[Sampled] = field(default_factory=list)
    arrival: int = -1
    trail: Trail | None = None
    snapshots: list[int] = field(default_factory=list)
    cached: int = 0
    computed: int = 0
    drafts: list[int] = field(default_factory=list)
    replayed: int = 0
    unread: list[np.ndarray] = field(default_factory=list)
    acceptance: Acceptance | None = None
    pages: "array[int]" = field(default_factory=lambda: array("i"))
    slot: int = -1
    saved: Any = None
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

    @property
    def in_state(self) -> int:
        """Tokens that the recurrent states have taken in."""
        return self.computed - self.replayed

    @property
    def turn(self) -> tuple[int, int]:
        """Requests go in the order of this."""
        return self.priority, self.arrival

    def tokens(self, first: int, count: int) -> list[int]:
        """Token ids `first` to `first + count` of prompt, output and drafts."""
        prompt, output = self.prompt.token_ids, self.output_ids
        found = prompt[first : first + count]
        for tokens, start in ((output, len(prompt)), (self.drafts, len(prompt) + len(output))):
            if len(found) < count:
                begin = first + len(found) - start
                found = found + tokens[begin : begin + count - len(found)]
        return found

    def positions(self, first: int, count: int) -> np.ndarray:
        """Their rotary positions, int32 [3, count]."""
        inside = self.prompt.positions[:, first : first + count]
        known = inside.shape[1]
        if known == count:
            return inside
        offset = self.prompt.next_position + max(first - len(self.prompt.token_ids), 0)
        result = np.empty((3, count), np.int32)
        result[:, :known] = inside
        result[:, known:] = np.arange(offset, offset + count - known, dtype=np.int32)
        return result

    def extend(self, token_ids: Sequence[int]) -> None:
        """Appends tokens that were given, not drawn. The next steps read them together, as they read a prompt."""
        assert self.finish_reason is None
        assert len(self.output_ids) + len(token_ids) < self.max_tokens
        self.drafts.clear()
        self.output_ids.extend(token_ids)
        for token in token_ids:
            self.samples.append(Sampled(token))
            self.sampler.commit(token)

    def end_after(self, count: int, reason: str) -> None:
        """Finishes the request with the first `count` tokens of its answer; a step can have drawn more."""
        del self.output_ids[count:], self.samples[count:]
        self.finish_reason = reason

    def commit(self, sampled: Sampled) -> None:
        """Appends a token, and finishes the request when it was the last."""
        self.output_ids.append(sampled.token)
        self.samples.append(sampled)
        self.sampler.commit(sampled.token)
        if sampled.token in self.end_ids:
            self.finish_reason = "stop"
        elif self.sampler.finish_reason is not None:
            self.finish_reason = self.sampler.finish_reason
        elif len(self.output_ids) == self.max_tokens:
            self.finish_reason = "length"
