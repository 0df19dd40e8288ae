"""/v1/chat/completions."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from starlette.responses import Response

from qwill.answer import Answer, Completion, StreamDelta, TokenLogprob
from qwill.server.asks import Asked
from qwill.server.custom_tools import begun_input, input_of
from qwill.server.errors import refusal_of
from qwill.server.http import ALIVE, EVENTS, event, respond, to_json
from qwill.server.ids import new_id
from qwill.server.logprobs import NewLogprobs, entry
from qwill.server.openai.answers import ChatAnswer
from qwill.server.openai.asking import chat_ask
from qwill.server.openai.chat_schemas import ChatRequest, StreamOptions
from qwill.server.routes import caller, routes, service
from qwill.server.schemas import answered
from qwill.server.tools import CUSTOM, FUNCTION
from qwill.text.router import ToolCallPiece

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
    return await respond(request, asked.job, reply, bool(body.stream), asked.ignored)


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
            "model": asked.model, "system_fingerprint": f"qwill-{asked.served.name}",
        }  # fmt: skip

    def whole(self) -> dict[str, Any]:
        """All at once."""
        choices = []
        for index, completion in enumerate(self._completions()):
            message: dict[str, Any] = {"role": "assistant", "content": completion.text, "refusal": None}
            if completion.reasoning and self._with_reasoning:
                message |= {"reasoning_content": completion.reasoning, "reasoning": completion.reasoning}
            calls = [self._call(call["name"], to_text(call["arguments"])) for call in completion.tool_calls]
            if completion.cut_call is not None:  # its arguments are no whole JSON, as OpenAI's own are not then
                calls.append(self._call(completion.cut_call.name, completion.cut_call.text))
            if calls:
                message["tool_calls"] = calls
            if calls or (completion.finish_reason == "length" and not completion.reasoning):
                message["content"] = completion.text or None
            choice = {"index": index, "message": message, "logprobs": self._logprobs(completion.logprobs)}
            choices.append(choice | self._ending(index, completion))
        return {**self._head, "choices": choices, "usage": self._usage()}

    async def events(self) -> AsyncIterator[bytes]:
        """Server-sent events, the last of which is `[DONE]`."""
        head = {**self._head, "object": "chat.completion.chunk"}
        options = self._body.stream_options or StreamOptions()
        with_usage, each = bool(options.include_usage), bool(options.include_usage and options.continuous_usage_stats)
        extra: dict[str, Any] = {"usage": None} if with_usage else {}
        states = [_Choice(index, answer, head, extra) for index, answer in enumerate(self._asked.job.answers)]
        try:
            for index in range(len(states)):
                yield event({**head, "choices": [_chunk(index, {"role": "assistant", "content": ""})]})
            async for pieces in self._asked.job.pieces():
                if not pieces:
                    yield ALIVE
                chunks = []
                if each:
                    extra = {"usage": self._usage()}
                for index, delta in pieces:
                    state = states[index]
                    if delta.text and delta.kind in self._shown and not self._with_logprobs and not each:
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
            state.call = delta.piece.index
            changes += self._piece(delta.piece)
        elif delta.tool_call is not None and self._is_custom(delta.tool_call.name):
            text = input_of(delta.tool_call.arguments)
            changes.append({"tool_calls": [{"index": delta.tool_call.index, "custom": {"input": text}}]})
        elif delta.completion is not None:
            changes.append(self._cut_input(state.call, delta.completion))
            ending = self._ending(state.index, delta.completion)
        chunks = [_chunk(state.index, change) for change in changes]
        if chunks:
            chunks[-1] |= ending
            chunks[-1]["logprobs"] = self._logprobs(state.logprobs.take())
        return chunks

    def _piece(self, piece: ToolCallPiece) -> list[dict[str, Any]]:
        """The changes that tell a piece of a call. The input of a custom tool is told whole, once it is."""
        changes = []
        if piece.first:
            changes.append({"tool_calls": [{"index": piece.index} | self._call(piece.name, "")]})
        if not self._is_custom(piece.name):
            changes.append({"tool_calls": [{"index": piece.index, "function": {"arguments": piece.text}}]})
        return changes

    def _cut_input(self, index: int, completion: Completion) -> dict[str, Any]:
        """What came of a custom tool's input when the answer was cut off."""
        cut = completion.cut_call
        if cut is None or not self._is_custom(cut.name):
            return {}
        return {"tool_calls": [{"index": index, "custom": {"input": begun_input(cut.text)}}]}

    def _is_custom(self, name: str) -> bool:
        known = self._asked.ask.told_as.get(name)
        return known is not None and known.kind == CUSTOM

    def _call(self, name: str, arguments: str) -> dict[str, Any]:
        """A call of the tool that has this name for the model, as the client knows it."""
        known = self._asked.ask.told_as.get(name)
        if known is not None and known.kind == CUSTOM:
            return {
                "id": new_id("call_"),
                "type": CUSTOM,
                CUSTOM: {"name": known.name, "input": begun_input(arguments)},
            }
        return {"id": new_id("call_"), "type": FUNCTION, FUNCTION: {"name": name, "arguments": arguments}}

    def _logprobs(self, logprobs: list[TokenLogprob] | None) -> dict[str, Any] | None:
        if logprobs is None:
            return None
        return {"content": [entry(self._tokenizer, one) for one in logprobs], "refusal": None}

    def _ending(self, index: int, completion: Completion) -> dict[str, Any]:
        reason = completion.finish_reason
        ended = "length" if completion.cut_call is not None else REASONS.get(reason, reason)
        return {"finish_reason": ended, "stop_reason": stop_reason(self._asked, index, reason)}

    def _usage(self) -> dict[str, Any]:
        return usage(self._asked) | (self._cost(self._asked) or {})

    def _completions(self) -> list[Completion]:
        return [completion for completion in self._asked.job.completions if completion is not None]


class _Choice:
    """How far a streamed answer has come, and what stands around each text in its events: most of an event is the same
    every time, and to write it anew took half of the time. `call` is the number of the newest call.
    """

    def __init__(self, index: int, answer: Answer, head: dict[str, Any], extra: dict[str, Any]) -> None:
        self.index = index
        self.call = 0
        self.logprobs = NewLogprobs(answer)
        kinds = {"content": {"content": MARK}, "reasoning": {"reasoning_content": MARK, "reasoning": MARK}}
        self.around = {
            kind: event({**head, "choices": [_chunk(index, delta)]} | extra).split(to_json(MARK))
            for kind, delta in kinds.items()
        }


def stop_reason(asked: Asked, index: int, reason: str | None) -> str | int | None:
    """What ended an answer beside the model's own end: a stop string, the id of a stop token, or `loop`."""
    answer = asked.job.answers[index]
    return answer.stop_text or answer.stop_token or (reason if reason in REASONS else None)


def usage(asked: Asked) -> dict[str, Any]:
    """Tokens of all answers so far; those of a prompt with several answers count once."""
    answers = [answer.usage for answer in asked.job.answers]
    prompts = answers[:: asked.ask.choices]
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
