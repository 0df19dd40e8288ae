"""What every request passes before a route sees it: who asks, from where, how much, how often."""

import logging
import math
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qwill.server.body import WITH_BODY, Body
from qwill.server.errors import Refusal, busy, refusal_of
from qwill.server.http import JSON
from qwill.server.ids import new_id
from qwill.server.keys import Key
from qwill.server.settings import LOOPBACK, Settings
from qwill.server.watch import Watch

log = logging.getLogger("qwill.server")
OPEN_PATHS = (
    "/",
    "/docs",
    "/health",
    "/ready",
)  # and the page's own files: they hold no secrets and load before a key is known
OPEN_FOLDER = "/web/"
FORM = "application/x-www-form-urlencoded"
NOBODY = Key("none", b"")
UNPACKED = (b"content-encoding", b"content-length")  # what they say of a body is not true any more once it is unpacked
PREFLIGHT_SECONDS = 600  # for which a browser may remember that a page may ask
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_HEADER_NAMES = re.compile(r"[A-Za-z0-9_, -]*")


class Gate:
    """ASGI middleware. Puts `caller_key` and `request_id` into the request's state."""

    def __init__(self, app: ASGIApp, settings: Settings, watch: Watch) -> None:
        self._app = app
        self._settings = settings
        self._watch = watch
        known = {*LOOPBACK, "[::1]", settings.host, *map(str.lower, settings.hosts)}
        self._hosts = known if settings.on_loopback else None
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        started, status, complete = time.perf_counter(), 0, False

        async def sending(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                self._decorate(message, headers, request_id)
            elif message["type"] == "http.response.body":
                complete = not message.get("more_body", False)
            await send(message)

        key: Key | None = None
        try:
            self._check_source(headers)
            if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                await _preflight(headers)(scope, receive, sending)
                return
            key = self._admit(scope, headers)
            scope["state"]["caller_key"] = key
            body = Body(receive, scope["method"], headers, self._settings.limits)
            await self._app(_plain(scope, headers), body.receive, sending)
        except Exception as error:
            if status and not complete:  # a broken connection tells that the answer is not whole
                raise
            if not status:
                refusal = refusal_of(error)
                response = JSON(refusal.body(scope["path"], request_id), refusal.status, refusal.headers)
                await response(scope, receive, sending)
        finally:
            if key is not None:
                self._settings.keys.leave(key)
            seconds = time.perf_counter() - started
            self._watch.answered(scope, status, seconds)
            log.info(
                "request",
                extra={
                    "request_id": request_id, "key": key.name if key else None, "method": scope["method"],
                    "path": scope["path"], "status": status, "seconds": round(seconds, 4),
                },
            )  # fmt: skip

    def _check_source(self, headers: Headers) -> None:
        """Raises Refusal for names that are not this server's, and for web pages that may not ask."""
        if self._hosts is not None and _host_name(headers.get("host", "")) not in self._hosts:
            raise Refusal(403, "this server answers on loopback only; name other hosts with --allow-host", code="host")
        origin = headers.get("origin")
        if origin is not None and not self._allowed(origin, headers):
            raise Refusal(403, "web pages of other origins may not ask; allow one with --allow-origin", code="origin")

    def _admit(self, scope: Scope, headers: Headers) -> Key:
        """Raises Refusal for whoever may not ask, or not now."""
        is_open = scope["path"] in OPEN_PATHS or scope["path"].startswith(OPEN_FOLDER)
        key = NOBODY if is_open else self._settings.keys.find(_secret(headers))
        if key is None:
            raise Refusal(
                401, "a valid API key is needed: Authorization: Bearer KEY", "authentication_error", "invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        if self.draining and not is_open:
            raise Refusal(503, "the server is shutting down", "server_error", headers={"Retry-After": "5"})
        wait = self._settings.keys.enter(key)
        if wait:
            raise busy(f"the key's limit is reached; come again in {math.ceil(wait)} s", wait)
        return key

    def _allowed(self, origin: str, headers: Headers) -> bool:
        """Pages that this server sent, and those of allowed origins, may ask."""
        host = headers.get("host", "").lower()
        own = host != "" and origin.lower().partition("://")[2] == host
        return own or origin in self._settings.origins or "*" in self._settings.origins

    def _decorate(self, message: Message, asked: Headers, request_id: str) -> None:
        headers = MutableHeaders(scope=message)
        headers["x-request-id"] = headers["request-id"] = request_id  # the latter is where Anthropic's clients look
        headers["x-content-type-options"] = "nosniff"
        origin = asked.get("origin")
        if origin is not None and self._settings.origins and self._allowed(origin, asked):
            headers["access-control-allow-origin"] = origin
            headers["access-control-expose-headers"] = "x-request-id, x-qwill-ignored, x-qwill-note, retry-after"
            headers.add_vary_header("origin")


def _preflight(headers: Headers) -> Response:
    """What a browser asks before an allowed page's request: yes, with the headers that it means to send."""
    wanted = headers.get("access-control-request-headers", "")
    answer = {
        "access-control-allow-methods": "GET, POST, DELETE",
        "access-control-allow-headers": wanted if _HEADER_NAMES.fullmatch(wanted) else "",
        "access-control-max-age": str(PREFLIGHT_SECONDS),
    }
    return Response(status_code=204, headers=answer)


def _plain(scope: Scope, headers: Headers) -> Scope:
    """A request as routes see it.

    - What `curl -d` sends is JSON, whatever curl says. No web page can use this: the gate knows where it is from.
    - HEAD is GET: the server leaves out what a client did not ask for.
    """
    kind = headers.get("content-type", FORM).partition(";")[0].strip().lower()
    is_form = kind == FORM
    if not is_form and scope["method"] in WITH_BODY and not re.fullmatch(r"application/([\w.-]+\+)?json", kind):
        raise Refusal(415, "the body must be JSON; say content-type: application/json")
    left_out = (*UNPACKED, b"content-type") if is_form else UNPACKED
    others = [(name, value) for name, value in scope["headers"] if name not in left_out]
    if is_form:
        others.append((b"content-type", b"application/json"))
    return {**scope, "headers": others, "method": "GET" if scope["method"] == "HEAD" else scope["method"]}


def _request_id(headers: Headers) -> str:
    """The client's own id if it is one, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else new_id("req_")


def _secret(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key")


def _host_name(host: str) -> str:
    return re.sub(r":\d+$", "", host.lower())
