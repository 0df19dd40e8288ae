"""/v1/completions: texts or token ids that are continued as they stand."""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Request
from pydantic import Field
from starlette.responses import Response

from qwill.answer import Completion, TokenLogprob
from qwill.server.errors import Refusal, refusal_of
from qwill.server.http import ALIVE, EVENTS, event, respond
from qwill.server.ids import new_id
from qwill.server.logprobs import LEAST, NewLogprobs, text_of
from qwill.server.openai.answers import TextAnswer
from qwill.server.openai.asking import sampling_params, structure
from qwill.server.openai.chat import DONE, REASONS, usage
from qwill.server.openai.chat_schemas import IGNORED, Sampling
from qwill.server.routes import caller, routes, service
from qwill.server.schemas import ResponseFormat, answered
from qwill.server.service import Ask, Asked

router = routes()
IGNORED_HERE = IGNORED & Sampling.model_fields.keys()
DEFAULT_TOKENS = 16  # as the OpenAI API has it
Ids = Annotated[list[int], Field(min_length=1)]


class CompletionRequest(Sampling):
    """Texts, or lists of token ids, that are continued."""

    prompt: str | Annotated[list[str], Field(min_length=1)] | Ids | Annotated[list[Ids], Field(min_length=1)]
    max_tokens: int | None = None
    logprobs: int | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None
    response_format: ResponseFormat | None = None


@router.post("/v1/completions", responses=answered(TextAnswer, EVENTS), tags=["OpenAI"])
async def completions(request: Request, body: CompletionRequest) -> Response:
    """Continues each prompt; with `stream` as server-sent events."""
    if body.suffix:
        raise Refusal(400, "suffix is not supported; leave it out", param="suffix")
    if body.best_of not in (None, 1, body.n):
        raise Refusal(400, "best_of is not supported; leave it out", param="best_of")
    if body.echo and (body.stream or body.logprobs is not None):
        raise Refusal(400, "echo goes neither with stream nor with logprobs", param="echo")
    prompts = _prompts(body)
    most = DEFAULT_TOKENS if body.max_tokens is None else body.max_tokens
    params = sampling_params(body, max_tokens=most, logprobs=body.logprobs, **structure(body, body.response_format))
    ask = Ask(
        body.model, prompts=prompts, params=params, choices=1 if body.n is None else body.n,
        streamed=bool(body.stream), priority=body.priority or 0,
    )  # fmt: skip
    asked = await service(request).begin(ask, caller(request))
    reply = CompletionReply(asked, body, service(request).watch.cost)
    return await respond(request, asked.job, reply, bool(body.stream), body.ignored(IGNORED_HERE))


class CompletionReply:
    """Answers in the form of text completions."""

    def __init__(self, asked: Asked, body: CompletionRequest, cost: Any) -> None:
        self._asked = asked
        self._body = body
        self._cost = cost
        self._new_logprobs = [NewLogprobs(answer) for answer in asked.job.answers]
        self._shown = [0] * len(asked.job.answers)
        self._head = {
            "id": asked.named(new_id("cmpl-")), "object": "text_completion", "created": int(time.time()),
            "model": asked.served.name, "system_fingerprint": f"qwill-{asked.served.name}",
        }  # fmt: skip

    def whole(self) -> dict[str, Any]:
        """All at once."""
        choices = []
        for index, completion in enumerate(self._completions()):
            text = (self._echo(index) if self._body.echo else "") + completion.text
            choices.append(self._choice(index, text, completion.logprobs, completion))
        return {**self._head, "choices": choices, "usage": self._usage()}

    async def events(self) -> AsyncIterator[bytes]:
        """Server-sent events, the last of which is `[DONE]`."""
        options = self._body.stream_options
        with_usage = options is not None and bool(options.include_usage)
        try:
            async for pieces in self._asked.job.pieces():
                if not pieces:
                    yield ALIVE
                for index, delta in pieces:
                    if delta.text or delta.completion is not None:
                        choice = self._choice(index, delta.text, self._new_logprobs[index].take(), delta.completion)
                        yield event({**self._head, "choices": [choice]} | ({"usage": None} if with_usage else {}))
            if with_usage:
                yield event({**self._head, "choices": [], "usage": self._usage()})
        except Exception as error:
            yield event(refusal_of(error).body("", self._asked.caller.request_id))
        yield DONE

    def _choice(
        self, index: int, text: str, logprobs: list[TokenLogprob] | None, completion: Completion | None
    ) -> dict[str, Any]:
        reason = completion.finish_reason if completion is not None else None
        stopped = self._asked.job.answers[index].stop_text or (reason if reason in REASONS else None)
        return {
            "index": index,
            "text": text,
            "logprobs": self._logprobs(index, logprobs),
            "finish_reason": REASONS.get(reason, reason) if reason is not None else None,
            "stop_reason": stopped,
        }

    def _logprobs(self, index: int, logprobs: list[TokenLogprob] | None) -> dict[str, Any] | None:
        if logprobs is None:
            return None
        tokenizer = self._asked.job.answers[0].tokenizer
        tokens, offsets = [text_of(tokenizer, one.token_id) for one in logprobs], []
        for text in tokens:
            offsets.append(self._shown[index])
            self._shown[index] += len(text)
        return {
            "tokens": tokens,
            "token_logprobs": [max(one.logprob, LEAST) for one in logprobs],
            "top_logprobs": [
                {text_of(tokenizer, token): max(logprob, LEAST) for token, logprob in one.top} for one in logprobs
            ],
            "text_offset": offsets,
        }

    def _echo(self, index: int) -> str:
        answer = self._asked.job.answers[index]
        prompt = self._asked.ask.prompts[index // self._asked.ask.choices]
        if isinstance(prompt, str) or answer.tokenizer is None:
            return str(prompt)
        return answer.tokenizer.decode(prompt, skip_special=False)

    def _usage(self) -> dict[str, Any]:
        return usage(self._completions(), self._asked.ask.choices) | (self._cost(self._asked) or {})

    def _completions(self) -> list[Completion]:
        return [completion for completion in self._asked.job.completions if completion is not None]


def _prompts(body: CompletionRequest) -> list[str | list[int]]:
    prompt: Any = body.prompt
    if isinstance(prompt, str) or isinstance(prompt[0], int):
        return [prompt]
    return list(prompt)
