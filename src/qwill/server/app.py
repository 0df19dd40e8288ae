"""The application: routes behind the gate, models that are loaded at its start."""

from typing import Any, Self

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from qwill import __version__
from qwill.errors import QwillError
from qwill.server import control, listing, page, plain, properties, tokens
from qwill.server.anthropic import messages
from qwill.server.errors import Refusal, refusal_of
from qwill.server.gate import Gate
from qwill.server.http import JSON
from qwill.server.models import Models
from qwill.server.ollama import chat as ollama_chat
from qwill.server.ollama import embed
from qwill.server.ollama import models as ollama_models
from qwill.server.openai import chat, completions, embeddings, responses
from qwill.server.service import Service
from qwill.server.settings import Settings
from qwill.server.warm import Recorder, warm
from qwill.server.watch import Watch

ROUTERS = (
    page.router,
    chat.router,
    completions.router,
    embeddings.router,
    responses.router,
    messages.router,
    listing.router,
    plain.router,
    tokens.router,
    properties.router,
    control.router,
    ollama_chat.router,
    embed.router,
    ollama_models.router,
)


class Api(FastAPI):
    """FastAPI, whose document says of all routes that they may answer 422; what would be that is a 400 here."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        for methods in document["paths"].values():
            for operation in methods.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(name, None)
        return document


class Application:
    """`asgi` is what a server runs, inside `async with`. `drain` refuses new requests from then on."""

    def __init__(self, settings: Settings, models: Models) -> None:
        self.watch = Watch(settings)
        self.models = models
        self._settings = settings
        self.api = Api(
            title="qwill", version=__version__, description="Qwen 3.5 on the hardware you have.",
            redoc_url=None, docs_url=None, strict_content_type=False,
        )  # fmt: skip
        for router in ROUTERS:
            self.api.include_router(router)
        for kind in (RequestValidationError, HTTPException, QwillError, Refusal, Exception):
            self.api.add_exception_handler(kind, _refuse)
        self.watch.follow(models, [route for router in (self.api.router, *ROUTERS) for route in router.routes])
        self.asgi = Gate(self.api, settings, self.watch)
        self.api.state.gate_closed = lambda: self.asgi.draining
        self.api.state.recorder = Recorder(settings.record_file) if settings.record_file is not None else None

    def drain(self) -> None:
        self.asgi.draining = True

    async def __aenter__(self) -> Self:
        """Loads the first model, and has it read what it is to be warm for. Raises QwillError."""
        self._service = self.api.state.service = Service(self._settings, self.models, self.watch)
        try:
            await self.models.start()
            await warm(self.api, self._settings.warm)
        except BaseException:
            await self._service.close()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._service.close()
        if self.api.state.recorder is not None:
            self.api.state.recorder.close()


async def _refuse(request: Request, error: Any) -> Response:
    refusal = refusal_of(error)
    return JSON(refusal.body(request.url.path, request.state.request_id), refusal.status, refusal.headers)
