"""What is of no dialect: how the server is."""

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

    status: Literal["ok", "ready", "draining"]


LIVE: dict[int | str, dict[str, Any]] = {503: {"model": Status, "description": "shutting down"}}


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
