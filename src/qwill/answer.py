"""An answer as it grows: tokens to text, text to reasoning, content and tool calls."""

import time
from dataclasses import dataclass, field
from typing import Any

from qwill.engine.request import Request
from qwill.text.detokenizer import Detokenizer
from qwill.text.router import CutCall, Delta, Router, ToolCallDelta, ToolCallPiece
from qwill.text.stop import StopMatcher
from qwill.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class TokenLogprob:
    """A generated token, its log-probability and the likeliest tokens of its position with theirs."""

    token_id: int
    logprob: float
    top: list[tuple[int, float]]


@dataclass(frozen=True)
class Completion:
    """An answer. Times are in seconds.

    `finish_reason`: stop (end of turn, a stop string or the end of its structure), length, tool_calls, loop (it went on
    repeating itself) or error (its structure was too complex to follow to the end). `cut_call`: the tool call in whose
    midst the length ended the answer, which is not one of `tool_calls`. `left_out`: dotted names of what of the schemas
    the answer was not held to, since no grammar can; `response_format` stands for the request's `json_schema`.
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
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class StreamDelta:
    """A piece of a streamed answer: text of a kind, a piece of a tool call's arguments, a whole tool call after its
    pieces, or, last, `finish` with the completion."""

    kind: str
    text: str = ""
    tool_call: ToolCallDelta | None = None
    piece: ToolCallPiece | None = None
    completion: Completion | None = None


@dataclass(eq=False)
class Answer:
    """Follows one request. `router` is None for plain completions, whose text is all content. The answer ends after
    `most_calls` tool calls."""

    request: Request
    tokenizer: Tokenizer | None
    router: Router | None
    most_calls: int | None = None
    left_out: tuple[str, ...] = ()
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self._detokenizer = Detokenizer(self.tokenizer) if self.tokenizer is not None else None
        self._stops = StopMatcher(self.request.params.stop)
        self._read = 0
        self._reasoning_tokens = 0
        self._parts: dict[str, list[str]] = {"content": [], "reasoning": []}
        self._calls: list[ToolCallDelta] = []
        self._first_token = self._last_token = self.started

    @property
    def stop_text(self) -> str | None:
        """The stop string that ended the answer."""
        return self._stops.matched

    def advance(self) -> list[StreamDelta]:
        """What the tokens since the last call settle. A stop string sets the request's finish_reason."""
        request = self.request
        now = time.perf_counter()
        if self._read == 0 and request.output_ids:
            self._first_token = now
        self._last_token = now
        deltas: list[Delta] = []
        if self._detokenizer is None:
            self._read = len(request.output_ids)
        else:
            while self._read < len(request.output_ids):
                token = request.output_ids[self._read]
                self._read += 1
                self._reasoning_tokens += self.router is not None and self.router.reasoning
                text, stopped = self._stops.push(self._detokenizer.push(token))
                deltas += self._route(text)
                if stopped or len(self._calls) == self.most_calls:
                    request.end_after(self._read, "stop")
            if request.finish_reason is not None and len(self._calls) != self.most_calls:
                text, stopped = self._stops.push(self._detokenizer.flush())
                deltas += self._route(text + ("" if stopped else self._stops.flush()))
        finished = request.finish_reason is not None
        if finished and self.router is not None and len(self._calls) != self.most_calls:
            deltas += self._take(self.router.finish(cut_off=request.finish_reason == "length"))
        stream = [StreamDelta(delta.kind, delta.text, delta.tool_call, delta.piece) for delta in deltas]
        if finished:
            stream.append(StreamDelta("finish", completion=self.completion()))
        return stream

    def _route(self, text: str) -> list[Delta]:
        if self.router is not None:
            return self._take(self.router.feed(text))
        return self._take([Delta("content", text)] if text else [])

    def _take(self, deltas: list[Delta]) -> list[Delta]:
        """Keeps what is new; returns it up to the last call that there may be."""
        for index, delta in enumerate(deltas):
            if delta.tool_call is not None:
                self._calls.append(delta.tool_call)
                if len(self._calls) == self.most_calls:
                    return deltas[: index + 1]
            elif delta.piece is None:
                self._parts[delta.kind].append(delta.text)
        return deltas

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
            logprobs=None
            if request.params.logprobs is None
            else [TokenLogprob(sample.token, sample.logprob or 0.0, sample.top or []) for sample in request.samples],
            finish_reason="tool_calls" if self._calls and reason == "stop" else reason,
            usage={
                "prompt_tokens": prompt,
                "cached_tokens": request.cached,
                "image_tokens": sum(rows.length for rows in request.prompt.media),
                "completion_tokens": generated,
                "reasoning_tokens": min(self._reasoning_tokens, generated),
                "total_tokens": prompt + generated,
            },
            timings={
                "first_token_seconds": first,
                "prefill_tokens_per_second": (prompt - request.cached) / first if first > 0 else 0.0,
                "decode_tokens_per_second": (generated - 1) / rest if rest > 0 else 0.0,
            },
            cut_call=self.router.cut_call if self.router is not None else None,
            left_out=self.left_out,
        )
