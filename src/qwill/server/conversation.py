"""A conversation as the prompt needs it: each turn's results behind its calls and in their order.

The prompt tells results apart by nothing but their order, and clients that run calls at the same time send the results
as they come.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from qwill.server.errors import Refusal

NO_RESULT = "(this call has no result)"
Message = dict[str, Any]


@dataclass
class _Turn:
    """An assistant's message, the results that follow it before the next one, and the other messages."""

    message: Message
    results: list[Message] = field(default_factory=list)
    rest: list[Message] = field(default_factory=list)

    @property
    def calls(self) -> list[dict[str, Any]]:
        return self.message.get("tool_calls") or []

    def ordered(self) -> Iterator[Message]:
        """The turn's messages. Among results, a call that has none gets one that says so, lest the next one's be taken
        for its."""
        yield self.message
        placed = self._placed()
        taken = {id(result) for result in placed.values()}
        yield from (result for result in self.results if id(result) not in taken)  # of calls of earlier turns
        if placed:
            for place, call in enumerate(self.calls):
                yield placed.get(place) or _without_result(call)
        yield from self.rest

    def _placed(self) -> dict[int, Message]:
        """Results by the places of their calls: first those with ids, then those that name a function, then the others,
        each to the first call that is left."""
        placed: dict[int, Message] = {}
        places = {call["id"]: place for place, call in enumerate(self.calls) if call.get("id")}
        bare = []
        for result in self.results:
            if not result.get("tool_call_id"):
                bare.append(result)
            elif (own := places.get(result["tool_call_id"])) is not None:
                placed[own] = result
        named: dict[Any, deque[int]] = {}
        for place, call in enumerate(self.calls):
            if place not in placed:
                named.setdefault(call["function"]["name"], deque()).append(place)
        others = []
        for result in bare:
            if waiting := named.get(result.get("name")):
                placed[waiting.popleft()] = result
            else:
                others.append(result)
        free = (place for place in range(len(self.calls)) if place not in placed)
        return placed | dict(zip(free, others, strict=False))


def in_order(messages: Sequence[Message], param: str = "messages") -> list[Message]:
    """Messages in the form of chat completions, with the results of each turn's calls right behind it, in the order of
    the calls.

    A result belongs to the call whose id it has; where it has none, to the first one without a result whose function
    it names; where it names none of them, to the first one without a result. Raises Refusal, about the field `param`,
    for an id that no call before has, that several calls of a turn have, or that has two results.
    """
    ordered: list[Message] = []
    turn: _Turn | None = None
    has_result: dict[str, bool] = {}
    for message in messages:
        if message["role"] == "assistant":
            ordered += turn.ordered() if turn is not None else ()
            turn = _Turn(message)
            has_result.update(_waiting(turn, param))
            continue
        if message["role"] == "tool":
            _check_result(message.get("tool_call_id"), has_result, param)
        if turn is None:
            ordered.append(message)
        else:
            (turn.results if message["role"] == "tool" else turn.rest).append(message)
    return [*ordered, *(turn.ordered() if turn is not None else ())]


def _waiting(turn: _Turn, param: str) -> dict[str, bool]:
    """The ids of a turn's calls, none of which has a result yet. Raises Refusal for one that comes twice."""
    waiting: dict[str, bool] = {}
    for call in turn.calls:
        if identity := call.get("id"):
            if identity in waiting:
                raise Refusal(400, f"several calls have the id {identity!r}; give each one of its own", param=param)
            waiting[identity] = False
    return waiting


def _check_result(identity: str | None, has_result: dict[str, bool], param: str) -> None:
    if not identity:
        return
    if identity not in has_result:
        raise Refusal(
            400, f"a result names the call {identity!r}, and no call before it has that id; send the call, too",
            param=param,
        )  # fmt: skip
    if has_result[identity]:
        raise Refusal(400, f"the call {identity!r} has two results; send one for each call", param=param)
    has_result[identity] = True


def _without_result(call: dict[str, Any]) -> Message:
    return {"role": "tool", "content": NO_RESULT} | ({"tool_call_id": call["id"]} if call.get("id") else {})
