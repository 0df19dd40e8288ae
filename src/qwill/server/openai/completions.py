"""/v1/completions: texts or token ids that are continued as they stand, or only read."""

import asyncio
import codecs
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import Request
from pydantic import Field
from starlette.responses import Response

from qwill.answer import Answer, Completion, TokenLogprob
from qwill.server.asks import Ask, Asked
from qwill.server.errors import Refusal, refusal_of
from qwill.server.http import ALIVE, EVENTS, JSON, event, respond, telling, whole, with_list
from qwill.server.ids import new_id
from qwill.server.kinds import member, told_apart
from qwill.server.logprobs import LEAST, NewLogprobs, text_of
from qwill.server.openai.answers import TextAnswer
from qwill.server.openai.asking import lora_scales, most_tokens, sampling_params, structure
from qwill.server.openai.chat import DONE, REASONS, stop_reason, usage
from qwill.server.openai.chat_schemas import Sampling, StreamOptions
from qwill.server.routes import caller, routes, service
from qwill.server.schemas import ResponseFormat, answered
from qwill.text.tokenizer import Tokenizer

router = routes()
MANY_TOKENS = 5000  # whose log-probabilities take some hundredths of a second to write
DEFAULT_TOKENS = 16  # as the OpenAI API has it
Ids = Annotated[list[int], Field(min_length=1)]


def _form_of_prompt(value: Any) -> str | None:
    """What the first of several prompts is, they all have to be."""
    if isinstance(value, str):
        return "text"
    first = value[0] if isinstance(value, list) and value else None
    forms = {str: "texts", list: "lists", int: "ids", float: "ids"}
    return forms.get(type(first))


Prompt = Annotated[
    Annotated[str, member("text")]
    | Annotated[list[str], member("texts")]
    | Annotated[Ids, member("ids")]
    | Annotated[list[Ids], member("lists")],
    told_apart(_form_of_prompt, "give a text, a list of texts, token ids or a list of lists of token ids"),
]


class CompletionRequest(Sampling):
    """Texts, or lists of token ids, that are continued."""

    prompt: Prompt
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
    if body.max_tokens == 0 and not body.echo:
        raise Refusal(400, "max_tokens may be 0 only with echo: true; otherwise at least 1", param="max_tokens")
    most = DEFAULT_TOKENS if body.max_tokens is None else most_tokens(body.max_tokens)
    of_prompt = body.logprobs if body.echo else None
    if most == 0 and of_prompt is None:  # only reads, which needs something to be read for
        of_prompt = 0
    params = sampling_params(
        body, max_tokens=most, logprobs=body.logprobs, prompt_logprobs=of_prompt,
        **structure(body, body.response_format),
    )  # fmt: skip
    ask = Ask(
        body.model, prompts=_prompts(body), params=params, choices=1 if body.n is None else body.n,
        streamed=bool(body.stream), priority=body.priority or 0, ignored=body.ignored(),
        lora=lora_scales(body),
    )  # fmt: skip
    asked = await service(request).begin(ask, caller(request))
    reply = CompletionReply(asked, body, service(request).watch.cost)
    if reply.is_large and not body.stream:
        await whole(request, asked.job.finish())
        written = await asyncio.to_thread(reply.written)
        return telling(Response(written, media_type=JSON.media_type), asked.ignored)
    return await respond(request, asked.job, reply, bool(body.stream), asked.ignored)


class CompletionReply:
    """Answers in the form of text completions."""

    def __init__(self, asked: Asked, body: CompletionRequest, cost: Any) -> None:
        self._asked = asked
        self._body = body
        self._cost = cost
        self._tokenizer = asked.job.answers[0].tokenizer
        self._told = [_Told(answer, bool(body.echo)) for answer in asked.job.answers]
        self._head = {
            "id": asked.named(new_id("cmpl-")), "object": "text_completion", "created": int(time.time()),
            "model": asked.model, "system_fingerprint": f"qwill-{asked.served.name}",
        }  # fmt: skip

    @property
    def is_large(self) -> bool:
        """Whether to write it takes so long that streams would stand still meanwhile."""
        if not self._body.echo or self._body.logprobs is None:
            return False
        return sum(len(answer.request.prompt.token_ids) for answer in self._asked.job.answers) > MANY_TOKENS

    def written(self) -> bytes:
        """All of it as JSON."""
        return with_list({**self._head, "usage": self._usage()}, "choices", self._choices())

    def whole(self) -> dict[str, Any]:
        """All at once."""
        return {**self._head, "choices": list(self._choices()), "usage": self._usage()}

    async def events(self) -> AsyncIterator[bytes]:
        """Server-sent events, the last of which is `[DONE]`."""
        options = self._body.stream_options or StreamOptions()
        with_usage, each = bool(options.include_usage), bool(options.include_usage and options.continuous_usage_stats)
        try:
            async for pieces in self._asked.job.pieces():
                if not pieces:
                    yield ALIVE
                for index, delta in pieces:
                    if delta.text or delta.completion is not None:
                        choice = self._choice(index, delta.text, delta.completion)
                        extra = {"usage": self._usage() if each else None} if with_usage else {}
                        yield event({**self._head, "choices": [choice]} | extra)
            if with_usage:
                yield event({**self._head, "choices": [], "usage": self._usage()})
        except Exception as error:
            yield event(refusal_of(error).body("", self._asked.caller.request_id))
        yield DONE

    def _choices(self) -> Iterator[dict[str, Any]]:
        """Once all are finished."""
        for index, completion in enumerate(self._completions()):
            yield self._choice(index, completion.text, completion)

    def _choice(self, index: int, text: str, completion: Completion | None) -> dict[str, Any]:
        """A choice with text of its answer, behind the prompt where it is echoed and was not yet."""
        told, answer = self._told[index], self._asked.job.answers[index]
        new = told.logprobs.take()
        logprobs: list[TokenLogprob | None] | None = None if new is None else [*new]
        if told.echoes:
            told.echoes = False
            text = self._prompt(index) + text
            logprobs = None if new is None else [*(answer.prompt_logprobs or ()), *new]
        reason = completion.finish_reason if completion is not None else None
        return {
            "index": index,
            "text": text,
            "logprobs": None if logprobs is None else self._logprobs(told, answer.request.prompt.token_ids, logprobs),
            "finish_reason": REASONS.get(reason, reason) if reason is not None else None,
            "stop_reason": stop_reason(self._asked, index, reason),
        }

    def _logprobs(self, told: "_Told", prompt_ids: list[int], logprobs: list[TokenLogprob | None]) -> dict[str, Any]:
        ids = [one.token_id if one is not None else prompt_ids[0] for one in logprobs]
        return {
            "tokens": [text_of(self._tokenizer, token) for token in ids],
            "token_logprobs": [max(one.logprob, LEAST) if one is not None else None for one in logprobs],
            "top_logprobs": [self._top(one) if one is not None else None for one in logprobs],
            "text_offset": [told.offset(self._tokenizer, token) for token in ids],
        }

    def _top(self, one: TokenLogprob) -> dict[str, float]:
        """The likeliest tokens and the token itself, by their texts; of those with one text, such as parts of
        characters, the likeliest."""
        top: dict[str, float] = {}
        for token, logprob in (*one.top, (one.token_id, one.logprob)):
            top.setdefault(text_of(self._tokenizer, token), max(logprob, LEAST))
        return top

    def _prompt(self, index: int) -> str:
        prompt = self._asked.ask.prompts[index // self._asked.ask.choices]
        if isinstance(prompt, str) or self._tokenizer is None:
            return str(prompt)
        return self._tokenizer.decode(prompt, skip_special=False)

    def _usage(self) -> dict[str, Any]:
        return usage(self._asked) | (self._cost(self._asked) or {})

    def _completions(self) -> list[Completion]:
        return [completion for completion in self._asked.job.completions if completion is not None]


class _Told:
    """How far an answer has been told: its log-probabilities, and how many characters of text stand before a token."""

    def __init__(self, answer: Answer, echoes: bool) -> None:
        self.logprobs = NewLogprobs(answer)
        self.echoes = echoes
        self._characters = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def offset(self, tokenizer: Tokenizer | None, token: int) -> int:
        """Where the next token begins; one that goes on with a character begins where that does."""
        begin = self._characters
        if tokenizer is not None:
            self._characters += len(self._decoder.decode(tokenizer.token_bytes(token)))
        return begin


def _prompts(body: CompletionRequest) -> list[str | list[int]]:
    prompt: Any = body.prompt
    if isinstance(prompt, str) or isinstance(prompt[0], int):
        return [prompt]
    return list(prompt)
