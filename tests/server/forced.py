"""A server whose model says what a test tells it, and its answers in every dialect, streamed and whole, in one form.

The tokens are forced as a thinking budget forces its own: all else, drafts too, goes as ever.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qwill.answer import Answer
from qwill.engine.rules import Rules
from qwill.llm import LLM
from server.asking import send, streamed
from server.running import Running, running

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
CLOCK: dict[str, Any] = {"type": "object", "properties": {}}
TOOLS = {"weather": WEATHER, "clock": CLOCK}
QUESTION = [{"role": "user", "content": "?"}]


class Forced(Rules):
    """Forces tokens, of which drafts know."""

    def __init__(self, tokens: Sequence[int]) -> None:
        super().__init__()
        self._queue.extend(tokens)

    def foresee(self, logits: np.ndarray, drafts: Sequence[int]) -> np.ndarray:
        if len(drafts) >= len(self._queue):
            return logits
        chosen = np.full_like(logits, -np.inf)
        chosen[self._queue[len(drafts)]] = 0
        return chosen


class ForcedLLM(LLM):
    """Every answer is `says` and ends there."""

    says = ""

    def _answer(self, *arguments: Any, **more: Any) -> Answer:
        answer = super()._answer(*arguments, **more)
        assert self.tokenizer is not None
        tokens = self.tokenizer.encode(self.says + "<|im_end|>", allow_special=True)
        answer.request.sampler.rules = Forced(tokens)
        return answer


@contextmanager
def forced() -> Iterator[Running]:
    """Set `worker.llm.says`."""
    with running(load=ForcedLLM) as server:
        yield server


@dataclass
class Said:
    """An answer. `calls`: names and the JSON of their arguments; `stop`: the stop string that the dialect names;
    `tokens`: how many the answer counts; `parts`: content and calls in their order, where the dialect has one."""

    reasoning: str = ""
    content: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    reason: str | None = None
    stop: str | None = None
    tokens: int = 0
    parts: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> list[tuple[str, Any]]:
        return [(name, json.loads(arguments)) for name, arguments in self.calls]


Dialect = Callable[..., Said]


def chat(server: Running, stream: bool, stop: Any, tools: bool, thinking: bool, **more: Any) -> Said:
    body = {"messages": QUESTION, "stop": stop, "enable_thinking": thinking, "stream": stream, **more}
    if tools:
        body["tools"] = [
            {"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in TOOLS.items()
        ]
    if stream:
        body["stream_options"] = {"include_usage": True}
    said = Said()
    contents: dict[int, str] = {}  # those of several choices come at the same time
    for answer in _answers(server, "/v1/chat/completions", body):
        said.tokens = (answer.get("usage") or {"completion_tokens": 0})["completion_tokens"]
        for choice in answer["choices"]:
            message = choice["delta" if stream else "message"]
            contents[choice["index"]] = contents.get(choice["index"], "") + (message.get("content") or "")
            said.reasoning += message.get("reasoning_content") or ""
            for place, call in enumerate(message.get("tool_calls", [])):
                function = call["function"]
                if call.get("index", place) == len(said.calls):
                    said.calls.append((function["name"], ""))
                name, arguments = said.calls[-1]
                said.calls[-1] = name, arguments + function["arguments"]
            said.reason = choice["finish_reason"] or said.reason
            said.stop = choice.get("stop_reason") or said.stop
    said.content = "".join(contents[index] for index in sorted(contents))
    return said


def responses(server: Running, stream: bool, stop: Any, tools: bool, thinking: bool, **more: Any) -> Said:
    """The dialect has no stop strings; `stop` has to be none."""
    assert not stop
    body = {"input": "?", "stream": stream, "reasoning": {"effort": "high" if thinking else "none"}, **more}
    if tools:
        body["tools"] = [{"type": "function", "name": name, "parameters": schema} for name, schema in TOOLS.items()]
    *_, last = _answers(server, "/v1/responses", body)
    answer = last["response"] if stream else last
    said = Said(tokens=answer["usage"]["output_tokens"], reason=answer["status"])
    for item in answer["output"]:
        if item["type"] == "function_call":
            said.calls.append((item["name"], item["arguments"]))
            said.parts.append(item["name"])
        elif item["type"] == "message":
            said.content += item["content"][0]["text"]
            said.parts.append(item["content"][0]["text"])
        else:
            said.reasoning += item["content"][0]["text"]
    return said


def anthropic(server: Running, stream: bool, stop: Any, tools: bool, thinking: bool, **more: Any) -> Said:
    body = {"model": "demo", "max_tokens": 500, "messages": QUESTION, "stream": stream, **more}
    if stop:
        body["stop_sequences"] = stop
    if thinking:
        body["thinking"] = {"type": "enabled", "budget_tokens": 2048}
    if tools:
        body["tools"] = [{"name": name, "input_schema": schema} for name, schema in TOOLS.items()]
    said, blocks = Said(), []
    for answer in _answers(server, "/v1/messages", body):
        if not stream:
            blocks = [block | {"json": json.dumps(block.get("input"))} for block in answer["content"]]
        elif answer["type"] == "content_block_start":
            blocks.append(answer["content_block"] | {"json": ""})
        elif answer["type"] == "content_block_delta":
            for key, value in answer["delta"].items():
                if key in ("text", "thinking"):
                    blocks[-1][key] += value
                elif key == "partial_json":
                    blocks[-1]["json"] += value
        if not stream or answer["type"] == "message_delta":
            ending = answer if not stream else answer["delta"]
            said.reason, said.stop = ending["stop_reason"], ending["stop_sequence"]
            said.tokens = answer["usage"]["output_tokens"]
    for block in blocks:
        if block["type"] == "tool_use":
            said.calls.append((block["name"], block["json"]))
            said.parts.append(block["name"])
        elif block["type"] == "text":
            said.content += block["text"]
            said.parts.append(block["text"])
        else:
            said.reasoning += block["thinking"]
    return said


def ollama(server: Running, stream: bool, stop: Any, tools: bool, thinking: bool, **more: Any) -> Said:
    options = ({"stop": stop} if stop else {}) | more
    body = {"model": "demo", "messages": QUESTION, "stream": stream, "think": thinking, "options": options}
    if tools:
        body["tools"] = [
            {"type": "function", "function": {"name": name, "description": "", "parameters": schema}}
            for name, schema in TOOLS.items()
        ]
    said = Said()
    for answer in _answers(server, "/api/chat", body):
        message = answer["message"]
        said.content += message["content"]
        said.reasoning += message.get("thinking", "")
        for call in message.get("tool_calls", []):
            said.calls.append((call["function"]["name"], json.dumps(call["function"]["arguments"])))
        said.reason, said.tokens = answer.get("done_reason"), answer.get("eval_count", 0)
    return said


def completions(server: Running, stream: bool, stop: Any, **more: Any) -> Said:
    body = {"prompt": "?", "stop": stop, "max_tokens": 200, "stream": stream, **more}
    if stream:
        body["stream_options"] = {"include_usage": True}
    said = Said()
    for answer in _answers(server, "/v1/completions", body):
        said.tokens = (answer.get("usage") or {"completion_tokens": 0})["completion_tokens"]
        for choice in answer["choices"]:
            said.content += choice["text"]
            said.reason = choice["finish_reason"] or said.reason
            said.stop = choice["stop_reason"] or said.stop
    return said


DIALECTS: dict[str, Dialect] = {"chat": chat, "anthropic": anthropic, "ollama": ollama, "responses": responses}


def _answers(server: Running, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The answer, or the objects of its stream."""
    if not body["stream"]:
        answer = send("POST", server.url + path, json=body)
        assert answer.status_code == 200, answer.text
        yield answer.json()
        return
    with streamed(server.url + path, json=body) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            data = line.removeprefix("data: ")
            if data.startswith("{"):
                found = json.loads(data)
                assert "error" not in found or found["error"] is None, found
                yield found
