"""/api/embed, and /api/embeddings of older clients."""

import time
from typing import Any

from fastapi import Request
from pydantic import ConfigDict, field_validator
from starlette.responses import Response

from qwill.server.asks import Ask, Embedding
from qwill.server.http import JSON, telling
from qwill.server.ollama.answers import EMBED_ANSWERS, EMBEDDING_ANSWERS
from qwill.server.ollama.keep_alive import keep_seconds, load_or_unload
from qwill.server.routes import routes, service
from qwill.server.schemas import Strict
from qwill.server.vectors import checked, embedded, listed, noted, prompt_tokens

router = routes()
NANOSECONDS = 10**9


class OllamaEmbedRequest(Strict):
    """Texts whose vectors are wanted; without any, the model is loaded. `truncate`: of what does not fit into the
    context the beginning is read, as it is unless that is false."""

    model_config = ConfigDict(extra="allow")
    IGNORED = frozenset({"options"})
    model: str | None = None
    input: str | list[str] | None = None
    truncate: bool | None = None
    dimensions: int | None = None
    options: dict[str, Any] | None = None
    keep_alive: float | str | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _check_input(cls, value: Any) -> Any:
        """One complaint, where pydantic would have one for each type."""
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return value
        raise ValueError("must be a text or a list of texts")


class OllamaEmbeddingRequest(Strict):
    """A text whose vector is wanted; without one, the model is loaded."""

    model_config = ConfigDict(extra="allow")
    IGNORED = frozenset({"options"})
    model: str | None = None
    prompt: str | None = None
    options: dict[str, Any] | None = None
    keep_alive: float | str | None = None


@router.post("/api/embed", responses=EMBED_ANSWERS, tags=["Ollama"])
async def embed(request: Request, body: OllamaEmbedRequest) -> Response:
    """A vector of length 1 for each text, the mean of its last hidden states; these models were not trained for it."""
    started = time.perf_counter()
    if not body.input:
        served, _ = await load_or_unload(service(request).models, body.model, body.keep_alive)
        duration = _since(started)
        loading = {"total_duration": duration, "load_duration": duration, "prompt_eval_count": 0}
        return telling(JSON({"model": body.model or served.name, "embeddings": [], **loading}), body.ignored())
    texts = checked([body.input] if isinstance(body.input, str) else list(body.input))
    # 0 is Ollama's word for all of them.
    wanted = Embedding(body.dimensions or None, truncate=body.truncate is not False)
    kept = keep_seconds(body.keep_alive)
    ask = Ask(body.model, prompts=texts, embedding=wanted, ignored=body.ignored(), keep_seconds=kept)
    asked = await embedded(request, ask)
    answers = asked.job.answers
    told = {
        "model": body.model or asked.model,
        "total_duration": _since(started),
        "load_duration": round((answers[0].started - asked.started) * NANOSECONDS),
        "prompt_eval_count": prompt_tokens(asked),
    }
    told |= service(request).watch.cost(asked) or {}
    vectors = (answer.embedding.tolist() for answer in answers)
    return noted(await listed(told, "embeddings", vectors), asked.ignored)


@router.post("/api/embeddings", responses=EMBEDDING_ANSWERS, tags=["Ollama"])
async def embeddings(request: Request, body: OllamaEmbeddingRequest) -> Response:
    """The same of one text, which has to fit into the context."""
    if not body.prompt:
        await load_or_unload(service(request).models, body.model, body.keep_alive)
        return telling(JSON({"embedding": []}), body.ignored())
    kept = keep_seconds(body.keep_alive)
    ask = Ask(
        body.model, prompts=[body.prompt], embedding=Embedding(), ignored=body.ignored(), keep_seconds=kept
    )  # fmt: skip
    asked = await embedded(request, ask)
    return noted(JSON({"embedding": asked.job.answers[0].embedding.tolist()}), asked.ignored)


def _since(started: float) -> int:
    return round((time.perf_counter() - started) * NANOSECONDS)
