"""Requests that are answered before anybody asks, so that prompts which begin like them cost little; and the file that
they come from, which another server may have written.
"""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from qwill.errors import InvalidArgument
from qwill.server.ids import new_id
from qwill.server.keys import Key
from qwill.system.files import open_to_append

log = logging.getLogger("qwill.server")
WARMING = Key("warm", b"")  # whose answers have a single token
CHAT = "/v1/chat/completions"
PATHS = (CHAT, "/v1/completions", "/v1/messages", "/v1/responses", "/api/chat", "/api/generate")
OK = 200
# How an answer comes is nobody's wish here, and how long a model is kept was one of the client's that was recorded: a
# file with an `ollama stop` in it would unload what it has made warm.
LEFT_OUT = ("stream", "stream_options", "keep_alive")


@dataclass(frozen=True)
class Recorded:
    """A request as it stands in a file. `place`: which file and line."""

    place: str
    path: str
    body: dict[str, Any]


def read_requests(file: Path) -> list[Recorded]:
    """The requests of a file, one a line: `{"path": ..., "body": ...}`, or the body of a chat completion.

    Raises InvalidArgument, which names the line.
    """
    try:
        lines = file.read_text("utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"requests cannot be read from {file} ({error})") from error
    return [_request(f"{file}, line {number}", line) for number, line in enumerate(lines, start=1) if line.strip()]


async def warm(app: ASGIApp, requests: Sequence[Recorded]) -> None:
    """Answers each request with a token, one after the other. app: routes without a gate before them.

    Raises InvalidArgument for one that is refused, which names its line.
    """

    async def as_nobody(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"caller_key": WARMING, "request_id": new_id("warm_")}
        await app(scope, receive, send)

    transport = httpx.ASGITransport(as_nobody, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=None) as client:
        for request in requests:
            started = time.monotonic()
            body = {name: value for name, value in request.body.items() if name not in LEFT_OUT} | {"stream": False}
            if request.path == "/v1/responses":
                body["store"] = False
            sent = json.dumps(body).encode()  # halves of surrogate pairs stay escaped
            answer = await client.post(request.path, content=sent, headers={"content-type": "application/json"})
            if answer.status_code != OK:
                raise InvalidArgument(f"{request.place}: {_message(answer.json())}")
            log.info("warm", extra={"path": request.path, "seconds": round(time.monotonic() - started, 2)})


class Recorder:
    """Writes requests to a file, of which `read_requests` makes the same."""

    def __init__(self, file: Path) -> None:
        """Raises InvalidArgument when the file cannot be written."""
        self._name = file
        try:
            self._file = open_to_append(file)
        except OSError as error:
            raise InvalidArgument(f"requests cannot be written to {file} ({error.strerror})") from error

    def add(self, path: str, body: Any) -> None:
        """Writes a request that was answered, if other servers can answer it. `path` is one of PATHS."""
        if _goes_on(body):
            return
        line = json.dumps({"path": path, "body": body}) + "\n"
        try:
            self._file.write(line.encode())
        except OSError as error:  # a full disk is no reason to answer nobody
            log.error("a request cannot be written to %s (%s)", self._name, error.strerror)

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


def _request(place: str, line: str) -> Recorded:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{place}: this is not JSON ({error})") from error
    if isinstance(found, dict) and "path" in found:
        path, body = found.get("path"), found.get("body")
        path = path.partition("?")[0] if isinstance(path, str) else path
        if path not in PATHS:
            raise InvalidArgument(f"{place}: the path {path!r} is not one of {', '.join(PATHS)}")
    else:
        path, body = CHAT, found
    if not isinstance(body, dict):
        raise InvalidArgument(
            f'{place}: a request is {{"path": ..., "body": {{...}}}}, or the body of a chat completion'
        )
    return Recorded(place, path, body)


def _goes_on(body: Any) -> bool:
    """Whether a request for a response means one that this server remembers and others do not."""
    items = body.get("input")
    types = [item.get("type") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return bool(body.get("previous_response_id")) or "item_reference" in types


def _message(refused: dict[str, Any]) -> str:
    error = refused.get("error")
    return str(error.get("message") if isinstance(error, dict) else error)
