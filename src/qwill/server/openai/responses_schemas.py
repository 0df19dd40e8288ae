"""The body of /v1/responses: OpenAI's fields, and the sampling fields of chat completions."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from qwill.server.kinds import TextOr, member, told_apart
from qwill.server.openai.chat_schemas import Sampling
from qwill.server.openai.responses_content import Content
from qwill.server.openai.responses_tools import Name, Tool, ToolChoice, brought_tools
from qwill.server.schemas import JsonSchema, MediaOptions, Open, Strict, other_than, refused

Identity = Annotated[str, StringConstraints(min_length=1)]
ItemId = Annotated[Identity | None, BeforeValidator(lambda given: given or None)]
Status = Literal["in_progress", "completed", "incomplete"]
ItemStatus = Annotated[
    Status | None, BeforeValidator(lambda given: given if given in ("in_progress", "completed", "incomplete") else None)
]
Metadata = Annotated[
    dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]],
    Field(max_length=16),
]
Space = Annotated[Name | None, BeforeValidator(lambda given: given or None)]
LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"
Included = Literal[
    "message.output_text.logprobs", "reasoning.encrypted_content", "message.input_image.image_url",
    "file_search_call.results", "web_search_call.results", "web_search_call.action.sources",
    "computer_call_output.output.image_url", "code_interpreter_call.outputs",
]  # fmt: skip


class MessageItem(Open):
    """A message of a conversation."""

    type: Literal["message"] | None = "message"
    id: ItemId = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Content | None = None
    status: ItemStatus = None


class CallItem(Open):
    """A call in an earlier answer."""

    type: Literal["function_call"]
    id: ItemId = None
    call_id: Identity
    name: Name
    namespace: Space = None
    arguments: Any = ""
    status: ItemStatus = None


class CustomCallItem(Open):
    """A call of a custom tool in an earlier answer."""

    type: Literal["custom_tool_call"]
    id: ItemId = None
    call_id: Identity
    name: Name
    namespace: Space = None
    input: Any = ""
    status: ItemStatus = None


class CallOutputItem(Open):
    """What a function or a custom tool gave back."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    id: ItemId = None
    call_id: Identity
    output: Content | None = None
    status: ItemStatus = None


class Thought(Open):
    """A piece of reasoning, or of its summary."""

    type: str | None = None
    text: str = ""


class ReasoningItem(Open):
    """Reasoning of an earlier answer."""

    type: Literal["reasoning"]
    id: ItemId = None
    summary: list[Thought] | None = None
    content: list[Thought] | None = None
    encrypted_content: str | None = None
    status: ItemStatus = None


class ItemReference(Open):
    """An item of a response that is stored."""

    type: Literal["item_reference"] | None = None
    id: Identity


KINDS = {
    "message": "message", "function_call": "function_call", "custom_tool_call": "custom_tool_call",
    "function_call_output": "output", "custom_tool_call_output": "output", "reasoning": "reasoning",
    "item_reference": "item_reference",
}  # fmt: skip


def _kind_of_item(value: Any) -> str | None:
    """Messages and references need not say what they are."""
    if not isinstance(value, Mapping):
        return None
    kind = value.get("type")
    if kind is None:
        return "message" if "role" in value else "item_reference"
    return KINDS.get(kind, "other") if isinstance(kind, str) and kind else None


Item = Annotated[
    Annotated[MessageItem, member("message")]
    | Annotated[CallItem, member("function_call")]
    | Annotated[CustomCallItem, member("custom_tool_call")]
    | Annotated[CallOutputItem, member("output")]
    | Annotated[ReasoningItem, member("reasoning")]
    | Annotated[ItemReference, member("item_reference")]
    | Annotated[dict[str, Any], other_than(*KINDS), member("other")],
    told_apart(_kind_of_item, "an item is an object with a type or a role"),
]


class ReasoningOptions(Open):
    """How much the model thinks. Whoever asks for a summary of it gets all of it as the summary."""

    IGNORED = frozenset({"context", "mode"})
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Any = None
    mode: Any = None


class TextFormat(JsonSchema):
    """What the text of an answer may be."""

    type: Literal["text", "json_object", "json_schema"]


class TextOptions(Open):
    """What the text of an answer may be, and how long it is to be, which means nothing here."""

    IGNORED = frozenset({"verbosity"})
    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


Items = Annotated[list[Item], Field(min_length=1)]


class ResponsesRequest(Sampling):
    """What an answer is wanted to. The sampling fields of chat completions are taken, too."""

    IGNORED = Sampling.IGNORED - {"store", "metadata"} | {
        "prompt_cache_options", "stream_options", "client_metadata", "context_management", "moderation",
    }  # fmt: skip
    input: Annotated[str | Items, TextOr("a list of items")]
    instructions: str | None = None
    previous_response_id: Identity | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    max_output_tokens: int | None = None
    max_tool_calls: Annotated[int, Field(ge=1)] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningOptions | None = None
    thinking_budget: int | None = None
    text: TextOptions | None = None
    top_logprobs: int | None = None
    include: list[Included] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    mm_processor_kwargs: MediaOptions | None = None
    prompt_cache_options: Any = None
    client_metadata: Any = None
    context_management: Any = None
    moderation: Any = None
    n: Annotated[None, refused("a response is one answer; leave n out")] = None
    background: Annotated[None, refused("nothing is answered in the background; leave it out, or stream")] = None
    conversation: Annotated[None, refused("conversations are not kept here; use previous_response_id")] = None
    prompt: Annotated[None, refused("prompts are not kept here; send instructions and input")] = None

    @property
    def summarized(self) -> bool:
        """Whether reasoning is to come as a summary."""
        asked = self.reasoning
        return asked is not None and (asked.summary or asked.generate_summary) is not None

    def wants(self, what: str) -> bool:
        """Whether the response is to include that."""
        return what in (self.include or [])

    def ignored_fields(self, place: str = "") -> Iterator[str]:
        yield from super().ignored_fields(place)
        if self.truncation == "auto":
            yield "truncation"
        if not isinstance(self.input, str):
            others = (item for item in self.input if isinstance(item, dict))
            yield from (f"input.{item['type']}" for item in others if not brought_tools(item))
        if any(what not in (LOGPROBS, ENCRYPTED) for what in self.include or []):
            yield "include"


class RetrieveQuery(Strict):
    """`include` adds nothing: all that is known of a response is told."""

    include: list[str] | None = None
    bracketed_include: list[str] | None = Field(default=None, alias="include[]")
    include_obfuscation: bool | None = None
    stream: bool | None = None


class ItemsQuery(Strict):
    """Which input items are listed: `limit` of them, after the one that `after` names."""

    include: list[str] | None = None
    bracketed_include: list[str] | None = Field(default=None, alias="include[]")
    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
