"""The bodies of /v1/messages and /v1/messages/count_tokens, as Anthropic's clients send them."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from qwill.server.anthropic.blocks import (
    CACHE,
    AssistantBlock,
    CacheablePiece,
    Piece,
    SystemBlocks,
    UserBlock,
    as_blocks,
)
from qwill.server.kinds import ByType
from qwill.server.schemas import Number, Schema, Strict

Effort = Literal["low", "medium", "high", "xhigh", "max"]


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


class ClientTool(CacheablePiece):
    """A function that the model may call and the client runs."""

    IGNORED = CACHE | {"eager_input_streaming", "input_examples", "defer_loading", "allowed_callers"}
    type: Literal["custom"] | None = None
    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    description: str | None = None
    input_schema: Schema
    strict: bool | None = None
    eager_input_streaming: Any = None
    input_examples: Any = None
    defer_loading: Any = None
    allowed_callers: Any = None

    @model_validator(mode="before")
    @classmethod
    def _known(cls, tool: Any) -> Any:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind not in (None, "custom"):
            raise ValueError(
                f"tools of type {kind!r} are Anthropic's own and not known here; give tools with a name and an"
                " input_schema, which your client runs"
            )
        return tool


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
    tools: list[ClientTool] | None = None
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
