"""/v1/responses."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import Response

from qwill.answer import Completion
from qwill.server.asks import Asked
from qwill.server.errors import Refusal, refusal_of
from qwill.server.http import ALIVE, EVENTS, JSON, Stream, event, telling, whole
from qwill.server.openai.responses_answers import Deleted, InputTokens, ItemList, ResponseAnswer
from qwill.server.openai.responses_asking import responses_ask
from qwill.server.openai.responses_events import Event, Output, TextTokens
from qwill.server.openai.responses_items import Stored, new_id, stored_items
from qwill.server.openai.responses_schemas import (
    ENCRYPTED,
    ItemReference,
    ItemsQuery,
    ReasoningOptions,
    ResponsesRequest,
    RetrieveQuery,
)
from qwill.server.openai.responses_store import Remembered, ResponseStore, memory_of
from qwill.server.openai.responses_tools import FunctionTool, NamespaceTool
from qwill.server.routes import caller, routes, service
from qwill.server.schemas import REFUSALS, Open, answered

router = routes()
TOO_COMPLEX = "the structure of the answer became too complex to follow; ask for a simpler one"


@router.post("/v1/responses", responses=answered(ResponseAnswer, EVENTS), tags=["OpenAI"])
async def create_response(request: Request, body: ResponsesRequest) -> Response:
    """Answers a conversation; with `stream` as server-sent events."""
    asker, remembered = caller(request), store(request)
    before, new = _conversation(request, body)
    items = before.followed_by(new) if before is not None else new
    keeps = body.store is not False and remembered.most > 0
    size = remembered.size(new, before) if keeps else 0
    asked = await service(request).begin(responses_ask(body, items), asker)

    def keep(told: dict[str, Any]) -> None:
        if keeps:
            remembered.put(Remembered(asker.key.name, told, items, size + memory_of(told)))

    reply = ResponseReply(asked, body, service(request).watch.cost, keeps, keep)
    response = Stream(asked.job, reply.events()) if body.stream else JSON(await whole(request, reply.whole()))
    return telling(response, asked.ignored)


@router.post("/v1/responses/input_tokens", responses=answered(InputTokens), tags=["OpenAI"])
async def count_input_tokens(request: Request, body: ResponsesRequest) -> Response:
    """How many tokens a conversation has as a prompt, tools and images included, whether or not it fits."""
    before, new = _conversation(request, body)
    items = before.followed_by(new) if before is not None else new
    ask = responses_ask(body, items)
    ids, _ = await service(request).prompt_tokens(ask)
    return telling(JSON({"object": "response.input_tokens", "input_tokens": len(ids)}), ask.ignored)


@router.post("/v1/responses/compact", responses=REFUSALS, tags=["OpenAI"])
async def compact_response() -> Response:
    """Refused: nothing here makes conversations shorter."""
    raise Refusal(400, "conversations are not compacted here; send what is to be kept of one as input")


@router.get("/v1/responses/{name}", responses=answered(ResponseAnswer), tags=["OpenAI"])
async def get_response(request: Request, name: str, query: Annotated[RetrieveQuery, Query()]) -> Response:
    """A response that is stored."""
    found = store(request).get(caller(request).key.name, name)
    if query.stream:
        raise Refusal(400, "a stored response is not streamed again; leave stream out", param="stream")
    return JSON(found.body)


@router.delete("/v1/responses/{name}", responses=answered(Deleted), tags=["OpenAI"])
async def delete_response(request: Request, name: str) -> Response:
    """Forgets a response. Those that went on from it keep what they have of it."""
    store(request).delete(caller(request).key.name, name)
    return JSON({"id": name, "object": "response", "deleted": True})


@router.get("/v1/responses/{name}/input_items", responses=answered(ItemList), tags=["OpenAI"])
async def list_input_items(request: Request, name: str, query: Annotated[ItemsQuery, Query()]) -> Response:
    """The conversation that a response answers, without instructions; a page of it."""
    items = list(store(request).get(caller(request).key.name, name).items)
    if query.order == "desc":
        items.reverse()
    if query.after is not None:
        places = [place for place, item in enumerate(items) if item["id"] == query.after]
        if not places:
            raise Refusal(400, f"no item {query.after!r} is in response {name!r}", param="after")
        items = items[places[-1] + 1 :]
    page = items[: query.limit]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return JSON({"object": "list", "data": page, **ends, "has_more": len(items) > len(page)})


@router.post("/v1/responses/{name}/cancel", responses=answered(ResponseAnswer), tags=["OpenAI"])
async def cancel_response(request: Request, name: str) -> Response:
    """Refused: what can be named here is finished, since nothing is answered in the background."""
    store(request).get(caller(request).key.name, name)
    raise Refusal(400, f"response {name!r} is finished; to end one that is being written, close its connection")


def _conversation(request: Request, body: ResponsesRequest) -> tuple[Remembered | None, list[Stored]]:
    """The response that a request goes on from, and the items that it brings. Raises Refusal."""
    owner, remembered, before = caller(request).key.name, store(request), None
    if body.previous_response_id is not None:
        before = remembered.get(owner, body.previous_response_id, "previous_response_id")
    refers = not isinstance(body.input, str) and any(isinstance(item, ItemReference) for item in body.input)
    return before, stored_items(body.input, remembered.items(owner) if refers else {})


def store(request: Request) -> ResponseStore:
    """The server's memory of responses."""
    state = request.app.state
    if not hasattr(state, "responses"):
        state.responses = ResponseStore(service(request).settings.stored_responses)
    found = state.responses
    assert isinstance(found, ResponseStore)
    return found


class ResponseReply:
    """An answer in the form of a response."""

    def __init__(
        self,
        asked: Asked,
        body: ResponsesRequest,
        cost: Callable[[Asked], dict[str, Any] | None],
        keeps: bool,
        keep: Callable[[dict[str, Any]], None],
    ) -> None:
        """`keep` is called with the finished response, which says that it is stored if it `keeps`."""
        self._asked = asked
        self._cost = cost
        self._keep = keep
        answer = asked.job.answers[0]
        tokens = None
        if answer.request.params.logprobs is not None and answer.tokenizer is not None:
            tokens = TextTokens(answer, answer.tokenizer)
        self._output = Output(tokens, body.summarized, body.wants(ENCRYPTED), asked.ask.told_as)
        self._error: dict[str, Any] | None = None
        self._number = 0
        self._head = {
            "id": asked.named(new_id("resp")), "object": "response", "created_at": int(time.time()),
            "model": asked.model,
            "background": False, "store": keeps, **_echo(body),
            "temperature": answer.request.params.temperature, "top_p": answer.request.params.top_p,
        }  # fmt: skip

    async def whole(self) -> dict[str, Any]:
        """All at once."""
        async for pieces in self._asked.job.pieces():
            for _, delta in pieces:
                for _ in self._output.take(delta):
                    pass
        return self._finished()

    async def events(self) -> AsyncIterator[bytes]:
        """Server-sent events, the last of which has the whole response."""
        try:
            for name in ("created", "in_progress"):
                yield self._event({"type": f"response.{name}", "response": self._body()})
            async for pieces in self._asked.job.pieces():
                news = [self._event(one) for _, delta in pieces for one in self._output.take(delta)]
                yield b"".join(news) if pieces else ALIVE
            finished = self._finished()
        except Exception as error:
            refusal = refusal_of(error)
            self._error = {"code": "server_error", "message": refusal.message}
            yield self._event(
                {
                    "type": "error",
                    "code": refusal.code or refusal.kind,
                    "message": refusal.message,
                    "param": refusal.param,
                }
            )
            finished = self._body()
        yield self._event({"type": f"response.{finished['status']}", "response": finished})

    def _event(self, fields: Event) -> bytes:
        numbered = {**fields, "sequence_number": self._number}
        self._number += 1
        return event(numbered, fields["type"])

    def _finished(self) -> dict[str, Any]:
        body = self._body()
        self._keep(body)
        return body

    def _body(self) -> dict[str, Any]:
        """The response as far as it is written."""
        completion = self._asked.job.completions[0]
        status, details, error = "in_progress", None, self._error
        if completion is not None and completion.finish_reason == "error":
            error = {"code": "server_error", "message": TOO_COMPLEX}
        if error is not None:
            status = "failed"
        elif completion is not None:
            reason = {"length": "max_output_tokens", "loop": "loop"}.get(completion.finish_reason)
            status = "completed" if reason is None else "incomplete"
            details = None if reason is None else {"reason": reason}
        return {
            **self._head, "status": status, "error": error, "incomplete_details": details,
            "completed_at": int(time.time()) if status == "completed" else None,
            "output": list(self._output.items),
            "usage": None if completion is None else self._usage(completion),
        }  # fmt: skip

    def _usage(self, completion: Completion) -> dict[str, Any]:
        tokens = completion.usage
        return {
            "input_tokens": tokens["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": tokens["cached_tokens"], "cache_write_tokens": 0},
            "output_tokens": tokens["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": tokens["reasoning_tokens"]},
            "total_tokens": tokens["total_tokens"],
        } | (self._cost(self._asked) or {})


def _echo(body: ResponsesRequest) -> dict[str, Any]:
    """What a response repeats of its request, with what holds where the request says nothing."""
    choice, reasoning = body.tool_choice or "auto", body.reasoning or ReasoningOptions()
    stated = body.text.format if body.text is not None else None
    return {
        "instructions": body.instructions,
        "previous_response_id": body.previous_response_id,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": body.max_tool_calls,
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "reasoning": {"effort": reasoning.effort, "summary": reasoning.summary or reasoning.generate_summary},
        "service_tier": "default",
        "text": {
            "format": {"type": "text"} if stated is None else stated.model_dump(by_alias=True, exclude_unset=True)
        },
        "tool_choice": choice.model_dump(exclude_none=True) if isinstance(choice, Open) else choice,
        "tools": [_told(tool) for tool in body.tools or []],
        "top_logprobs": body.top_logprobs or 0,
        "truncation": "disabled",
    }


def _told(tool: Any) -> dict[str, Any]:
    """A tool as it came, with what holds where it says nothing."""
    if isinstance(tool, FunctionTool):
        return {**tool.model_dump(), "strict": bool(tool.strict)}
    if isinstance(tool, NamespaceTool):
        return {**tool.model_dump(exclude_none=True, exclude={"tools"}), "tools": [_told(one) for one in tool.tools]}
    return tool.model_dump(exclude_none=True) if isinstance(tool, Open) else dict(tool)
