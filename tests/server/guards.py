"""What tests of the gate share: a guarded server, all routes, and the forms of refusals."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from starlette.responses import PlainTextResponse

from qwill.server.app import Application
from qwill.server.gate import Gate
from qwill.server.keys import Keys
from qwill.server.models import Models, Served
from qwill.server.settings import Limits, Settings
from qwill.server.watch import Watch
from server.running import Running, running

SECRET = "a secret of many letters"
PAGE = "https://page.example"
KEY = {"Authorization": f"Bearer {SECRET}"}


def application(**settings: Any) -> Application:
    """One that was not started: no model is loaded, and what the gate lets pass fails."""
    return Application(Settings(**settings), Models([Served("demo", "demo")]))


def ask(app: Any, method: str, path: str, base: str = "http://127.0.0.1:8080", **more: Any) -> httpx.Response:
    async def main() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base) as client:
            return await client.request(method, path, **more)

    return asyncio.run(main())


def gated(settings: Settings, app: Any = None) -> Gate:
    """The gate before an application that says yes."""
    return Gate(app or PlainTextResponse("yes"), settings, Watch(settings))


def operations() -> list[tuple[str, str]]:
    """All of the OpenAPI document, something in the places of parameters, and the pages that show it."""
    paths = application().api.openapi()["paths"]
    found = [(method.upper(), re.sub(r"{[^}]*}", "x", path)) for path, methods in paths.items() for method in methods]
    return [*found, ("GET", "/openapi.json")]


KEYED = [one for one in operations() if one not in (("GET", "/health"), ("GET", "/ready"))]
POSTS = [path for method, path in KEYED if method == "POST"]


def check_refusal(path: str, response: httpx.Response) -> str:
    """The message of a refusal in the form of the path's dialect."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    if path.startswith("/api/"):
        assert body.keys() == {"error"}
        message = body["error"]
    elif path.startswith("/v1/messages"):
        assert body.keys() == {"type", "error", "request_id"}
        assert body["type"] == "error"
        assert body["error"].keys() == {"type", "message"}
        message = body["error"]["message"]
    else:
        assert body.keys() == {"error"}
        assert body["error"].keys() == {"message", "type", "param", "code"}
        message = body["error"]["message"]
    assert isinstance(message, str)
    assert 0 < len(message) < 1100
    return message


@contextmanager
def guarded_server() -> Iterator[Running]:
    """A server with a key, an allowed page, and little room."""
    limits = Limits(body_bytes=10_000)
    with running(Settings(keys=Keys.of([SECRET]), origins=(PAGE,), limits=limits)) as started:
        yield started
