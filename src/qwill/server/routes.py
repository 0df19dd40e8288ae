"""What routes take from a request."""

import math
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from qwill.server.asks import Caller
from qwill.server.errors import TOO_DEEP, Refusal
from qwill.server.http import GONE
from qwill.server.service import Service
from qwill.server.warm import PATHS, WARMING

OK = 200
MOST_DEPTH = 100  # of a body; a schema takes two for each level of what it describes


def service(request: Request) -> Service:
    """The server's models and counters."""
    found = request.app.state.service
    assert isinstance(found, Service)
    return found


def caller(request: Request) -> Caller:
    """Who asks, as the gate found."""
    return Caller(request.state.caller_key, request.state.request_id)


class CheckedRoute(APIRoute):
    """A route whose bodies are looked at before FastAPI reads them: as a dependency of it that took twice as long."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            await _check_body(request)
            response = await handle(request)
            if response.status_code == OK:
                await _record(request)
            return response

        return checked


def routes() -> APIRouter:
    """A router, to which a file adds its routes."""
    return APIRouter(route_class=CheckedRoute)


async def _record(request: Request) -> None:
    """Writes what was asked of the model to the operator's file, if there is one."""
    recorder = request.app.state.recorder
    if recorder is not None and request.url.path in PATHS and request.state.caller_key is not WARMING:
        recorder.add(request.url.path, await request.json())


async def _check_body(request: Request) -> None:
    """Refuses what Python reads though it is no JSON, and nesting that no code that walks through it could follow."""
    try:
        body = await request.body()
    except ClientDisconnect:
        raise Refusal(GONE, "the client has left") from None
    if not body:
        return
    try:
        level: list[Any] = [await request.json()]
    except (ValueError, RecursionError):  # told by whatever needs the body
        return
    for _ in range(MOST_DEPTH):
        if any(isinstance(value, float) and not math.isfinite(value) for value in level):
            raise Refusal(400, "the body is not JSON: it holds NaN, or a number that is too large")
        nested = [
            value.values() if isinstance(value, dict) else value for value in level if isinstance(value, dict | list)
        ]
        level = [value for values in nested for value in values]
        if not level:
            return
    raise Refusal(400, TOO_DEEP)
