"""From exceptions to status codes and to the bodies that each dialect's clients read."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from qwill.errors import (
    Busy,
    CheckpointError,
    InvalidArgument,
    MediaError,
    ModelNotFound,
    NotEnoughMemory,
    PromptTooLong,
    QwillError,
    TemplateError,
)
from qwill.server.kinds import without_members
from qwill.server.worker import Stopped

log = logging.getLogger("qwill.server")
RETRY_SECONDS = 1
MOST_CHARACTERS = 1000  # of a message
TOO_DEEP = "the body is nested too deeply; send it flatter"


@dataclass(eq=False)
class Refusal(Exception):
    """Why a request gets no answer. `kind` and `code` are words of the OpenAI API, `param` names the field at fault."""

    status: int
    message: str
    kind: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def body(self, path: str, request_id: str) -> dict[str, Any]:
        """What the clients of the dialect at `path` expect."""
        message = _short(self.message)
        if path.startswith("/api/"):
            return {"error": message}
        if path.startswith("/v1/messages"):
            error = {"type": ANTHROPIC_KINDS.get(self.status, "api_error"), "message": message}
            return {"type": "error", "error": error, "request_id": request_id}
        param = _short(self.param) if self.param is not None else None
        if self.code == OVERFLOW:
            param = next((name for start, name in PROMPT_FIELDS.items() if path.startswith(start)), "messages")
        return {"error": {"message": message, "type": self.kind, "param": param, "code": self.code}}


ANTHROPIC_KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    405: "invalid_request_error", 408: "timeout_error", 413: "request_too_large", 415: "invalid_request_error",
    429: "rate_limit_error", 503: "overloaded_error",
}  # fmt: skip
KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 503: "server_error"}

OVERFLOW = "context_length_exceeded"
# By these words agents know that a picture of their history is at fault: they leave it out of the next request, which
# would be refused like this one.
UNSEEN = "Could not process image or video."
PROMPT_FIELDS = {"/v1/responses": "input", "/v1/completions": "prompt", "/v1/embeddings": "input"}


def _short(text: str) -> str:
    """Messages quote what was sent, which may be megabytes."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"


def busy(message: str, seconds: float = RETRY_SECONDS) -> Refusal:
    """Too much at once; the same request may come again after so many seconds."""
    headers = {"Retry-After": str(max(1, math.ceil(seconds)))}
    return Refusal(429, message, "rate_limit_error", "rate_limit_exceeded", headers=headers)


def refusal_of(error: BaseException) -> Refusal:
    """What an exception means to the client. What nobody foresaw is logged, and its details stay here."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
    if isinstance(error, HTTPException):
        return _of_http(error)
    message = " ".join(str(error).split())
    if isinstance(error, Busy):
        return busy(message)
    if isinstance(error, ModelNotFound):
        return Refusal(404, message, code="model_not_found", param="model")
    if isinstance(error, PromptTooLong):
        return _overflow(error)
    if isinstance(error, MediaError):
        return Refusal(400, f"{message}. {UNSEEN}", param=error.place)
    if isinstance(error, InvalidArgument | TemplateError):
        return Refusal(400, message)
    if isinstance(error, NotEnoughMemory | Stopped):
        return Refusal(503, message, "server_error", headers={"Retry-After": str(RETRY_SECONDS)})
    if isinstance(error, CheckpointError):
        log.error("a model cannot be used: %s", message)
        return Refusal(503, message, "server_error")
    if isinstance(error, QwillError):
        log.error("a request failed: %s", message)
        return Refusal(500, message, "server_error")
    log.error("a request failed", exc_info=error)
    return Refusal(500, "the server failed; its log has more under this request's id", "server_error")


def _overflow(error: PromptTooLong) -> Refusal:
    """In the words by which agents of all dialects know that they have to shorten their conversation: some read both
    numbers of the first clause, others look for the second. Then our own."""
    known = (
        f"prompt is too long: {error.tokens} tokens > {error.most} maximum."
        f" This model's maximum context length is {error.most} tokens: "
    )
    return Refusal(400, known + " ".join(str(error).split()), code=OVERFLOW)


def _of_http(error: HTTPException) -> Refusal:
    """What FastAPI and Starlette raise themselves. FastAPI wraps in one what comes up while a body is read."""
    cause = error.__cause__
    if isinstance(cause, Refusal):
        return cause
    message, headers = str(error.detail), dict(error.headers or {})
    if isinstance(cause, RecursionError):
        message = TOO_DEEP
    elif isinstance(cause, UnicodeDecodeError):
        message = "the body is not text in UTF-8"
    elif isinstance(cause, ValueError):
        message = "the body is not JSON: it has a number of too many digits"
    elif error.status_code == 404 and message == "Not Found":
        message = "there is nothing at this address; GET /openapi.json tells what there is"
    elif error.status_code == 405:
        message = f"this address takes {headers.get('Allow', 'other methods')} only"
    return Refusal(error.status_code, message, headers=headers)


def _of_validation(error: RequestValidationError) -> Refusal:
    """The first complaint of pydantic's, with the field that it is about."""
    first = error.errors()[0]
    name = _field(first, error.body)
    if first["type"] == "extra_forbidden":
        return Refusal(
            400, f"unknown field {name!r}; leave it out or correct its name", code="unknown_field", param=name
        )
    if first["type"] == "json_invalid":
        return Refusal(400, f"the body is not JSON: {first.get('ctx', {}).get('error', first['msg'])}")
    if first["type"] == "missing" and not name:
        return Refusal(400, "the body is empty; send JSON")
    message = first["msg"].removeprefix("Value error, ")
    return Refusal(400, f"{name}: {message}" if name else message, param=name or None)


def _field(complaint: Mapping[str, Any], body: Any) -> str:
    """The field that a complaint of pydantic's is about. Its place may also name forms that the field could have had,
    which the body does not know."""
    place = [part for part in complaint["loc"] if part not in ("body", "query", "path", "header")]
    if body is None:
        return ".".join(without_members(place))
    names: list[str] = []
    for part in place:
        if (isinstance(body, dict) and part in body) or (isinstance(body, list) and isinstance(part, int)):
            body = body[part]
            names.append(str(part))
    if complaint["type"] == "missing" and place:
        names.append(str(place[-1]))
    return ".".join(names)
