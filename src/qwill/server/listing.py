"""/v1/models: the models that can be asked, in the words of OpenAI, Anthropic, and other servers that clients know."""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from qwill.errors import QwillError
from qwill.server.descriptions import Description, describe
from qwill.server.http import JSON
from qwill.server.models import Served
from qwill.server.names import TAG
from qwill.server.routes import routes, service
from qwill.server.schemas import answered

log = logging.getLogger("qwill.server")
router = routes()
TEXT, PICTURES = ["text"], ["image", "video"]


class ModelMeta(BaseModel):
    """As llama.cpp tells it. `n_ctx_train`: what the model was made for, `n_ctx` what this server has room for."""

    n_ctx_train: int
    n_ctx: int
    n_vocab: int
    n_embd: int
    n_params: int
    size: int


class ModelStatus(BaseModel):
    """Whether it is in memory."""

    value: Literal["loaded", "unloaded"]


class Modalities(BaseModel):
    """What goes in and comes out."""

    input_modalities: list[str]
    output_modalities: list[str]


class ModelEntry(BaseModel):
    """A model by one of its names; `root` is its own, and `parent` too where the name is an adapter's. The tokens of
    its context stand under each name that clients look for; they are missing where its files are gone."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    parent: str | None = None
    type: Literal["model"]
    display_name: str
    created_at: str
    loaded: bool
    status: ModelStatus
    max_model_len: int | None = None
    context_length: int | None = None
    context_window: int | None = None
    max_context_length: int | None = None
    max_input_tokens: int | None = None
    architecture: Modalities | None = None
    meta: ModelMeta | None = None


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"]
    data: list[ModelEntry]
    has_more: bool
    first_id: str
    last_id: str


@router.get("/v1/models", tags=["OpenAI"], responses=answered(ModelList))
async def models(request: Request) -> Response:
    """The models that can be asked, by all names that were given to them."""
    entries = await asyncio.gather(*(_entry(name, served) for name, served in service(request).models.names.listed))
    ends = {"first_id": entries[0]["id"], "last_id": entries[-1]["id"]}
    return JSON({"object": "list", "data": entries, "has_more": False, **ends})


@router.get("/v1/models/{name:path}", tags=["OpenAI"], responses=answered(ModelEntry))
async def model(request: Request, name: str) -> Response:
    """The model that answers to a name."""
    served = service(request).models.find(name)
    return JSON(await _entry(served.name if name == served.name + TAG else name, served))


async def _entry(name: str, served: Served) -> dict[str, Any]:
    loaded = served.worker is not None
    entry: dict[str, Any] = {
        "id": name, "object": "model", "created": served.created, "owned_by": "qwill", "root": served.name,
        "parent": served.name if served.adapter(name) else None, "type": "model", "display_name": name,
        "created_at": datetime.fromtimestamp(served.created, UTC).isoformat(),
        "loaded": loaded, "status": {"value": "loaded" if loaded else "unloaded"},
    }  # fmt: skip
    try:
        return entry | _told(await describe(served))
    except QwillError as error:  # its files are gone or torn, which is no reason to leave out the others
        log.warning("model %s cannot be described: %s", served.name, error)
        return entry


def _told(described: Description) -> dict[str, Any]:
    text, context = described.config.text, described.context
    return {
        "max_model_len": context, "context_length": context, "context_window": context, "max_context_length": context,
        "max_input_tokens": context,
        "architecture": {
            "input_modalities": [*TEXT, *(PICTURES if described.sees else [])], "output_modalities": TEXT,
        },
        "meta": {
            "n_ctx_train": text.max_position_embeddings, "n_ctx": context, "n_vocab": text.vocab_size,
            "n_embd": text.hidden_size, "n_params": described.parameters, "size": described.bytes,
        },
    }  # fmt: skip
