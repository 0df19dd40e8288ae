"""The form of answers in the Anthropic dialect, for its documentation; messages.py makes them."""

from typing import Any, Literal

from pydantic import BaseModel

from qwill.server.http import EVENTS
from qwill.server.schemas import REFUSALS, answered


class AnswerText(BaseModel):
    """Text."""

    type: Literal["text"]
    text: str


class AnswerThinking(BaseModel):
    """Reasoning, empty where the client asked not to see it. The signature is to come back with the block."""

    type: Literal["thinking"]
    thinking: str
    signature: str


class AnswerToolUse(BaseModel):
    """A call, whose result the client sends with the next request."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


class ThinkingTokens(BaseModel):
    """Of the answer's tokens: those of reasoning."""

    thinking_tokens: int


class MessageUsage(BaseModel):
    """Tokens of a request. The prompt's are split into those that were computed and those that were known."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: ThinkingTokens


class MessageAnswer(BaseModel):
    """A message."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[AnswerText | AnswerThinking | AnswerToolUse]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]
    stop_sequence: str | None
    usage: MessageUsage


class TokenCount(BaseModel):
    """How many tokens a prompt has."""

    input_tokens: int


class MessagesProblem(BaseModel):
    """Why a request was refused. `details` are for clients that can do without what they asked for."""

    type: str
    message: str
    details: dict[str, Any] | None = None


class MessagesRefused(BaseModel):
    """The body of a refusal."""

    type: Literal["error"]
    error: MessagesProblem
    request_id: str


_REFUSED: dict[int | str, dict[str, Any]] = {
    status: {**about, "model": MessagesRefused} for status, about in REFUSALS.items()
}
MESSAGE_ANSWERS = answered(MessageAnswer, EVENTS) | _REFUSED
COUNT_ANSWERS = answered(TokenCount) | _REFUSED
