"""What is of no dialect: tokens, and how the server is."""

import asyncio
from dataclasses import replace
from typing import Any, Literal

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import PlainTextResponse, Response

from qwill.server.errors import Refusal
from qwill.server.http import JSON
from qwill.server.openai.asking import chat_ask
from qwill.server.openai.chat_schemas import ChatRequest
from qwill.server.routes import routes, service
from qwill.server.schemas import REFUSALS, Strict, answered

router = routes()
MOST_CHARACTERS = 1_000_000  # of a text that is turned into tokens
METRICS = "text/plain; version=0.0.4"


class Status(BaseModel):
    """How the server is."""

    status: Literal["ok", "ready", "draining"]


class Tokens(BaseModel):
    """Token ids, how many, and how many the context holds."""

    tokens: list[int]
    count: int
    max_model_len: int


class Text(BaseModel):
    """The text of token ids."""

    prompt: str


LIVE: dict[int | str, dict[str, Any]] = {503: {"model": Status, "description": "shutting down"}}


class TokenizeRequest(Strict):
    """A text, or what a chat request asks for."""

    model: str | None = None
    prompt: str | None = None
    messages: Any = None
    tools: Any = None
    enable_thinking: bool | None = None


class DetokenizeRequest(Strict):
    """Token ids."""

    model: str | None = None
    tokens: list[int]


@router.get("/health", tags=["operation"], responses=answered(Status))
async def health() -> Response:
    """Whether the server runs."""
    return JSON({"status": "ok"})


@router.get("/ready", tags=["operation"], responses={**answered(Status), **LIVE})
async def ready(request: Request) -> Response:
    """Whether requests are taken; a model that is not loaded is when it is asked."""
    if request.app.state.gate_closed():
        return JSON({"status": "draining"}, 503)
    return JSON({"status": "ready"})


@router.get("/metrics", tags=["operation"], responses=REFUSALS, response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return PlainTextResponse(service(request).watch.metrics(), media_type=METRICS)


@router.post("/tokenize", tags=["tokens"], responses=answered(Tokens))
async def tokenize(request: Request, body: TokenizeRequest) -> Response:
    """The token ids of a text, or of the prompt that a conversation makes."""
    if (body.prompt is None) == (body.messages is None):
        raise Refusal(400, "give either prompt or messages", param="prompt")
    if body.messages is not None:
        fields = {"messages": body.messages, "tools": body.tools, "enable_thinking": body.enable_thinking}
        ids, worker = await service(request).prompt_tokens(replace(chat_ask(_validated(fields)), model=body.model))
        return JSON({"tokens": ids, "count": len(ids), "max_model_len": worker.llm.max_context})
    assert body.prompt is not None
    served, worker = await service(request).models.lease(body.model)
    try:
        tokenizer = worker.llm.tokenizer
        if tokenizer is None:
            raise Refusal(400, f"{served.name} has no tokenizer", param="model")
        if len(body.prompt) > MOST_CHARACTERS:
            raise Refusal(413, f"prompt may have {MOST_CHARACTERS} characters", param="prompt")
        ids = await asyncio.to_thread(tokenizer.encode, body.prompt, allow_special=True)
        return JSON({"tokens": ids, "count": len(ids), "max_model_len": worker.llm.max_context})
    finally:
        service(request).models.release(served)


@router.post("/detokenize", tags=["tokens"], responses=answered(Text))
async def detokenize(request: Request, body: DetokenizeRequest) -> Response:
    """The text of token ids, control tokens as they are written."""
    served, worker = await service(request).models.lease(body.model)
    try:
        tokenizer = worker.llm.tokenizer
        if tokenizer is None:
            raise Refusal(400, f"{served.name} has no tokenizer", param="model")
        vocab_size = worker.llm.config.text.vocab_size
        for token in body.tokens:
            if not 0 <= token < vocab_size:
                raise Refusal(400, f"token id {token} is outside the vocabulary of {vocab_size}", param="tokens")
        return JSON({"prompt": await asyncio.to_thread(tokenizer.decode, body.tokens, skip_special=False)})
    finally:
        service(request).models.release(served)


def _validated(fields: dict[str, Any]) -> ChatRequest:
    from fastapi.exceptions import RequestValidationError
    from pydantic import ValidationError

    try:
        return ChatRequest.model_validate(fields)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
