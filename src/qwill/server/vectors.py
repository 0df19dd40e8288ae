"""Embeddings, in what the dialects share: which inputs there may be, how they are read, and what the answer says."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import Request
from starlette.responses import Response

from qwill.server.asks import Ask, Asked
from qwill.server.errors import Refusal
from qwill.server.http import JSON, telling, whole, with_list
from qwill.server.routes import caller, service

NOTE = "not trained for embeddings; each is the mean of the last hidden states"


def checked(inputs: Sequence[str | list[int]]) -> list[str | list[int]]:
    """Inputs in which there is something to read. Raises Refusal."""
    if not inputs:
        raise Refusal(400, "input is empty; send at least one text", param="input")
    for index, one in enumerate(inputs):
        if not one:
            which = f"input {index} is empty" if len(inputs) > 1 else "input is empty"
            raise Refusal(400, f"{which}; a vector needs at least one token", param="input")
    return list(inputs)


async def embedded(request: Request, ask: Ask) -> Asked:
    """The ask, answered: its job's answers have the embeddings. Raises Refusal, QwillError."""
    asked = await service(request).begin(ask, caller(request))
    await whole(request, asked.job.finish())
    return asked


def prompt_tokens(asked: Asked) -> int:
    """Tokens of all inputs."""
    return sum(len(answer.request.prompt.token_ids) for answer in asked.job.answers)


async def listed(content: dict[str, Any], name: str, vectors: Iterable[Any]) -> Response:
    """`content` with a list of vectors under that name. It is written on another thread: thousands of vectors take
    seconds, in which streams would stand still.
    """
    written = await asyncio.to_thread(with_list, content, name, vectors)
    return Response(written, media_type=JSON.media_type)


def noted(response: Response, ignored: Iterable[str]) -> Response:
    """An answer that tells what its vectors are, and what of the request meant nothing."""
    response = telling(response, ignored)
    response.headers["x-qwill-note"] = NOTE
    return response
