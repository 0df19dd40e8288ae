"""An answer as it grows: tokens to text, text to reasoning, content and tool calls, content up to a stop string."""

import time
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qwill.engine.readers import MeanState, PromptLogprobs
from qwill.engine.reasoning import opened
from qwill.engine.request import Request
from qwill.engine.rules import ending_reasoning
from qwill.engine.sampler import Sampled
from qwill.text.detokenizer import Detokenizer
from qwill.text.router import CutCall, Delta, Router, ToolCallDelta, ToolCallPiece
from qwill.text.stop import StopMatcher
from qwill.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class TokenLogprob:
    """A token, its log-probability and the likeliest tokens of its position with theirs."""

    token_id: int
    logprob: float
    top: list[tuple[int, float]]


@dataclass(frozen=True)
class Completion:
    """An answer. Times are in seconds.

    `finish_reason`: stop (end of turn, a stop string or the end of its structure), length, tool_calls, loop (it went on
    repeating itself) or error (its structure was too complex to follow to the end). `cut_call`: the tool call in whose
    midst the answer ended for another reason than stop, which is not one of `tool_calls`. `prompt_logprobs`: where they
    were asked for, those of the prompt's tokens, None in the place of the first. `left_out`: dotted names of what was
    asked for and the answer was not held to, of schemas since no grammar can; `response_format` stands for the
    request's `json_schema`.
    """

    text: str
    reasoning: str
    tool_calls: list[dict[str, Any]]
    token_ids: list[int]
    logprobs: list[TokenLogprob] | None
    finish_reason: str
    usage: dict[str, int]
    timings: dict[str, float]
    cut_call: CutCall | None = None
    prompt_logprobs: list[TokenLogprob | None] | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class StreamDelta:
    """A piece of a streamed answer: text of a kind, a piece of a tool call's arguments, a whole tool call after its
    pieces, or, last, `finish` with the completion. `end`: where a text ends in the text of all the answer's tokens."""

    kind: str
    text: str = ""
    tool_call: ToolCallDelta | None = None
    piece: ToolCallPiece | None = None
    completion: Completion | None = None
    end: int = field(default=0, compare=False)


@dataclass(eq=False)
class Answer:
    """Follows one request. `router` is None for plain completions, whose text is all content.

    The answer ends after `most_calls` tool calls, or with the token that completes a stop string in its content. What
    a call parts is not one text, and line breaks at the content's edges are the chat format's: no stop string is there.

    `left_out` names what was asked for and cannot be held to. `token_ends`: where in the text of all tokens that of
    each token ends, for those that were read.
    """

    request: Request
    tokenizer: Tokenizer | None
    router: Router | None
    most_calls: int | None = None
    left_out: tuple[str, ...] = ()
    started: float = field(default_factory=time.perf_counter)
    token_ends: list[int] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._detokenizer = Detokenizer(self.tokenizer) if self.tokenizer is not None else None
        self._stops = StopMatcher(self.request.params.stop)
        self._read = 0
        self._length = 0  # of the text so far
        self._content_end = 0  # where the content ends that came last
        self._reasoning_tokens = 0
        self._parts: dict[str, list[str]] = {"content": [], "reasoning": []}
        self._calls: list[ToolCallDelta] = []
        self._first_token = self._last_token = self.started

    @property
    def stop_text(self) -> str | None:
        """The stop string that ended the answer."""
        return self._stops.matched

    @property
    def stop_token(self) -> int | None:
        """The one of the request's stop_token_ids that did."""
        last, own = self.request.output_ids[-1:], self.request.params.stop_token_ids
        return last[0] if self.request.finish_reason == "stop" and last and last[0] in own else None

    @property
    def prompt_logprobs(self) -> list[TokenLogprob | None] | None:
        """Of the prompt's tokens so far, None in the place of the first; None where nobody asked for them."""
        reader = self.request.reader
        return [None, *_logprobs(reader.samples)] if isinstance(reader, PromptLogprobs) else None

    @property
    def embedding(self) -> np.ndarray:
        """What stands for the prompt, [dimensions] f32 of length 1. Only of answers by `LLM.embedding`."""
        reader = self.request.reader
        assert isinstance(reader, MeanState)
        return reader.unit

    def end_reasoning(self) -> bool:
        """Has the next tokens close the reasoning, so that the answer follows, as a budget that is used up does. Called
        between steps of the engine. False where that changes nothing: there is none, it is over, or ends already.
        """
        request, tokenizer = self.request, self.tokenizer
        if tokenizer is None or request.finish_reason is not None:
            return False
        sampler, prompt = request.sampler, request.prompt.token_ids
        rules = ending_reasoning(sampler.rules, tokenizer, opened(tokenizer, prompt), request.output_ids)
        sampler.rules = rules or sampler.rules
        return rules is not None

    def advance(self) -> list[StreamDelta]:
        """What the tokens since the last call settle. A stop string sets the request's finish_reason."""
        request = self.request
        now = time.perf_counter()
        if self._read == 0 and request.output_ids:
            self._first_token = now
        self._last_token = now
        stream: list[StreamDelta] = []
        if self._detokenizer is None:
            self._read = len(request.output_ids)
        else:
            while self._read < len(request.output_ids):
                token = request.output_ids[self._read]
                self._read += 1
                self._reasoning_tokens += self.router is not None and self.router.reasoning
                text = self._detokenizer.push(token)
                stream += self._route(text)
                self.token_ends.append(self._length)
            if request.finish_reason is not None and not self._over:
                stream += self._route(self._detokenizer.flush())
        if request.finish_reason is not None:
            stream += self._rest(cut_off=request.finish_reason != "stop")
            stream.append(StreamDelta("finish", completion=self.completion()))
        return stream

    @property
    def _over(self) -> bool:
        """Whether the answer has ended before its tokens did."""
        return self._stops.matched is not None or len(self._calls) == self.most_calls

    def _route(self, text: str) -> list[StreamDelta]:
        """What the next text settles."""
        self._length += len(text)
        if self.router is not None:
            return self._take(self.router.feed(text))
        return self._take([Delta("content", text, end=self._length)] if text else [])

    def _rest(self, cut_off: bool) -> list[StreamDelta]:
        """What was held back, at the answer's end."""
        stream: list[StreamDelta] = []
        if self.router is not None and not self._over:
            stream += self._take(self.router.finish(cut_off))
        return stream if self._over else [*stream, *self._held()]

    def _take(self, deltas: list[Delta]) -> list[StreamDelta]:
        """Keeps what is new, up to what ends the answer."""
        stream: list[StreamDelta] = []
        for delta in deltas:
            if self._over:
                break
            if delta.kind == "content":
                stream += self._until_stop(delta)
                continue
            stream += self._held()
            stream.append(StreamDelta(delta.kind, delta.text, delta.tool_call, delta.piece, end=delta.end))
            if delta.kind == "reasoning":
                self._parts["reasoning"].append(delta.text)
            elif delta.tool_call is not None:
                self._calls.append(delta.tool_call)
                if len(self._calls) == self.most_calls:
                    self.request.end_after(self._read, "stop")
        return stream

    def _until_stop(self, delta: Delta) -> list[StreamDelta]:
        """The content that may be shown. A stop string ends the request with its own last token, though the router may
        not have known before a later one that this is content."""
        text, stopped = self._stops.push(delta.text)
        self._content_end = delta.end
        if not stopped:
            return self._say(text, delta.end - self._stops.held)
        end = delta.end - self._stops.behind
        self.request.end_after(bisect_left(self.token_ends, end) + 1, "stop")
        return self._say(text, end - len(self._stops.matched or ""))

    def _held(self) -> list[StreamDelta]:
        """The content that might have begun a stop string."""
        return self._say(self._stops.flush(), self._content_end)

    def _say(self, text: str, end: int) -> list[StreamDelta]:
        if not text:
            return []
        self._parts["content"].append(text)
        return [StreamDelta("content", text, end=end)]

    @property
    def usage(self) -> dict[str, int]:
        """Tokens so far."""
        request = self.request
        prompt, generated = len(request.prompt.token_ids), len(request.output_ids)
        return {
            "prompt_tokens": prompt,
            "cached_tokens": request.cached,
            "image_tokens": sum(rows.length for rows in request.prompt.media),
            "completion_tokens": generated,
            "reasoning_tokens": min(self._reasoning_tokens, generated),
            "total_tokens": prompt + generated,
        }

    def completion(self) -> Completion:
        """The answer so far, whole once the request is finished."""
        request = self.request
        prompt, generated = len(request.prompt.token_ids), len(request.output_ids)
        reason = request.finish_reason or "stop"
        first, rest = self._first_token - self.started, self._last_token - self._first_token
        return Completion(
            text="".join(self._parts["content"]),
            reasoning="".join(self._parts["reasoning"]),
            tool_calls=[{"name": call.name, "arguments": call.arguments} for call in self._calls],
            token_ids=list(request.output_ids),
            logprobs=None if request.params.logprobs is None else _logprobs(request.samples),
            finish_reason="tool_calls" if self._calls and reason == "stop" else reason,
            usage=self.usage,
            timings={
                "first_token_seconds": first,
                "prefill_tokens_per_second": (prompt - request.cached) / first if first > 0 else 0.0,
                "decode_tokens_per_second": (generated - 1) / rest if rest > 0 else 0.0,
            },
            cut_call=self.router.cut_call if self.router is not None and not self._over else None,
            prompt_logprobs=self.prompt_logprobs,
            left_out=self.left_out,
        )


def _logprobs(samples: list[Sampled]) -> list[TokenLogprob]:
    return [TokenLogprob(sample.token, sample.logprob or 0.0, sample.top or []) for sample in samples]
