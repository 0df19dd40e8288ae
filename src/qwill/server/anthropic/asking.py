"""From the Anthropic dialect's fields to what is asked of a model."""

from typing import Any

from qwill.engine.sampling_params import SamplingParams
from qwill.prompt import PromptOptions
from qwill.server.anthropic.schemas import AssistantTurn, Choice, Conversation, MessagesRequest
from qwill.server.anthropic.turns import ACCOUNTING, is_accounting, plain_messages, thinking_is_lost
from qwill.server.asks import Ask
from qwill.server.errors import Refusal
from qwill.server.tools import FUNCTION, Known, Mode, given, offer
from qwill.server.tools import Choice as ToolChoice

# What only Anthropic's servers do, and what an answer without it would not be worth.
UNSUPPORTED = {
    "container": "code does not run in containers here",
    "mcp_servers": "MCP servers are not called from here; let your client call them and give their tools in tools",
    "compaction": "conversations are not summarized here; ask for a summary in a message",
}
MODES: dict[str, Mode] = {"auto": "auto", "any": "required", "none": "none"}


class NoThreads(Refusal):
    """Refuses to keep a conversation. Clients that read the details send all messages instead."""

    def __init__(self) -> None:
        super().__init__(400, "thread: conversations are not kept here; send all messages without it", param="thread")

    def body(self, path: str, request_id: str) -> dict[str, Any]:
        body = super().body(path, request_id)
        body["error"]["details"] = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
        return body


def messages_ask(body: MessagesRequest) -> Ask:
    """What a request for a message asks for. Raises Refusal, InvalidArgument."""
    params = SamplingParams(
        temperature=body.temperature, top_p=body.top_p, top_k=body.top_k, max_tokens=body.max_tokens,
        stop=tuple(body.stop_sequences or ()), max_thinking_tokens=_budget(body), json_schema=_schema(body),
    )  # fmt: skip
    return conversation_ask(body, params, bool(body.stream))


def conversation_ask(body: Conversation, params: SamplingParams | None = None, streamed: bool = False) -> Ask:
    """The same of a conversation whose prompt alone counts. Raises Refusal, InvalidArgument."""
    for name, why in UNSUPPORTED.items():
        if getattr(body, name):
            raise Refusal(400, f"{name}: {why}", param=name)
    if body.thread:
        raise NoThreads
    offered = offer([given(tool) for tool in body.tools or []], _choice(body.tool_choice))
    one_call = body.tool_choice is not None and bool(body.tool_choice.disable_parallel_tool_use)
    return Ask(
        body.model,
        plain_messages(body),
        params=params or SamplingParams(),
        tools=offered.functions or None,
        tool_choice=offered.choice,
        most_calls=1 if one_call else None,
        thinking=_thinks(body),
        options=PromptOptions(go_on=isinstance(body.messages[-1], AssistantTurn), effort=_effort(body)),
        streamed=streamed,
        ignored=sorted({*_ignored(body), *offered.left_out}),
    )


def _ignored(body: Conversation) -> list[str]:
    """Names of what came and means nothing here."""
    names = set(body.ignored())
    if not _thinks(body) and body.output_config is not None and body.output_config.effort is not None:
        names.add("effort")
    if any(is_accounting(block) for block in body.system or []):
        names.add(ACCOUNTING)
    if thinking_is_lost(body):
        names.add("thinking")
    return sorted(names)


def _thinks(body: Conversation) -> bool:
    return body.thinking is not None and body.thinking.type != "disabled"


def _budget(body: Conversation) -> int | None:
    """The most tokens of reasoning, where they are stated."""
    asked = body.thinking
    if asked is None or asked.type == "disabled":
        if asked is not None and asked.budget_tokens is not None:
            raise Refusal(400, "budget_tokens needs thinking of type enabled", param="thinking.budget_tokens")
        return None
    return asked.budget_tokens


def _effort(body: Conversation) -> str | None:
    """How much the model is to reason, if it does."""
    return body.output_config.effort if body.output_config is not None and _thinks(body) else None


def _schema(body: Conversation) -> dict[str, Any] | None:
    """What an answer is to fit. Betas named it output_format."""
    stated = body.output_config.format if body.output_config is not None else None
    if stated is not None and body.output_format is not None:
        raise Refusal(400, "output_config.format and output_format exclude each other", param="output_format")
    stated = stated or body.output_format
    return stated.schema_ if stated is not None else None


def _choice(asked: Choice | None) -> ToolChoice:
    """The choice among the tools, without words of this dialect."""
    if asked is None:
        return ToolChoice()
    stated = f"tool_choice of type {asked.type}"
    if asked.type != "tool":
        return ToolChoice(MODES[asked.type], stated=stated)
    if asked.name is None:
        raise Refusal(400, "tool_choice of type tool needs a name", param="tool_choice.name")
    return ToolChoice("required", [Known(FUNCTION, asked.name)], stated=stated, place="tool_choice.name")
