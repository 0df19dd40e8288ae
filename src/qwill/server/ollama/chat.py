"""/api/chat and /api/generate."""

import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from starlette.responses import Response

from qwill.answer import Completion, StreamDelta, TokenLogprob
from qwill.server.asks import Ask, Asked
from qwill.server.errors import refusal_of
from qwill.server.http import JSON, Stream, telling, to_json, whole
from qwill.server.logprobs import NewLogprobs, entry
from qwill.server.ollama.answers import CHAT_ANSWERS, GENERATE_ANSWERS, LINES
from qwill.server.ollama.asking import (
    chat_ask,
    generate_ask,
    ignored_when_loading,
    is_streamed,
)
from qwill.server.ollama.keep_alive import load_or_unload
from qwill.server.ollama.schemas import OllamaChatRequest, OllamaGenerateRequest, OllamaRequest
from qwill.server.routes import caller, routes, service
from qwill.text.tokenizer import Tokenizer

router = routes()
Call = tuple[int, str, dict[str, Any]]  # its place among the answer's calls, the function's name, the arguments
Shape = Callable[[str, str, Sequence[Call]], dict[str, Any]]


@router.post("/api/chat", responses=CHAT_ANSWERS, tags=["Ollama"])
async def chat(request: Request, body: OllamaChatRequest) -> Response:
    """The next message of a conversation, streamed as JSON lines unless `stream` is false."""
    if not body.messages:
        return await _loaded(request, body, as_message)
    return await _answered(request, body, chat_ask(body), as_message)


@router.post("/api/generate", responses=GENERATE_ANSWERS, tags=["Ollama"])
async def generate(request: Request, body: OllamaGenerateRequest) -> Response:
    """The answer to a question, streamed as JSON lines unless `stream` is false; with `raw` what follows a text."""
    if not body.prompt and not body.images:
        return await _loaded(request, body, as_response)
    return await _answered(request, body, generate_ask(body), as_response)


def as_message(content: str, thinking: str, calls: Sequence[Call]) -> dict[str, Any]:
    """An answer, or a piece of one, as /api/chat gives it."""
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if thinking:
        message["thinking"] = thinking
    if calls:
        message["tool_calls"] = [
            {
                "id": f"call_{secrets.token_hex(12)}",
                "function": {"index": index, "name": name, "arguments": arguments},
            }
            for index, name, arguments in calls
        ]
    return {"message": message}


def as_response(content: str, thinking: str, calls: Sequence[Call]) -> dict[str, Any]:
    """An answer, or a piece of one, as /api/generate gives it; it has no tools to call."""
    return {"response": content} | ({"thinking": thinking} if thinking else {})


async def _answered(request: Request, body: OllamaRequest, ask: Ask, shape: Shape) -> Response:
    asked = await service(request).begin(ask, caller(request))
    reply = Reply(asked, body, shape, service(request).watch.cost)
    response: Response
    if is_streamed(body):
        response = Stream(asked.job, reply.lines(), LINES)
    else:
        await whole(request, asked.job.finish())
        response = JSON(reply.whole())
    return telling(response, reply.ignored)


async def _loaded(request: Request, body: OllamaRequest, shape: Shape) -> Response:
    """A request without a question has the model loaded, for the next one, or unloaded if it is to be kept no time."""
    started = time.perf_counter()
    served, reason = await load_or_unload(service(request).models, body.model, body.keep_alive)
    duration = _nanoseconds(time.perf_counter() - started)
    head = {"model": body.model or served.name, "created_at": _now(), **shape("", "", ())}
    ending = {"done": True, "done_reason": reason, "total_duration": duration, "load_duration": duration}
    return telling(JSON(head | ending), ignored_when_loading(body))


class Reply:
    """An answer in the form of Ollama's."""

    def __init__(self, asked: Asked, body: OllamaRequest, shape: Shape, cost: Any) -> None:
        (self._answer,) = asked.job.answers
        self._asked = asked
        self._shape = shape
        self._cost = cost
        self._name = body.model or asked.model
        self._new_logprobs = NewLogprobs(self._answer)
        worker = asked.served.worker
        assert worker is not None  # it is leased
        with_all = body.options is not None and body.options.num_ctx == worker.llm.max_context
        self.ignored = [name for name in asked.ignored if not (with_all and name == "options.num_ctx")]

    def whole(self) -> dict[str, Any]:
        """All at once."""
        (completion,) = self._asked.job.completions
        assert completion is not None
        calls = [(index, call["name"], call["arguments"]) for index, call in enumerate(completion.tool_calls)]
        said = self._shape(completion.text, completion.reasoning, calls)
        return self._object(said, completion, completion.logprobs)

    async def lines(self) -> AsyncIterator[bytes]:
        """A line for each piece, the last of which is `done`. A format without comments cannot tell that it lives."""
        try:
            async for pieces in self._asked.job.pieces():
                if lines := [line for _, delta in pieces if (line := self._line(delta))]:
                    yield b"".join(lines)
        except Exception as error:
            yield to_json(refusal_of(error).body("/api/", self._asked.caller.request_id)) + b"\n"

    def _line(self, delta: StreamDelta) -> bytes:
        """Nothing for pieces of a call, which is told as a whole."""
        calls: list[Call] = []
        if delta.tool_call is not None:
            calls = [(delta.tool_call.index, delta.tool_call.name, delta.tool_call.arguments)]
        elif not delta.text and delta.completion is None:
            return b""
        content, thinking = ("", delta.text) if delta.kind == "reasoning" else (delta.text, "")
        said = self._shape(content, thinking, calls)
        return to_json(self._object(said, delta.completion, self._new_logprobs.take())) + b"\n"

    def _object(
        self, said: dict[str, Any], completion: Completion | None, logprobs: list[TokenLogprob] | None
    ) -> dict[str, Any]:
        told: dict[str, Any] = {"model": self._name, "created_at": _now(), **said, "done": completion is not None}
        if logprobs:
            told["logprobs"] = [_logprob(self._answer.tokenizer, one) for one in logprobs]
        return told if completion is None else told | self._ending(completion)

    def _ending(self, completion: Completion) -> dict[str, Any]:
        """Why the answer ended, its tokens, and its durations in nanoseconds.

        Fetching media and preparing the prompt count as loading. Clients divide the tokens by `eval_duration`, which
        therefore has the first token's share, too.
        """
        usage, timings = completion.usage, completion.timings
        rate = timings["decode_tokens_per_second"]
        return {
            "done_reason": "length" if completion.finish_reason == "length" else "stop",
            "total_duration": _nanoseconds(time.perf_counter() - self._asked.started),
            "load_duration": _nanoseconds(self._answer.started - self._asked.started),
            "prompt_eval_count": usage["prompt_tokens"],
            "prompt_eval_duration": _nanoseconds(timings["first_token_seconds"]),
            "eval_count": usage["completion_tokens"],
            "eval_duration": _nanoseconds(usage["completion_tokens"] / rate if rate else 0.0),
        } | (self._cost(self._asked) or {})


def _logprob(tokenizer: Tokenizer | None, one: TokenLogprob) -> dict[str, Any]:
    return {key: value for key, value in entry(tokenizer, one).items() if value or key != "top_logprobs"}


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
