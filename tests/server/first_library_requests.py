"""First requests of libraries, as first_requests.py has those of programs."""

from collections.abc import Callable
from typing import Any

from server.first_requests import DRAFT, PIXEL, FirstRequest, Words, person

CHAT, RESPONSES, MESSAGES, OLLAMA = "/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat"


def asked(words: Words, **more: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": words.text(), **more}]


def in_parts(words: Words, kind: str = "text") -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": kind, "text": words.text()}]}]


def of_chat(words: Words, program: str, **more: Any) -> FirstRequest:
    return FirstRequest(program, CHAT, {"model": "demo", "max_tokens": 1, "messages": asked(words), **more})


def of_responses(words: Words, program: str, **more: Any) -> FirstRequest:
    return FirstRequest(program, RESPONSES, {"model": "demo", "max_output_tokens": 1, "input": asked(words), **more})


def of_messages(words: Words, program: str, **more: Any) -> FirstRequest:
    return FirstRequest(program, MESSAGES, {"model": "demo", "max_tokens": 1, "messages": in_parts(words), **more})


def of_ollama(words: Words, program: str, **more: Any) -> FirstRequest:
    body = {"model": "demo", "messages": asked(words), "options": {"num_predict": 1}, "stream": False, **more}
    return FirstRequest(program, OLLAMA, body)


def strict_functions(words: Words) -> list[dict[str, Any]]:
    """Whose arguments have to fit: every key is required."""
    return [
        {"type": "function", "function": {"name": name, "description": words.text(), "parameters": {
            "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
            "additionalProperties": False}, "strict": True}}
        for name in words.names(2)
    ]  # fmt: skip


def litellm_openai(words: Words) -> FirstRequest:
    return of_chat(words, "LiteLLM openai/", tools=words.functions(2))


def litellm_structure(words: Words) -> FirstRequest:
    return of_chat(words, "LiteLLM openai/", response_format={"type": "json_schema", "json_schema": person()})


def litellm_anthropic(words: Words) -> FirstRequest:
    """A structure is the one tool that has to be called."""
    tool = {"name": "json_tool_call", "input_schema": person()["schema"]}
    choice = {"name": tool["name"], "type": "tool"}
    return of_messages(words, "LiteLLM anthropic/", tool_choice=choice, tools=[tool])


def litellm_ollama(words: Words) -> FirstRequest:
    return of_ollama(words, "LiteLLM ollama_chat/", messages=asked(words, images=[]), tools=words.functions(2))


def agents_responses(words: Words) -> FirstRequest:
    return of_responses(words, "openai-agents", include=[], tools=words.flat_functions(3, strict=True), stream=True)


def agents_structure(words: Words) -> FirstRequest:
    form = {"type": "json_schema", **person(strict=False)}
    return of_responses(words, "openai-agents", include=[], tools=words.flat_functions(1), text={"format": form})


def agents_chat(words: Words) -> FirstRequest:
    form = {"type": "json_schema", "json_schema": person()}
    return of_chat(words, "openai-agents chat", tools=words.functions(1), response_format=form)


def pydantic_ai_chat(words: Words) -> FirstRequest:
    return of_chat(words, "pydantic-ai", stream=False, tool_choice="auto", tools=strict_functions(words))


def pydantic_ai_forced(words: Words) -> FirstRequest:
    """A structure by a call, which is required."""
    return of_chat(words, "pydantic-ai", stream=False, tool_choice="required", tools=strict_functions(words))


def pydantic_ai_responses(words: Words) -> FirstRequest:
    form = {"type": "json_schema", **person()}
    return of_responses(words, "pydantic-ai", stream=False, text={"format": form})


def pydantic_ai_anthropic(words: Words) -> FirstRequest:
    more = {"tool_choice": {"type": "auto"}, "tools": words.anthropic_tools(2), "stream": False}
    return of_messages(words, "pydantic-ai", **more)


def langchain_chat(words: Words) -> FirstRequest:
    form = {"type": "json_schema", "json_schema": person()}
    return of_chat(words, "LangChain", response_format=form, stream=False, tools=strict_functions(words))


def langchain_anthropic(words: Words) -> FirstRequest:
    form = {"type": "json_schema", "schema": {"title": "Person", "description": words.text(), **person()["schema"]}}
    return of_messages(words, "LangChain", messages=asked(words), output_config={"format": form})


def langchain_ollama(words: Words) -> FirstRequest:
    return of_ollama(words, "LangChain", tools=words.functions(2), format=person()["schema"], stream=True)


def ai_sdk_openai(words: Words) -> FirstRequest:
    more = {"tools": words.flat_functions(2), "tool_choice": "auto", "stream": True}
    return of_responses(words, "AI SDK openai", input=in_parts(words, "input_text"), **more)


def ai_sdk_compatible(words: Words) -> FirstRequest:
    more = {"additionalProperties": False, "$schema": DRAFT}
    exact = 2**53 - 1
    schema = {"$schema": DRAFT, **person()["schema"]}
    schema["properties"] = {"age": {"type": "integer", "minimum": -exact, "maximum": exact}, "name": {"type": "string"}}
    form = {"type": "json_schema", "json_schema": {"schema": schema, "strict": True, "name": "response"}}
    return of_chat(words, "AI SDK openai-compatible", tools=words.functions(2, **more), tool_choice="auto",
                   response_format=form)  # fmt: skip


def ai_sdk_anthropic(words: Words) -> FirstRequest:
    """A structure is one of the tools, of which one has to be called."""
    form = {"name": "json", "description": words.text(), "input_schema": person()["schema"]}
    tools = [*words.anthropic_tools(1), form]
    choice = {"type": "any", "disable_parallel_tool_use": True}
    return of_messages(words, "AI SDK anthropic", tools=tools, tool_choice=choice)


def ai_sdk_picture(words: Words) -> FirstRequest:
    seen = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    content = [seen, {"type": "text", "text": words.text()}]
    return of_messages(words, "AI SDK anthropic", messages=[{"role": "user", "content": content}])


def llm_schema(words: Words) -> FirstRequest:
    """The name of the schema is always the same, and nothing says that it is strict."""
    form = {"type": "json_schema", "json_schema": {"name": "output", "schema": person()["schema"]}}
    return of_chat(words, "llm", stream=True, stream_options={"include_usage": True}, response_format=form)


def guidellm_chat(words: Words) -> FirstRequest:
    options = {"include_usage": True, "continuous_usage_stats": True}
    return of_chat(words, "guidellm", messages=in_parts(words), stream=True, stream_options=options)


LIBRARIES: tuple[Callable[[Words], FirstRequest], ...] = (
    litellm_openai, litellm_structure, litellm_anthropic, litellm_ollama, agents_responses, agents_structure,
    agents_chat, pydantic_ai_chat, pydantic_ai_forced, pydantic_ai_responses, pydantic_ai_anthropic, langchain_chat,
    langchain_anthropic, langchain_ollama,
    ai_sdk_openai, ai_sdk_compatible, ai_sdk_anthropic, ai_sdk_picture, llm_schema, guidellm_chat,
)  # fmt: skip
