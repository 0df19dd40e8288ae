"""The application: routes behind the gate, models that are loaded at its start."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from qwill import __version__
from qwill.errors import QwillError
from qwill.server import plain
from qwill.server.errors import Refusal, refusal_of
from qwill.server.gate import Gate
from qwill.server.models import Models
from qwill.server.openai import chat, completions
from qwill.server.responses import JSON
from qwill.server.service import Service
from qwill.server.settings import Settings
from qwill.server.watch import Watch

ROUTERS = (chat.router, completions.router, plain.router)


class Application:
    """`asgi` is what a server runs. `drain` refuses new requests from then on."""

    def __init__(self, settings: Settings, models: Models) -> None:
        self.watch = Watch(settings)
        self.models = models
        self._settings = settings
        self.api = FastAPI(
            title="qwill", version=__version__, description="Qwen 3.5 on the hardware you have.",
            lifespan=self._lifespan, redoc_url=None, strict_content_type=False,
        )  # fmt: skip
        for router in ROUTERS:
            self.api.include_router(router)
        for kind in (RequestValidationError, HTTPException, QwillError, Refusal):
            self.api.add_exception_handler(kind, _refuse)
        self.watch.follow(models, [route for router in (self.api.router, *ROUTERS) for route in router.routes])
        self.asgi = Gate(self.api, settings, self.watch)
        self.api.state.gate_closed = lambda: self.asgi.draining

    def drain(self) -> None:
        self.asgi.draining = True

    @asynccontextmanager
    async def _lifespan(self, api: FastAPI) -> AsyncIterator[None]:
        service = Service(self._settings, self.models, self.watch)
        api.state.service = service
        await self.models.start()
        try:
            yield
        finally:
            await service.close()


async def _refuse(request: Request, error: Any) -> Response:
    refusal = refusal_of(error)
    return JSON(refusal.body(request.url.path, request.state.request_id), refusal.status, refusal.headers)
