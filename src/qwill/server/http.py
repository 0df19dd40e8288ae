"""Answers over HTTP: whole, or as events while they are written; in both cases a client that leaves ends its answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import aclosing, suppress
from typing import Any, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from qwill.server.errors import Refusal
from qwill.server.worker import Job

T = TypeVar("T")
GONE = 499  # the client left; nobody reads this
EVENTS = "text/event-stream"
MOST_NAMES, MOST_LETTERS = 64, 100  # of what is ignored: clients read headers of some kilobytes
ALIVE = b": still working\n\n"


def to_json(value: Any) -> bytes:
    """Compact JSON in UTF-8; halves of surrogate pairs, which UTF-8 cannot hold, are escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def with_list(content: dict[str, Any], name: str, items: Iterable[Any]) -> bytes:
    """JSON of `content`, which is not empty, with one field more, a list. Its items are made and written one after the
    other, so that on a thread of its own a long one lets others have their turn: a whole object is written in one go.
    """
    inside = b",".join(to_json(item) for item in items)
    return b"%b,%b:[%b]}" % (to_json(content)[:-1], to_json(name), inside)


def event(value: Any, name: str = "") -> bytes:
    """A server-sent event. JSON has no line breaks outside its strings and escapes those inside."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + to_json(value) + b"\n\n"


class JSON(Response):
    """A JSON body."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return to_json(content)


class Stream(Response):
    """Pieces of an answer as they come. The job ends when the client leaves."""

    def __init__(self, job: Job, pieces: AsyncIterator[bytes], media_type: str = EVENTS) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self.headers["cache-control"] = "no-cache"
        self.headers["x-accel-buffering"] = "no"  # proxies must not wait for more
        self._job = job
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leaving = asyncio.create_task(self._cancel_when_gone(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with aclosing(self._pieces) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._job.cancel()
            leaving.cancel()

    async def _cancel_when_gone(self, receive: Receive) -> None:
        await _gone(receive)
        self._job.cancel()


class Reply(Protocol):
    """A job's answers in a dialect."""

    def whole(self) -> dict[str, Any]:
        """All of them, once the job is finished."""

    def events(self) -> AsyncIterator[bytes]:
        """The pieces of a stream."""


async def respond(request: Request, job: Job, reply: Reply, streamed: bool, ignored: Iterable[str]) -> Response:
    """The reply, whole or as a stream, with a header that names what meant nothing here."""
    if streamed:
        return telling(Stream(job, reply.events()), ignored)
    await whole(request, job.finish())
    return telling(JSON(reply.whole()), ignored)


def telling(response: Response, ignored: Iterable[str]) -> Response:
    """The response with a header that names what came and meant nothing, each once, and no more than a header holds."""
    names = list(dict.fromkeys(ignored))
    if names:
        shown = [_printable(name) for name in names[:MOST_NAMES]]
        more = [f"and {len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
        response.headers["x-qwill-ignored"] = ", ".join([*shown, *more])
    return response


def _printable(name: str) -> str:
    """A client's name as a header can tell it."""
    shown = "".join(letter if " " < letter < "\x7f" and letter != "," else "?" for letter in name[:MOST_LETTERS])
    return shown if len(name) <= MOST_LETTERS else shown + "..."


async def whole(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The outcome of `work`, which is given up when the client leaves."""
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Refusal(GONE, "the client has left")
        return task.result()
    finally:
        leaving.cancel()
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


async def _gone(receive: Receive) -> None:
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return
