"""What is counted of requests: metrics for Prometheus, usage for each key, costs, and the log of prompts."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from starlette.routing import BaseRoute
from starlette.types import Scope

from qwill.answer import Answer, Completion
from qwill.server.asks import Asked
from qwill.server.metrics import Metrics
from qwill.server.models import Models
from qwill.server.prices import read_prices
from qwill.server.settings import Settings
from qwill.server.usage import Tokens, UsageFile
from qwill.text.chat_template import MEDIA_KINDS, part_kind, part_source

log = logging.getLogger("qwill.server")
PREFIX_OF_DATA = "data:"


class Watch:
    """Belongs to the event loop."""

    def __init__(self, settings: Settings) -> None:
        """Raises InvalidArgument when the file of usage or that of prices cannot be used."""
        self._log_prompts = settings.log_prompts
        self._metrics = Metrics()
        self._prices = read_prices(settings.prices_file) if settings.show_cost else None
        self._usage = UsageFile(settings.usage_file) if settings.usage_file is not None else None

    def follow(self, models: Models, routes: Sequence[BaseRoute]) -> None:
        """Whose figures the metrics tell."""
        self._metrics.follow(models, routes)

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """An HTTP request is over."""
        self._metrics.answered(scope, status, seconds)

    def begun(self, asked: Asked) -> None:
        """Answers were queued."""
        self._metrics.begun(asked.served.name)

    def ended(self, asked: Asked) -> None:
        """Answers are finished, or given up. In that case a step may still work on them, which counts, too."""
        seconds = time.perf_counter() - asked.started
        self._metrics.ended(asked.served.name)
        asked.job.on_rest(lambda: self._count(asked, seconds))

    def cost(self, asked: Asked) -> dict[str, Any] | None:
        """What the answers cost so far; None where no prices are told."""
        if self._prices is None:
            return None
        return {"cost": self._prices.told({asked.served.name: tokens_of(asked)})}

    def metrics(self) -> bytes:
        """For Prometheus, in its text format."""
        return self._metrics.page()

    def close(self) -> None:
        """Writes what is not written yet."""
        if self._usage is not None:
            self._usage.close()

    def _count(self, asked: Asked, seconds: float) -> None:
        tokens = tokens_of(asked)
        self._metrics.count(asked.served.name, asked.job, tokens, asked.started, seconds)
        if self._usage is not None:
            self._usage.add(asked.caller.key.name, asked.served.name, tokens)
        if self._log_prompts:
            _log(asked, tokens, seconds)


def tokens_of(asked: Asked) -> Tokens:
    """What was computed for the answers so far. A prompt with several answers counts once, as clients are told."""
    total = Tokens()
    for index, (answer, completion) in enumerate(zip(asked.job.answers, asked.job.completions, strict=True)):
        tokens = _tokens(answer, completion)
        if index % asked.ask.choices:
            tokens = replace(tokens, prompt_tokens=0, cached_tokens=0, image_tokens=0)
        total += tokens
    return total


def _tokens(answer: Answer, completion: Completion | None) -> Tokens:
    """Of a prompt that was not read to its end, what was read."""
    usage = (completion or answer.completion()).usage
    prompt, image = usage["prompt_tokens"], usage["image_tokens"]
    if completion is None:
        computed = answer.request.computed
        prompt = min(prompt, computed)
        image = sum(min(rows.length, max(0, computed - rows.start)) for rows in answer.request.prompt.media)
    return Tokens(prompt, usage["cached_tokens"], usage["completion_tokens"], usage["reasoning_tokens"], image)


def _log(asked: Asked, tokens: Tokens, seconds: float) -> None:
    """What was asked and answered, as one record."""
    pairs = zip(asked.job.answers, asked.job.completions, strict=True)
    answers = [_told(completion or answer.completion(), completion is not None) for answer, completion in pairs]
    prompt = asked.ask.prompts if asked.ask.messages is None else list(map(_without_media, asked.ask.messages))
    log.info(
        "answers",
        extra={
            "request_id": asked.caller.request_id, "key": asked.caller.key.name, "model": asked.served.name,
            "seconds": round(seconds, 4), "tokens": asdict(tokens), "prompt": prompt, "answer": answers,
        },
    )  # fmt: skip


def _told(completion: Completion, is_finished: bool) -> dict[str, Any]:
    told = {
        "text": completion.text,
        "reasoning": completion.reasoning,
        "tool_calls": completion.tool_calls,
        "cut_call": completion.cut_call and asdict(completion.cut_call),
        "finish_reason": completion.finish_reason if is_finished else None,
    }
    return {name: value for name, value in told.items() if value}


def _without_media(message: Mapping[str, Any]) -> Mapping[str, Any]:
    content = message.get("content")
    if isinstance(content, str | None):
        return message
    return {**message, "content": [_without_contents(part) for part in content]}


def _without_contents(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """A picture or video as its size, or as the address from which it was fetched."""
    kind = MEDIA_KINDS.get(part_kind(part))
    if kind is None:
        return part
    source = part_source(part, kind)
    if isinstance(source, str) and source[: len(PREFIX_OF_DATA)].lower() == PREFIX_OF_DATA:
        payload = source.partition(",")[2].rstrip("=")
        return {"type": kind, "bytes": len(payload) * 3 // 4}  # three bytes are four letters of base64
    if isinstance(source, bytes):
        return {"type": kind, "bytes": len(source)}
    return {"type": kind, "url": str(source)}
