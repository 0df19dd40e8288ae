"""The form of answers of /v1/responses, for its documentation; responses.py and responses_events.py make them."""

from typing import Any, Literal

from pydantic import BaseModel

from qwill.server.openai.answers import AnswerDetails, ChosenToken
from qwill.server.openai.responses_schemas import Status


class InputDetails(BaseModel):
    """Of the prompt's tokens: those that were not computed again. Nobody is charged for what is cached."""

    cached_tokens: int
    cache_write_tokens: Literal[0]


class ResponseUsage(BaseModel):
    """Tokens of a request."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: AnswerDetails
    total_tokens: int


class ReasoningText(BaseModel):
    """A piece of reasoning."""

    type: Literal["reasoning_text"]
    text: str


class SummaryText(BaseModel):
    """A piece of a summary of reasoning."""

    type: Literal["summary_text"]
    text: str


class ResponseText(BaseModel):
    """Text of an answer, and its tokens if they are asked for."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[ChosenToken]


class MessageOutput(BaseModel):
    """What the model says."""

    id: str
    type: Literal["message"]
    status: Status
    role: Literal["assistant"]
    content: list[ResponseText]


class ReasoningOutput(BaseModel):
    """What the model thought. `encrypted_content`: the same in the form that some clients give back, if asked for."""

    id: str
    type: Literal["reasoning"]
    status: Status
    summary: list[SummaryText]
    content: list[ReasoningText]
    encrypted_content: str | None = None


class CallOutput(BaseModel):
    """A call of a function, with its arguments as JSON text."""

    id: str
    type: Literal["function_call"]
    status: Literal["completed", "incomplete"]
    call_id: str
    name: str
    namespace: str | None = None
    arguments: str


class CustomCallOutput(BaseModel):
    """A call of a custom tool, with its input."""

    id: str
    type: Literal["custom_tool_call"]
    status: Literal["completed", "incomplete"]
    call_id: str
    name: str
    namespace: str | None = None
    input: str


class ResponseProblem(BaseModel):
    """Why an answer failed after it had begun."""

    code: Literal["server_error"]
    message: str


class IncompleteDetails(BaseModel):
    """Why an answer ended early; `loop`: it went on repeating itself."""

    reason: Literal["max_output_tokens", "loop"]


class ResponseAnswer(BaseModel):
    """A response, with what it repeats of its request."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    model: str
    output: list[MessageOutput | ReasoningOutput | CallOutput | CustomCallOutput]
    usage: ResponseUsage | None
    error: ResponseProblem | None
    incomplete_details: IncompleteDetails | None
    background: Literal[False]
    store: bool
    instructions: str | None
    previous_response_id: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    reasoning: dict[str, Any]
    service_tier: Literal["default"]
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"]


class ItemList(BaseModel):
    """A page of items, as they came or were written."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class InputTokens(BaseModel):
    """How many tokens a prompt has."""

    object: Literal["response.input_tokens"]
    input_tokens: int


class Deleted(BaseModel):
    """A response that is forgotten."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]
