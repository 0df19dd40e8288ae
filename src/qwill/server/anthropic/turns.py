"""From Anthropic's messages to the form that chat templates take."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from qwill.server.anthropic.blocks import TextBlock, ThinkingBlock, ToolResultBlock, ToolUseBlock, UnknownBlock
from qwill.server.anthropic.parts import is_left_out, parts_of
from qwill.server.anthropic.schemas import AssistantTurn, Conversation, SystemTurn, UserTurn
from qwill.server.anthropic.signatures import carried
from qwill.server.conversation import in_order
from qwill.server.documents import joined

# An agent's first system block, for Anthropic's accounting. It changes with every request, and with it in front no
# prompt would begin like an earlier one.
ACCOUNTING = "x-anthropic-billing-header"


def plain_messages(body: Conversation) -> list[dict[str, Any]]:
    """System messages come first, as one; turns of the same role that follow one another are one turn.

    The results of a turn's calls come before what else the user says. Images of a result stay inside it. Raises
    Refusal, InvalidArgument.
    """
    plain: list[dict[str, Any]] = []
    blocks = (_content([block]) for block in _system(body) if not is_accounting(block))
    system = "\n\n".join(text for text in blocks if isinstance(text, str) and text)
    if system:
        plain.append({"role": "system", "content": system})
    turns = [turn for turn in body.messages if not isinstance(turn, SystemTurn)]
    for role, group in groupby(turns, key=lambda turn: turn.role):
        # Without what is left out: after results of calls it would be an empty turn.
        said: list[Any] = [block for turn in group for block in turn.content if not is_left_out(block)]
        plain += [_assistant(said)] if role == "assistant" else _user(said)
    return in_order(plain)


def is_accounting(block: TextBlock | UnknownBlock) -> bool:
    """Whether a block of the system prompt is none of the model's business."""
    return isinstance(block, TextBlock) and block.text.startswith(ACCOUNTING)


def thinking_is_lost(body: Conversation) -> bool:
    """Whether there is reasoning that other servers keep to themselves, or an answer that was begun without any."""
    answers = [turn for turn in body.messages if isinstance(turn, AssistantTurn)]
    thoughts = [block for turn in answers for block in turn.content if isinstance(block, ThinkingBlock)]
    if not all(_reasoning(block) for block in thoughts):
        return True
    last = body.messages[-1]
    if body.thinking is None or body.thinking.type == "disabled" or not isinstance(last, AssistantTurn):
        return False
    return any(isinstance(block, TextBlock) for block in last.content) and not any(
        isinstance(block, ThinkingBlock) for block in last.content
    )


def _system(body: Conversation) -> list[TextBlock | UnknownBlock]:
    """The system prompt, and the system messages that still count."""
    blocks = list(body.system or [])
    last_user = max((index for index, turn in enumerate(body.messages) if isinstance(turn, UserTurn)), default=-1)
    for index, turn in enumerate(body.messages):
        if isinstance(turn, SystemTurn) and (turn.clear_at != "next_user_message" or index > last_user):
            blocks += turn.content
    return blocks


def _assistant(blocks: Sequence[Any]) -> dict[str, Any]:
    """An earlier answer."""
    thoughts = [_reasoning(block) for block in blocks if isinstance(block, ThinkingBlock)]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": _said(blocks),
        # Even where there was none: a template must not look for it in the text.
        "reasoning_content": "\n\n".join(thought for thought in thoughts if thought),
    }
    uses = [block for block in blocks if isinstance(block, ToolUseBlock)]
    if uses:
        message["tool_calls"] = [
            {"id": use.id, "type": "function", "function": {"name": use.name, "arguments": use.input}} for use in uses
        ]
    return message


def _user(blocks: Sequence[Any]) -> list[dict[str, Any]]:
    """The results of calls, and what else the user says."""
    results = [block for block in blocks if isinstance(block, ToolResultBlock)]
    rest = [block for block in blocks if not isinstance(block, ToolResultBlock)]
    messages = [{"role": "tool", "tool_call_id": result.tool_use_id, "content": _result(result)} for result in results]
    if rest or not results:
        messages.append({"role": "user", "content": _content(rest)})
    return messages


def _result(result: ToolResultBlock) -> str | list[dict[str, Any]]:
    """What a call gave. Templates know no failures, so the text says it."""
    failed: list[Any] = [TextBlock(type="text", text="Error:")] if result.is_error else []
    return _content([*failed, *(result.content or [])])


def _reasoning(block: ThinkingBlock) -> str:
    return block.thinking or carried(block.signature or "")


def _said(blocks: Sequence[Any]) -> str:
    """The text of an answer. What other servers put into it stands on lines of its own."""
    shown = [block for block in blocks if isinstance(block, TextBlock | UnknownBlock)]
    return "".join(part["text"] for part in joined((parts_of(one), isinstance(one, UnknownBlock)) for one in shown))


def _content(blocks: Sequence[Any]) -> str | list[dict[str, Any]]:
    """Text, or parts where there are images. A line break parts what came in blocks of its own."""
    parts = joined((parts_of(block), True) for block in blocks)
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts
