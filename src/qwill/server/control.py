"""What can be done to an answer while it is written."""

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from qwill.server.errors import Refusal
from qwill.server.http import JSON
from qwill.server.routes import caller, routes, service
from qwill.server.schemas import Strict, Text, answered

router = routes()


class AnswerNow(Strict):
    """Which answer: the `id` that its dialect gives it, or the `x-request-id` of its request, which all have."""

    id: Text


class Answering(BaseModel):
    """`effect`: whether the model was still thinking, and answers now."""

    id: str
    effect: bool


@router.post("/control/answer-now", tags=["operation"], responses=answered(Answering))
async def answer_now(request: Request, body: AnswerNow) -> Response:
    """Ends the reasoning of an answer under way, which the same key asked for: the content follows at once."""
    asker = caller(request)
    found = [
        asked
        for asked in service(request).under_way
        if asked.caller.key is asker.key and body.id and body.id in (asked.id, asked.caller.request_id)
    ]
    if not found:
        raise Refusal(404, f"no answer {body.id!r} is under way; it is finished, or another key's", param="id")
    effects = [await asked.job.end_reasoning() for asked in found]
    return JSON({"id": body.id, "effect": any(effects)})
