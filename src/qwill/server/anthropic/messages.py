"""/v1/messages and /v1/messages/count_tokens."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from starlette.responses import Response

from qwill.answer import Answer, Completion, StreamDelta
from qwill.server.anthropic.answers import COUNT_ANSWERS, MESSAGE_ANSWERS
from qwill.server.anthropic.asking import conversation_ask, messages_ask
from qwill.server.anthropic.schemas import Conversation, MessagesRequest
from qwill.server.anthropic.signatures import sign
from qwill.server.asks import Asked
from qwill.server.errors import refusal_of
from qwill.server.http import JSON, Stream, event, telling, whole
from qwill.server.routes import caller, routes, service

router = routes()
PATH = "/v1/messages"
PING = event({"type": "ping"}, "ping")


@router.post(PATH, responses=MESSAGE_ANSWERS, tags=["Anthropic"])
async def messages(request: Request, body: MessagesRequest) -> Response:
    """The next message of a conversation; with `stream` as server-sent events.

    Without `thinking` the model does not reason. A last message of the assistant's is gone on with.
    """
    asked = await service(request).begin(messages_ask(body), caller(request))
    reply = MessageReply(asked, body, service(request).watch.cost)
    if body.stream:
        return telling(Stream(asked.job, reply.events()), asked.ignored)
    await whole(request, asked.job.finish())
    return telling(JSON(reply.whole()), asked.ignored)


@router.post(f"{PATH}/count_tokens", responses=COUNT_ANSWERS, tags=["Anthropic"])
async def count_tokens(request: Request, body: Conversation) -> Response:
    """How many tokens a conversation has as a prompt, tools and images included, whether or not it fits."""
    ask = conversation_ask(body)
    ids, _ = await service(request).prompt_tokens(ask)
    return telling(JSON({"input_tokens": len(ids)}), ask.ignored)


class MessageReply:
    """An answer in the form of a message."""

    def __init__(self, asked: Asked, body: MessagesRequest, cost: Any) -> None:
        self._asked = asked
        self._most = body.max_tokens
        self._cost = cost
        self._shown = body.thinking is None or body.thinking.display != "omitted"
        self._answer: Answer = asked.job.answers[0]
        self._head = {
            "id": asked.named(f"msg_{secrets.token_hex(12)}"), "type": "message", "role": "assistant",
            "model": asked.model,
        }  # fmt: skip

    def whole(self) -> dict[str, Any]:
        """All at once."""
        completion = self._completion()
        content: list[dict[str, Any]] = []
        if completion.reasoning:
            thinking, signature = completion.reasoning, sign(completion.reasoning, self._shown)
            content.append({"type": "thinking", "thinking": thinking if self._shown else "", "signature": signature})
        if completion.text:
            content.append({"type": "text", "text": completion.text})
        elif _says_nothing(completion):
            content.append({"type": "text", "text": ""})
        content += [_call(call["name"], call["arguments"]) for call in completion.tool_calls]
        if completion.cut_call is not None:  # max_tokens tells that there were to be more arguments
            content.append(_call(completion.cut_call.name, completion.cut_call.arguments))
        return {**self._head, "content": content, **self._ending(completion), "usage": self._usage(completion)}

    async def events(self) -> AsyncIterator[bytes]:
        """Server-sent events. The first one waits for the first token, since only then is known what was cached."""
        blocks = Blocks(self._shown)
        started = False
        try:
            async for pieces in self._asked.job.pieces():
                if not started:
                    started = True
                    yield self._start()
                written = [written for _, delta in pieces for written in blocks.add(delta)]
                yield b"".join(written) or PING
            if _says_nothing(self._completion()):
                yield b"".join(blocks.add(StreamDelta("content")))
            yield b"".join(blocks.close()) + self._end()
        except Exception as error:
            yield event(refusal_of(error).body(PATH, self._asked.caller.request_id), "error")

    def _start(self) -> bytes:
        ending = {"stop_reason": None, "stop_sequence": None}
        return _event("message_start", message={**self._head, "content": [], **ending, "usage": self._usage(None)})

    def _end(self) -> bytes:
        completion = self._completion()
        delta, usage = self._ending(completion), self._usage(completion)
        return _event("message_delta", delta=delta, usage=usage) + _event("message_stop")

    def _ending(self, completion: Completion) -> dict[str, Any]:
        reason, stopped = completion.finish_reason, self._answer.stop_text
        if reason == "tool_calls":
            return {"stop_reason": "tool_use", "stop_sequence": None}
        if reason == "length" and completion.usage["completion_tokens"] < self._most:
            return {"stop_reason": "model_context_window_exceeded", "stop_sequence": None}
        # All of these are cut off, and the dialect has no other word.
        if reason in ("length", "error") or completion.cut_call is not None:
            return {"stop_reason": "max_tokens", "stop_sequence": None}
        return {"stop_reason": "end_turn" if stopped is None else "stop_sequence", "stop_sequence": stopped}

    def _usage(self, completion: Completion | None) -> dict[str, Any]:
        """What was cached is not counted as input. Without a completion, that of an answer that begins."""
        request = self._answer.request
        counted = completion.usage if completion is not None else {}
        return {
            "input_tokens": len(request.prompt.token_ids) - request.cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": request.cached,
            "output_tokens": counted.get("completion_tokens", 0),
            "output_tokens_details": {"thinking_tokens": counted.get("reasoning_tokens", 0)},
        } | (self._cost(self._asked) or {})

    def _completion(self) -> Completion:
        completion = self._asked.job.completions[0]
        assert completion is not None
        return completion


class Blocks:
    """Writes an answer as it grows as content blocks, one after another."""

    def __init__(self, shown: bool) -> None:
        """`shown`: whether the client sees the reasoning."""
        self._shown = shown
        self._index = -1
        self._kind = ""
        self._reasoning = ""

    def add(self, delta: StreamDelta) -> list[bytes]:
        """The events of a piece of the answer."""
        if delta.kind == "reasoning":
            opened = self._turn_to({"type": "thinking", "thinking": "", "signature": ""})
            self._reasoning += delta.text
            return [*opened, self._delta("thinking_delta", thinking=delta.text)] if self._shown else opened
        if delta.kind == "content":
            return [*self._turn_to({"type": "text", "text": ""}), self._delta("text_delta", text=delta.text)]
        if delta.piece is not None:
            opened = self._open(_call(delta.piece.name, {})) if delta.piece.first else []
            return [*opened, self._delta("input_json_delta", partial_json=delta.piece.text)]
        return []

    def close(self) -> list[bytes]:
        """Ends the block that is open, if one is."""
        if not self._kind:
            return []
        ending = [_event("content_block_stop", index=self._index)]
        if self._kind == "thinking":
            ending.insert(0, self._delta("signature_delta", signature=sign(self._reasoning, self._shown)))
        self._kind, self._reasoning = "", ""
        return ending

    def _turn_to(self, block: dict[str, Any]) -> list[bytes]:
        return [] if block["type"] == self._kind else self._open(block)

    def _open(self, block: dict[str, Any]) -> list[bytes]:
        closed = self.close()
        self._index += 1
        self._kind = block["type"]
        return [*closed, _event("content_block_start", index=self._index, content_block=block)]

    def _delta(self, kind: str, **change: Any) -> bytes:
        return _event("content_block_delta", index=self._index, delta={"type": kind, **change})


def _says_nothing(completion: Completion) -> bool:
    """Whether an answer was cut off before it said anything. Clients look for the block that was cut off."""
    said = completion.text or completion.reasoning or completion.tool_calls or completion.cut_call
    return not said and completion.finish_reason == "length"


def _call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{secrets.token_hex(12)}", "name": name, "input": arguments}


def _event(name: str, **fields: Any) -> bytes:
    return event({"type": name, **fields}, name)
