"""The bodies of /v1/messages and /v1/messages/count_tokens, as Anthropic's clients send them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from qwill.server.anthropic.blocks import (
    CACHE,
    AssistantBlock,
    CacheablePiece,
    Piece,
    SystemBlocks,
    UserBlock,
    as_blocks,
)
from qwill.server.anthropic.client_tools import TYPED, family_of, function_of
from qwill.server.kinds import ByType, member, told_apart
from qwill.server.schemas import Number, Schema, Strict, other_than, type_of
from qwill.server.tools import FUNCTION, Given, Known

Effort = Literal["low", "medium", "high", "xhigh", "max"]
ToolName = Annotated[str, StringConstraints(min_length=1, max_length=256)]


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
    content: SystemBlocks
    clear_at: Literal["next_user_message", "never"] | None = None
    output_config: Any = None


OWN = ("custom", FUNCTION)  # the latter as other dialects have it


class ClientTool(CacheablePiece):
    """A function that the model may call and the client runs."""

    IGNORED = CACHE | {"eager_input_streaming", "input_examples", "defer_loading", "allowed_callers"}
    type: Literal["custom", "function"] | None = None
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
    return "custom" if kind in OWN else "typed" if family_of(kind) is not None else "other"


Tool = Annotated[
    Annotated[ClientTool, member("custom")]
    | Annotated[TypedTool, member("typed")]
    | Annotated[dict[str, Any], other_than(*OWN), member("other")],
    told_apart(_kind_of_tool, "the type of a tool is a text"),
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
        list[Annotated[UserTurn | AssistantTurn | SystemTurn, ByType("messages", "role")]], Field(min_length=1)
    ]
    system: SystemBlocks | None = None
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
