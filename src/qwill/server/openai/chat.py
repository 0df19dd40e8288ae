"""/v1/chat/completions."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from starlette.responses import Response

from qwill.answer import Answer, Completion, StreamDelta, TokenLogprob
from qwill.server.errors import refusal_of
from qwill.server.http import ALIVE, EVENTS, event, respond, to_json
from qwill.server.ids import new_id
from qwill.server.logprobs import NewLogprobs, entry
from qwill.server.openai.answers import ChatAnswer
from qwill.server.openai.asking import chat_ask
from qwill.server.openai.chat_schemas import IGNORED, ChatRequest
from qwill.server.routes import caller, routes, service
from qwill.server.schemas import answered
from qwill.server.service import Asked

router = routes()
MARK = "\N{BLACK SQUARE}" * 8  # stands for a text
DONE = b"data: [DONE]\n\n"
# The dialect knows no other words: a runaway that was ended is told by `stop_reason`.
REASONS = {"loop": "stop", "error": "stop"}


@router.post("/v1/chat/completions", responses=answered(ChatAnswer, EVENTS), tags=["OpenAI"])
async def chat_completions(request: Request, body: ChatRequest) -> Response:
    """The next message of a conversation; with `stream` as server-sent events."""
    asked = await service(request).begin(chat_ask(body), caller(request))
    reply = ChatReply(asked, body, service(request).watch.cost)
    return await respond(request, asked.job, reply, bool(body.stream), body.ignored(IGNORED))


class ChatReply:
    """Answers in the form of chat completions."""

    def __init__(self, asked: Asked, body: ChatRequest, cost: Any) -> None:
        self._asked = asked
        self._body = body
        self._cost = cost
        self._tokenizer = asked.job.answers[0].tokenizer
        self._with_reasoning = body.include_reasoning is not False and not (body.reasoning and body.reasoning.exclude)
        self._with_logprobs = bool(body.logprobs)
        self._shown = ("content", "reasoning") if self._with_reasoning else ("content",)
        self._head = {
            "id": asked.named(new_id("chatcmpl-")), "object": "chat.completion", "created": int(time.time()),
            "model": asked.served.name, "system_fingerprint": f"qwill-{asked.served.name}",
        }  # fmt: skip

    def whole(self) -> dict[str, Any]:
        """All at once."""
        choices = []
        for index, completion in enumerate(self._completions()):
            message: dict[str, Any] = {"role": "assistant", "content": completion.text, "refusal": None}
            if completion.reasoning and self._with_reasoning:
                message |= {"reasoning_content": completion.reasoning, "reasoning": completion.reasoning}
            calls = [_call(_call_id(), call["name"], to_text(call["arguments"])) for call in completion.tool_calls]
            if completion.cut_call is not None:  # its arguments are no whole JSON, as OpenAI's own are not then
                calls.append(_call(_call_id(), completion.cut_call.name, completion.cut_call.text))
            if calls:
                message |= {"content": completion.text or None, "tool_calls": calls}
            choice = {"index": index, "message": message, "logprobs": self._logprobs(completion.logprobs)}
            choices.append(choice | self._ending(index, completion))
        return {**self._head, "choices": choices, "usage": self._usage()}

    async def events(self) -> AsyncIterator[bytes]:
        """Server-sent events, the last of which is `[DONE]`."""
        head = {**self._head, "object": "chat.completion.chunk"}
        options = self._body.stream_options
        with_usage = options is not None and bool(options.include_usage)
        extra: dict[str, Any] = {"usage": None} if with_usage else {}
        states = [_Choice(index, answer, head, extra) for index, answer in enumerate(self._asked.job.answers)]
        try:
            for index in range(len(states)):
                yield event({**head, "choices": [_chunk(index, {"role": "assistant", "content": ""})]})
            async for pieces in self._asked.job.pieces():
                if not pieces:
                    yield ALIVE
                chunks = []
                for index, delta in pieces:
                    state = states[index]
                    if delta.text and delta.kind in self._shown and not self._with_logprobs:
                        chunks.append(to_json(delta.text).join(state.around[delta.kind]))
                    else:
                        chunks += [event({**head, "choices": [one]} | extra) for one in self._chunks(state, delta)]
                if chunks:
                    yield b"".join(chunks)
            if with_usage:
                yield event({**head, "choices": [], "usage": self._usage()})
        except Exception as error:
            yield event(refusal_of(error).body("", self._asked.caller.request_id))
        yield DONE

    def _chunks(self, state: "_Choice", delta: StreamDelta) -> list[dict[str, Any]]:
        changes: list[dict[str, Any]] = []
        ending: dict[str, Any] = {"finish_reason": None}
        if delta.kind == "content":
            changes.append({"content": delta.text})
        elif delta.kind == "reasoning" and self._with_reasoning:
            changes.append({"reasoning_content": delta.text, "reasoning": delta.text})
        elif delta.piece is not None:
            piece: dict[str, Any] = {"index": delta.piece.index, "function": {"arguments": delta.piece.text}}
            if delta.piece.first:
                first = {"index": delta.piece.index} | _call(_call_id(), delta.piece.name, "")
                changes.append({"tool_calls": [first]})
            changes.append({"tool_calls": [piece]})
        elif delta.completion is not None:
            changes.append({})
            ending = self._ending(state.index, delta.completion)
        chunks = [_chunk(state.index, change) for change in changes]
        if chunks:
            chunks[-1] |= ending
            chunks[-1]["logprobs"] = self._logprobs(state.logprobs.take())
        return chunks

    def _logprobs(self, logprobs: list[TokenLogprob] | None) -> dict[str, Any] | None:
        if logprobs is None:
            return None
        return {"content": [entry(self._tokenizer, one) for one in logprobs], "refusal": None}

    def _ending(self, index: int, completion: Completion) -> dict[str, Any]:
        reason = completion.finish_reason
        stopped = self._asked.job.answers[index].stop_text or (reason if reason in REASONS else None)
        return {"finish_reason": REASONS.get(reason, reason), "stop_reason": stopped}

    def _usage(self) -> dict[str, Any]:
        return usage(self._completions(), self._asked.ask.choices) | (self._cost(self._asked) or {})

    def _completions(self) -> list[Completion]:
        return [completion for completion in self._asked.job.completions if completion is not None]


class _Choice:
    """How far a streamed answer has come, and what stands around each text in its events: most of an event is the same
    every time, and to write it anew took half of the time.
    """

    def __init__(self, index: int, answer: Answer, head: dict[str, Any], extra: dict[str, Any]) -> None:
        self.index = index
        self.logprobs = NewLogprobs(answer)
        kinds = {"content": {"content": MARK}, "reasoning": {"reasoning_content": MARK, "reasoning": MARK}}
        self.around = {
            kind: event({**head, "choices": [_chunk(index, delta)]} | extra).split(to_json(MARK))
            for kind, delta in kinds.items()
        }


def usage(completions: list[Completion], choices: int) -> dict[str, Any]:
    """Tokens of all answers; those of a prompt with several answers count once."""
    prompts = [completion.usage for completion in completions[::choices]]
    answers = [completion.usage for completion in completions]
    prompt, completion = sum(one["prompt_tokens"] for one in prompts), sum(one["completion_tokens"] for one in answers)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": sum(one["cached_tokens"] for one in prompts),
            "image_tokens": sum(one["image_tokens"] for one in prompts),
        },
        "completion_tokens_details": {"reasoning_tokens": sum(one["reasoning_tokens"] for one in answers)},
    }


def to_text(arguments: dict[str, Any]) -> str:
    """A call's arguments as JSON text."""
    return json.dumps(arguments, ensure_ascii=False)


def _chunk(index: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}


def _call(identity: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def _call_id() -> str:
    return new_id("call_")
