"""Texts to token ids and back, and what a client needs to know of the tokenizer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from qwill.llm import END_OF_TURN, LLM
from qwill.server.errors import Refusal
from qwill.server.http import JSON, telling
from qwill.server.logprobs import text_of
from qwill.server.openai.asking import chat_ask
from qwill.server.openai.chat_schemas import ChatRequest
from qwill.server.routes import routes, service
from qwill.server.schemas import Strict, answered
from qwill.text.chat_template import DEFAULT_TEMPLATE
from qwill.text.tokenizer import Tokenizer

router = routes()
MOST_CHARACTERS = 1_000_000  # of a text that is turned into tokens
PADDING = "<|endoftext|>"


class Tokens(BaseModel):
    """Token ids, how many, and how many the context holds. `token_strs`: their texts, where they were asked for."""

    tokens: list[int]
    count: int
    max_model_len: int
    token_strs: list[str] | None = None


class Text(BaseModel):
    """The text of token ids."""

    prompt: str


class TokenizerInfo(BaseModel):
    """What a released `tokenizer_config.json` says. `eos_token`: the text of the token that ends an answer."""

    tokenizer_class: str
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    unk_token: str | None
    add_bos_token: bool
    additional_special_tokens: list[str]
    chat_template: str
    model_max_length: int
    vocab_size: int


class TokenizeRequest(Strict):
    """A text, or what a chat request asks for. `add_special_tokens` may be either: these tokenizers add none."""

    model: str | None = None
    prompt: str | None = None
    messages: Any = None
    tools: Any = None
    enable_thinking: bool | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(Strict):
    """Token ids."""

    model: str | None = None
    tokens: list[int]


@router.post("/tokenize", tags=["tokens"], responses=answered(Tokens))
async def tokenize(request: Request, body: TokenizeRequest) -> Response:
    """The token ids of a text, or of the prompt that a conversation makes."""
    if (body.prompt is None) == (body.messages is None):
        raise Refusal(400, "give either prompt or messages", param="prompt")
    if body.messages is not None:
        fields = {"messages": body.messages, "tools": body.tools, "enable_thinking": body.enable_thinking}
        ask = replace(chat_ask(_validated(fields)), model=body.model)
        ids, worker = await service(request).prompt_tokens(ask)
        return telling(JSON(_tokens(worker.llm, ids, body)), ask.ignored)
    prompt = body.prompt or ""
    async with _tokenizer(request, body.model) as (tokenizer, llm):
        if len(prompt) > MOST_CHARACTERS:
            raise Refusal(413, f"prompt may have {MOST_CHARACTERS} characters", param="prompt")
        return JSON(_tokens(llm, await asyncio.to_thread(tokenizer.encode, prompt, allow_special=True), body))


@router.post("/detokenize", tags=["tokens"], responses=answered(Text))
async def detokenize(request: Request, body: DetokenizeRequest) -> Response:
    """The text of token ids, control tokens as they are written."""
    async with _tokenizer(request, body.model) as (tokenizer, llm):
        vocab_size = llm.config.text.vocab_size
        for token in body.tokens:
            if not 0 <= token < vocab_size:
                raise Refusal(400, f"token id {token} is outside the vocabulary of {vocab_size}", param="tokens")
        return JSON({"prompt": await asyncio.to_thread(tokenizer.decode, body.tokens, skip_special=False)})


@router.get("/tokenizer_info", tags=["tokens"], responses=answered(TokenizerInfo))
async def tokenizer_info(request: Request, model: str | None = None) -> Response:
    """The tokenizer's control tokens and its chat template."""
    async with _tokenizer(request, model) as (tokenizer, llm):
        return JSON(
            {
                "tokenizer_class": "Qwen2TokenizerFast",
                "bos_token": None,
                "eos_token": _end_of_answer(tokenizer, llm),
                "pad_token": PADDING if PADDING in tokenizer.added_tokens else None,
                "unk_token": None,
                "add_bos_token": False,
                "additional_special_tokens": [text_of(tokenizer, id) for id in sorted(tokenizer.special_ids)],
                "chat_template": llm.checkpoint.chat_template or DEFAULT_TEMPLATE,
                "model_max_length": llm.max_context,
                "vocab_size": llm.config.text.vocab_size,
            }
        )


@asynccontextmanager
async def _tokenizer(request: Request, name: str | None) -> AsyncIterator[tuple[Tokenizer, LLM]]:
    """The tokenizer of a model, which is loaded inside. Raises Refusal when it has none."""
    served, worker = await service(request).models.lease(name)
    try:
        if worker.llm.tokenizer is None:
            raise Refusal(400, f"{served.name} has no tokenizer", param="model")
        yield worker.llm.tokenizer, worker.llm
    finally:
        service(request).models.release(served)


def _tokens(llm: LLM, ids: list[int], body: TokenizeRequest) -> dict[str, Any]:
    strings = {"token_strs": [text_of(llm.tokenizer, id) for id in ids]} if body.return_token_strs else {}
    return {"tokens": ids, "count": len(ids), "max_model_len": llm.max_context, **strings}


def _end_of_answer(tokenizer: Tokenizer, llm: LLM) -> str | None:
    """Of several tokens the one that the checkpoint names first."""
    stated = llm.checkpoint.generation_config.get("eos_token_id")
    ids = stated if isinstance(stated, list) else [] if stated is None else [stated]
    texts = {id: text for text, id in tokenizer.added_tokens.items()}
    known = (*(texts.get(id) for id in ids), *(text for text in END_OF_TURN if text in tokenizer.added_tokens))
    return next((text for text in known if text is not None), None)


def _validated(fields: dict[str, Any]) -> ChatRequest:
    try:
        return ChatRequest.model_validate(fields)
    except ValidationError as error:
        raise RequestValidationError(error.errors(), body=fields) from error
