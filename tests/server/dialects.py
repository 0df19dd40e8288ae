"""One conversation in the words of every dialect, and what the model reads of it."""

from collections.abc import Callable, Sequence
from typing import Any

from qwill.server.anthropic.asking import conversation_ask
from qwill.server.anthropic.schemas import Conversation
from qwill.server.asks import Ask
from qwill.server.ollama.asking import chat_ask as ollama_ask
from qwill.server.ollama.schemas import OllamaChatRequest
from qwill.server.openai.asking import chat_ask
from qwill.server.openai.chat_schemas import ChatRequest
from qwill.server.openai.responses_asking import responses_ask
from qwill.server.openai.responses_items import stored_items
from qwill.server.openai.responses_schemas import ResponsesRequest
from server.running import Running

CHAT, RESPONSES, MESSAGES, OLLAMA = "/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat"
DIALECTS = (CHAT, RESPONSES, MESSAGES, OLLAMA)
LIMITS: dict[str, Callable[[int], dict[str, Any]]] = {
    CHAT: lambda most: {"max_tokens": most},
    RESPONSES: lambda most: {"max_output_tokens": most},
    MESSAGES: lambda most: {"model": "demo", "max_tokens": most},
    OLLAMA: lambda most: {"options": {"num_predict": most}},
}


def body_of(path: str, turns: Sequence[Any], most: int = 1, **more: Any) -> dict[str, Any]:
    """A request that the dialect's clients would send. `turns`: a text of the user's; a list of calls, each an id, a
    name and its arguments; or a mapping of ids to results."""
    items = [item for turn in turns for item in _items(path, turn)]
    return {"input" if path == RESPONSES else "messages": items, **LIMITS[path](most), **more}


def _items(path: str, turn: Any) -> list[dict[str, Any]]:
    if isinstance(turn, str):
        return [{"role": "user", "content": turn}]
    if isinstance(turn, dict):
        return _results(path, turn)
    if path == RESPONSES:
        return [
            {"type": "function_call", "call_id": identity, "name": name, "arguments": arguments}
            for identity, name, arguments in turn
        ]
    if path == MESSAGES:
        calls = [
            {"type": "tool_use", "id": identity, "name": name, "input": arguments} for identity, name, arguments in turn
        ]
        return [{"role": "assistant", "content": calls}]
    functions = [
        {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}
        for identity, name, arguments in turn
    ]
    return [{"role": "assistant", "content": "", "tool_calls": functions}]


def _results(path: str, results: dict[str, str]) -> list[dict[str, Any]]:
    if path == RESPONSES:
        return [{"type": "function_call_output", "call_id": name, "output": text} for name, text in results.items()]
    if path == MESSAGES:
        blocks = [{"type": "tool_result", "tool_use_id": name, "content": text} for name, text in results.items()]
        return [{"role": "user", "content": blocks}]
    return [{"role": "tool", "tool_call_id": name, "content": text} for name, text in results.items()]


def ask_of(path: str, body: dict[str, Any]) -> Ask:
    """What a body asks for, in no dialect. Raises Refusal."""
    if path == CHAT:
        return chat_ask(ChatRequest.model_validate(body))
    if path == RESPONSES:
        request = ResponsesRequest.model_validate(body)
        return responses_ask(request, stored_items(request.input, {}))
    if path == MESSAGES:
        return conversation_ask(Conversation.model_validate({k: v for k, v in body.items() if k != "max_tokens"}))
    return ollama_ask(OllamaChatRequest.model_validate(body))


def prompt_of(server: Running, path: str, body: dict[str, Any]) -> str:
    """The text that the model reads."""
    ask, llm = ask_of(path, body), server.worker.llm
    assert ask.messages is not None
    ids = llm.prompt_tokens(ask.messages, tools=ask.tools, thinking=ask.thinks, options=ask.options)
    return str(llm.tokenizer.decode(ids, skip_special=False))
