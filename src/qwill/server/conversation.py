"""A conversation as the prompt needs it: each turn's results behind its calls and in their order.

The prompt tells results apart by nothing but their order, and clients that run calls at the same time send the results
as they come.
"""

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
    def identities(self) -> list[str]:
        """The ids of its calls, of those that have one."""
        return [call["id"] for call in self.message.get("tool_calls") or [] if call.get("id")]

    def ordered(self) -> Iterator[Message]:
        """The turn's messages. Among results, a call that has none gets one that says so, lest the next one's be taken
        for its."""
        yield self.message
        calls = self.message.get("tool_calls") or []
        placed: dict[int, Message] = {}
        for fits in (_has_id, _has_name, _has_neither):
            for result in [result for result in self.results if not _is_in(result, placed)]:
                place = next((n for n, call in enumerate(calls) if n not in placed and fits(result, call)), None)
                if place is not None:
                    placed[place] = result
        yield from (result for result in self.results if not _is_in(result, placed))  # of calls of earlier turns
        if placed:
            for place, call in enumerate(calls):
                yield placed.get(place) or _without_result(call)
        yield from self.rest


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
            for identity in turn.identities:
                if turn.identities.count(identity) > 1:
                    raise Refusal(400, f"several calls have the id {identity!r}; give each one of its own", param=param)
                has_result[identity] = False
            continue
        if message["role"] == "tool":
            _check_result(message.get("tool_call_id"), has_result, param)
        if turn is None:
            ordered.append(message)
        else:
            (turn.results if message["role"] == "tool" else turn.rest).append(message)
    return [*ordered, *(turn.ordered() if turn is not None else ())]


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


def _has_id(result: Message, call: dict[str, Any]) -> bool:
    return bool(result.get("tool_call_id")) and result["tool_call_id"] == call.get("id")


def _has_name(result: Message, call: dict[str, Any]) -> bool:
    return not result.get("tool_call_id") and result.get("name") == call["function"]["name"]


def _has_neither(result: Message, call: dict[str, Any]) -> bool:
    return not result.get("tool_call_id")


def _is_in(result: Message, placed: dict[int, Message]) -> bool:
    return any(result is other for other in placed.values())


def _without_result(call: dict[str, Any]) -> Message:
    return {"role": "tool", "content": NO_RESULT} | ({"tool_call_id": call["id"]} if call.get("id") else {})
