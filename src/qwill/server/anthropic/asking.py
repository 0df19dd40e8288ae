"""From the Anthropic dialect's fields to what is asked of a model."""

from typing import Any

from qwill.engine.sampling_params import SamplingParams
from qwill.guide import ToolChoice
from qwill.prompt import PromptOptions
from qwill.server.anthropic.schemas import AssistantTurn, ClientTool, Conversation, MessagesRequest
from qwill.server.anthropic.turns import ACCOUNTING, is_accounting, plain_messages, thinking_is_lost
from qwill.server.asks import Ask
from qwill.server.errors import Refusal

# What only Anthropic's servers do, and what an answer without it would not be worth.
UNSUPPORTED = {
    "container": "code does not run in containers here",
    "mcp_servers": "MCP servers are not called from here; let your client call them and give their tools in tools",
    "compaction": "conversations are not summarized here; ask for a summary in a message",
}


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
    choice, most_calls = _choice(body)
    return Ask(
        body.model,
        plain_messages(body),
        params=params or SamplingParams(),
        tools=[_tool(tool) for tool in body.tools or []] or None,
        tool_choice=choice,
        most_calls=most_calls,
        thinking=_thinks(body),
        options=PromptOptions(go_on=isinstance(body.messages[-1], AssistantTurn), effort=_effort(body)),
        streamed=streamed,
        ignored=_ignored(body),
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


def _tool(tool: ClientTool) -> dict[str, Any]:
    function: dict[str, Any] = {
        "name": tool.name, "description": tool.description, "parameters": tool.input_schema, "strict": tool.strict,
    }  # fmt: skip
    return {"type": "function", "function": {key: value for key, value in function.items() if value is not None}}


def _choice(body: Conversation) -> tuple[ToolChoice, int | None]:
    """The choice among the tools, and how many calls there may be."""
    asked = body.tool_choice
    if asked is None:
        return "auto", None
    most_calls = 1 if asked.disable_parallel_tool_use else None
    if asked.type in ("auto", "none"):
        return asked.type, most_calls
    names = [tool.name for tool in body.tools or []]
    if not names:
        raise Refusal(400, f"tool_choice of type {asked.type} needs tools", param="tool_choice")
    if asked.type == "any":
        return "required", most_calls
    if asked.name not in names:
        raise Refusal(
            400, f"tool_choice names {asked.name!r}; the tools are {', '.join(names)}", param="tool_choice.name"
        )
    return {"type": "function", "function": {"name": asked.name}}, most_calls
