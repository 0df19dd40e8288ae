"""The bodies of /v1/messages and /v1/messages/count_tokens, as Anthropic's clients send them."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag

from qwill.server.anthropic.client_tools import TYPED, family_of, function_of
from qwill.server.schemas import Number, Open, Schema, Strict, other_than, type_of
from qwill.server.tools import FUNCTION, Given, Known

Effort = Literal["low", "medium", "high", "xhigh", "max"]
CACHE = frozenset({"cache_control"})
ToolName = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Piece(Open):
    """A part of a request. What means nothing here is told by its bare name: it stands in many places."""

    def name_of(self, field: str, place: str) -> str:
        return field


class CacheablePiece(Piece):
    """What may say that the prompt up to here is to be cached. Here every prompt is, without being told."""

    IGNORED = CACHE
    cache_control: Any = None


class TextBlock(CacheablePiece):
    """Text."""

    IGNORED = CACHE | {"citations"}
    type: Literal["text"]
    text: str
    citations: Any = None


class Base64Source(Piece):
    """An image's bytes."""

    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class AddressSource(Piece):
    """An image that the server fetches."""

    type: Literal["url"]
    url: str


class FileSource(Piece):
    """An image of the files API, which this server does not have: it is refused."""

    type: Literal["file"]
    file_id: str


class Transformations(Piece):
    """What happens to an image that is too large."""

    oversized_image: Literal["downsize"] | None = None


class ImageBlock(CacheablePiece):
    """An image."""

    type: Literal["image"]
    source: Annotated[Base64Source | AddressSource | FileSource, Field(discriminator="type")]
    transformations: Transformations | None = None


class ThinkingBlock(Piece):
    """Reasoning of an earlier answer."""

    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(Piece):
    """Reasoning that only Anthropic's servers can read."""

    type: Literal["redacted_thinking"]
    data: str = ""

    def ignored_fields(self, place: str = "") -> Iterator[str]:
        yield "redacted_thinking"


class ToolUseBlock(CacheablePiece):
    """A call in an earlier answer."""

    IGNORED = CACHE | {"caller", "toolset_name"}
    type: Literal["tool_use"]
    id: str
    name: str
    input: Any
    caller: Any = None
    toolset_name: Any = None


class SearchResultBlock(CacheablePiece):
    """A text that was found, and where."""

    IGNORED = CACHE | {"citations"}
    type: Literal["search_result"]
    source: str
    title: str
    content: list[TextBlock]
    citations: Any = None


def as_blocks(content: Any) -> Any:
    """A plain text is short for one block with it."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


TextOrImage = Annotated[TextBlock | ImageBlock, Field(discriminator="type")]


class PlainSource(Piece):
    """A document's text."""

    type: Literal["text"]
    media_type: Literal["text/plain"] = "text/plain"
    data: str


class BlocksSource(Piece):
    """A document as blocks."""

    type: Literal["content"]
    content: Annotated[list[TextOrImage], BeforeValidator(as_blocks, json_schema_input_type=str | list[TextOrImage])]


class UnreadSource(Piece):
    """A document as PDF, or of the files API: it is refused."""

    type: Literal["base64", "url", "file"]
    media_type: Any = None
    data: Any = None
    url: Any = None
    file_id: Any = None


class DocumentBlock(CacheablePiece):
    """A document."""

    IGNORED = CACHE | {"citations"}
    type: Literal["document"]
    source: Annotated[PlainSource | BlocksSource | UnreadSource, Field(discriminator="type")]
    title: str | None = None
    context: str | None = None
    citations: Any = None


class ToolReferenceBlock(CacheablePiece):
    """The name of a tool that a search found."""

    type: Literal["tool_reference"]
    tool_name: str


ResultBlock = Annotated[
    TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock, Field(discriminator="type")
]


class ToolResultBlock(CacheablePiece):
    """What a call gave."""

    IGNORED = CACHE | {"toolset_name"}
    type: Literal["tool_result"]
    tool_use_id: str
    content: Annotated[
        list[ResultBlock] | None, BeforeValidator(as_blocks, json_schema_input_type=str | list[ResultBlock] | None)
    ] = None
    is_error: bool | None = None
    toolset_name: Any = None


UserBlock = Annotated[
    TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolResultBlock, Field(discriminator="type")
]
AssistantBlock = Annotated[
    TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock, Field(discriminator="type")
]
SystemText = Annotated[list[TextBlock], BeforeValidator(as_blocks, json_schema_input_type=str | list[TextBlock])]


class UserTurn(Piece):
    """What the user says, and what calls gave."""

    role: Literal["user"]
    content: Annotated[list[UserBlock], BeforeValidator(as_blocks, json_schema_input_type=str | list[UserBlock])]


class AssistantTurn(Piece):
    """An earlier answer, or, as the last message, the beginning of the next one."""

    role: Literal["assistant"]
    content: Annotated[
        list[AssistantBlock], BeforeValidator(as_blocks, json_schema_input_type=str | list[AssistantBlock])
    ]


class SystemTurn(Piece):
    """Instructions that join those of `system`. `clear_at`: until when they count."""

    IGNORED = frozenset({"output_config"})
    role: Literal["system"]
    content: SystemText
    clear_at: Literal["next_user_message", "never"] | None = None
    output_config: Any = None


class ClientTool(CacheablePiece):
    """A function that the model may call and the client runs."""

    IGNORED = CACHE | {"eager_input_streaming", "input_examples", "defer_loading", "allowed_callers"}
    type: Literal["custom"] | None = None
    name: ToolName
    description: str | None = None
    input_schema: Schema
    strict: bool | None = None
    eager_input_streaming: Any = None
    input_examples: Any = None
    defer_loading: Any = None
    allowed_callers: Any = None

    def given(self) -> Given:
        """The tool without words of this dialect."""
        function = {"description": self.description, "parameters": self.input_schema, "strict": self.strict}
        stated = {key: value for key, value in function.items() if value is not None}
        return Given(Known(FUNCTION, self.name), stated)


class TypedTool(CacheablePiece):
    """A tool whose parameters its type says and that the client runs, such as bash_20250124."""

    IGNORED = ClientTool.IGNORED | {"display_number", "max_characters"}
    type: Annotated[str, StringConstraints(pattern=TYPED)]
    name: ToolName
    strict: bool | None = None
    display_width_px: int | None = None
    display_height_px: int | None = None
    display_number: Any = None
    enable_zoom: bool | None = None
    max_characters: Any = None
    eager_input_streaming: Any = None
    input_examples: Any = None
    defer_loading: Any = None
    allowed_callers: Any = None

    def given(self) -> Given:
        """The tool without words of this dialect."""
        sizes = (self.display_width_px, self.display_height_px)
        function = {**function_of(self.type, sizes, bool(self.enable_zoom)), "strict": self.strict}
        return Given(Known(FUNCTION, self.name), {key: value for key, value in function.items() if value is not None})


def _kind_of_tool(value: Any) -> str | None:
    kind = type_of(value)
    if kind is None:
        return "custom" if not isinstance(value, Mapping) or value.get("type") is None else None
    return "custom" if kind == "custom" else "typed" if family_of(kind) is not None else "other"


Tool = Annotated[
    Annotated[ClientTool, Tag("custom")]
    | Annotated[TypedTool, Tag("typed")]
    | Annotated[dict[str, Any], other_than("custom"), Tag("other")],
    Discriminator(_kind_of_tool, custom_error_type="no_type", custom_error_message="the type of a tool is a text"),
]


class Choice(Piece):
    """Whether tools may or must be called, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Piece):
    """Whether the model reasons before it answers, for at most how many tokens, and whether the client sees it."""

    IGNORED = frozenset({"block_binding"})
    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    display: Literal["summarized", "omitted"] | None = None
    block_binding: Any = None


class OutputFormat(Piece):
    """The JSON schema of an answer."""

    type: Literal["json_schema"]
    schema_: Schema = Field(alias="schema")


class OutputConfig(Piece):
    """How an answer is to be."""

    IGNORED = frozenset({"task_budget"})
    effort: Effort | None = None
    format: OutputFormat | None = None
    task_budget: Any = None


class Conversation(CacheablePiece, Strict):
    """A conversation whose next message is wanted."""

    IGNORED = CACHE | {
        "metadata", "service_tier", "inference_geo", "speed", "diagnostics", "context_management", "billing_policy",
        "fallbacks", "fallback_credit_token", "user_profile_id",
    }  # fmt: skip
    model: str
    messages: Annotated[
        list[Annotated[UserTurn | AssistantTurn | SystemTurn, Field(discriminator="role")]], Field(min_length=1)
    ]
    system: SystemText | None = None
    tools: list[Tool] | None = None
    tool_choice: Choice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    metadata: Any = None
    service_tier: Any = None
    inference_geo: Any = None
    speed: Any = None
    diagnostics: Any = None
    context_management: Any = None
    billing_policy: Any = None
    fallbacks: Any = None
    fallback_credit_token: Any = None
    user_profile_id: Any = None
    container: Any = None
    mcp_servers: Any = None
    compaction: Any = None
    thread: Any = None


class MessagesRequest(Conversation):
    """A conversation, and how its next message is to be drawn."""

    max_tokens: int
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: int | None = None
    stop_sequences: list[Annotated[str, StringConstraints(min_length=1)]] | None = None
    stream: bool | None = None
