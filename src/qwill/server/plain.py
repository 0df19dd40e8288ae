"""What is of no dialect: models, and how the server is."""

from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import PlainTextResponse, Response

from qwill.server.http import JSON
from qwill.server.routes import routes, service
from qwill.server.schemas import REFUSALS, answered

router = routes()
METRICS = "text/plain; version=0.0.4"


class Status(BaseModel):
    """How the server is."""

    status: Literal["ok", "ready", "loading", "draining"]


class ModelEntry(BaseModel):
    """A model, in the words of OpenAI and of Anthropic. `max_model_len`: tokens of its context, once it is loaded."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    type: Literal["model"]
    display_name: str
    created_at: str
    max_model_len: int | None = None


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"]
    data: list[ModelEntry]
    has_more: bool
    first_id: str
    last_id: str


LIVE: dict[int | str, dict[str, Any]] = {503: {"model": Status, "description": "not ready yet, or shutting down"}}


@router.get("/health", tags=["operation"], responses=answered(Status))
async def health() -> Response:
    """Whether the server runs."""
    return JSON({"status": "ok"})


@router.get("/ready", tags=["operation"], responses={**answered(Status), **LIVE})
async def ready(request: Request) -> Response:
    """Whether requests are taken."""
    is_ready = any(served.worker is not None for served in service(request).models.all)
    draining = request.app.state.gate_closed()
    if draining or not is_ready:
        return JSON({"status": "draining" if draining else "loading"}, 503)
    return JSON({"status": "ready"})


@router.get("/metrics", tags=["operation"], responses=REFUSALS, response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return PlainTextResponse(service(request).watch.metrics(), media_type=METRICS)


@router.get("/v1/models", tags=["OpenAI"], responses=answered(ModelList))
async def models(request: Request) -> Response:
    """The models that can be asked."""
    names = _names(request)
    entries = [_model(request, name) for name in names]
    return JSON({"object": "list", "data": entries, "has_more": False, "first_id": names[0], "last_id": names[-1]})


@router.get("/v1/models/{name:path}", tags=["OpenAI"], responses=answered(ModelEntry))
async def model(request: Request, name: str) -> Response:
    """One of them."""
    return JSON(_model(request, service(request).models.find(name).name))


def _names(request: Request) -> list[str]:
    return [served.name for served in service(request).models.all]


def _model(request: Request, name: str) -> dict[str, Any]:
    served = service(request).models.find(name)
    entry: dict[str, Any] = {
        "id": served.name, "object": "model", "created": served.created, "owned_by": "qwill",
        "type": "model", "display_name": served.name,
        "created_at": datetime.fromtimestamp(served.created, UTC).isoformat(),
    }  # fmt: skip
    if served.worker is not None:
        entry["max_model_len"] = served.worker.llm.max_context
    return entry
