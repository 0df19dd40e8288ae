"""Items of /v1/responses: from what a request brings to what is stored, and to messages for a chat template."""

import json
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from qwill.server.conversation import in_order
from qwill.server.custom_tools import arguments_of
from qwill.server.errors import Refusal
from qwill.server.openai.responses_content import (
    Content,
    InputImage,
    InputText,
    InputVideo,
    OutputText,
    plain_of,
    stored_part,
)
from qwill.server.openai.responses_foreign import with_shown
from qwill.server.openai.responses_schemas import (
    KINDS,
    CallItem,
    CallOutputItem,
    CustomCallItem,
    Item,
    ItemReference,
    MessageItem,
    ReasoningItem,
)
from qwill.server.tools import CUSTOM, FUNCTION, NOTHING, Known, Offered

Stored = Mapping[str, Any]  # an item as it is listed
CALLS = ("function_call", "custom_tool_call")
# Nothing here is secret: it serves clients that give reasoning back in its opaque form alone.
OPAQUE = "qwill:"
SEAM = "\n"  # between pieces of one answer that a call parted


def new_id(kind: str) -> str:
    """A name that nobody guesses."""
    return f"{kind}_{secrets.token_hex(16)}"


def opaque(reasoning: str) -> str:
    """What stands for reasoning in `encrypted_content`."""
    return OPAQUE + b64encode(reasoning.encode("utf-8", "surrogatepass")).decode()


def stored_items(given: str | Sequence[Item], known: Mapping[str, Stored]) -> list[Stored]:
    """A request's items as they are stored. `known` are those that references may name.

    Raises Refusal for a reference to nothing.
    """
    if isinstance(given, str):
        given = [MessageItem(role="user", content=given)]
    return [_stored(item, f"input.{index}", known) for index, item in enumerate(given)]


def messages_of(instructions: str | None, items: Sequence[Stored], offered: Offered = NOTHING) -> list[dict[str, Any]]:
    """The conversation in the form that chat templates take. What the model wrote in one go, its reasoning, text and
    calls, is one message, and what its calls gave follows in their order. `offered` knows what it calls the tools.

    Raises Refusal for an output that belongs to no call, or a second one, and when there is nothing to show.
    """
    messages: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    turn: dict[str, Any] | None = None
    for item in with_shown(items, KINDS):
        kind = item["type"]
        if kind == "reasoning" and not item["content"]:
            continue
        if kind in ("reasoning", *CALLS) or item.get("role") == "assistant":
            if turn is None or (turn["content"] and not turn.get("tool_calls") and kind not in CALLS):
                turn = {"role": "assistant", "content": ""}
                messages.append(turn)
            _add(turn, item, offered)
            continue
        turn = None
        if kind == "message":
            messages.append({"role": item["role"], "content": plain_of(item["content"])})
        else:
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": plain_of(item["output"])})
    if len(messages) == bool(instructions):
        raise Refusal(400, "input: none of its items can be shown to the model; send a message", param="input")
    return in_order(messages, "input")


def _add(turn: dict[str, Any], item: Stored, offered: Offered) -> None:
    """Puts what the model wrote into its message."""
    if item["type"] in CALLS:
        is_custom = item["type"] == "custom_tool_call"
        known = Known(CUSTOM if is_custom else FUNCTION, item["name"], item.get("namespace"))
        arguments = arguments_of(item["input"]) if is_custom else item["arguments"]
        function = {"name": offered.name_of(known), "arguments": arguments}
        turn.setdefault("tool_calls", []).append({"id": item["call_id"], "type": "function", "function": function})
        return
    name = "reasoning_content" if item["type"] == "reasoning" else "content"
    text = "".join(part["text" if "text" in part else "refusal"] for part in item["content"])
    turn[name] = SEAM.join(piece for piece in (turn.get(name, ""), text) if piece)


def _stored(item: Item, place: str, known: Mapping[str, Stored]) -> Stored:
    if isinstance(item, ItemReference):
        if item.id not in known:
            raise Refusal(404, f"no item {item.id!r} is stored here; send the item itself", param=place)
        return known[item.id]
    if isinstance(item, Mapping):
        return {**item, "id": item["id"] if isinstance(item.get("id"), str) else new_id("it")}
    own: dict[str, Any]
    if isinstance(item, MessageItem):
        kind, own = "msg", {"role": item.role, "content": _stored_content(item, place)}
    elif isinstance(item, CallItem):
        kind, own = "fc", {"call_id": item.call_id, "name": item.name, "arguments": _as_text(item.arguments)}
    elif isinstance(item, CustomCallItem):
        kind, own = "ctc", {"call_id": item.call_id, "name": item.name, "input": _as_text(item.input)}
    elif isinstance(item, CallOutputItem):
        given_back = item.output or ""
        output = given_back if isinstance(given_back, str) else [stored_part(part) for part in given_back]
        kind, own = "fco", {"call_id": item.call_id, "output": output}
    else:
        text = _reasoning(item)
        content = [{"type": "reasoning_text", "text": text}] if text else []
        summary = [{"type": "summary_text", "text": part.text} for part in item.summary or []]
        kind, own = "rs", {"summary": summary, "content": content}
    if isinstance(item, CallItem | CustomCallItem) and item.namespace is not None:
        own["namespace"] = item.namespace
    return {"id": item.id or new_id(kind), "type": item.type or "message", "status": item.status or "completed", **own}


def _as_text(given: Any) -> str:
    """Arguments or an input, which some clients send as JSON and others as its text."""
    return given if isinstance(given, str) else "" if given is None else json.dumps(given, ensure_ascii=False)


def _stored_content(message: MessageItem, place: str) -> list[Stored]:
    content: Content = message.content or ""
    own = message.role == "assistant"
    if isinstance(content, str):
        text = OutputText(type="output_text", text=content) if own else InputText(type="input_text", text=content)
        return [stored_part(text)]
    if own and any(isinstance(part, InputImage | InputVideo) for part in content):
        raise Refusal(400, f"{place}: an assistant's message holds text alone", param=place)
    return [stored_part(part) for part in content]


def is_lost(item: Item) -> bool:
    """Whether an item is reasoning that only another server can read."""
    return isinstance(item, ReasoningItem) and bool(item.encrypted_content) and not _reasoning(item)


def _reasoning(item: ReasoningItem) -> str:
    """The text itself; a summary where there is no more."""
    if item.content:
        return "".join(part.text for part in item.content)
    if item.encrypted_content:
        beginning, _, encoded = item.encrypted_content.partition(OPAQUE)
        with suppress(ValueError):
            if encoded and not beginning:
                return b64decode(encoded, validate=True).decode("utf-8", "surrogatepass")
    return SEAM.join(part.text for part in item.summary or [])
