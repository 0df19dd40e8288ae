"""Drives LiteLLM: `litellm_drive.py URL KIND`, the kind being the dialect by which LiteLLM asks."""

import json
import sys
from typing import Any

import litellm
import questions as q

url, kind = sys.argv[1:]
litellm.telemetry = False
litellm.drop_params = True
WHERE: dict[str, dict[str, Any]] = {
    "openai": {"model": "openai/demo", "api_base": f"{url}/v1", "api_key": "none"},
    "anthropic": {"model": "anthropic/demo", "api_base": url, "api_key": "none"},
    "ollama": {"model": "ollama_chat/demo", "api_base": url},
}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": {
        "type": "object", "properties": {key: {"type": kind} for key in keys}, "required": list(keys)}}}
    for name, keys, kind in (("weather", ["city"], "string"), ("subtract", ["a", "b"], "integer"))
]  # fmt: skip


def ask(content: Any, **more: Any) -> Any:
    return litellm.completion(messages=[{"role": "user", "content": content}], **WHERE[kind], **more)


def text() -> Any:
    pieces = [chunk.choices[0].delta.content or "" for chunk in ask(q.GREET, stream=True)]
    return {"whole": ask(q.GREET).choices[0].message.content, "streamed": "".join(pieces)}


def tools() -> Any:
    messages: list[Any] = [{"role": "user", "content": q.COMPARE}]
    called = []
    for _ in range(5):
        message = litellm.completion(messages=messages, tools=TOOLS, **WHERE[kind]).choices[0].message
        messages.append(message.model_dump())
        if not message.tool_calls:
            return {"called": called, "final": message.content}
        for call in message.tool_calls:
            given = json.loads(call.function.arguments)
            called.append([call.function.name, given])
            result = q.WEATHER[given["city"]] if "city" in given else given["a"] - given["b"]
            messages.append({"role": "tool", "tool_call_id": call.id, "content": str(result)})
    return {"called": called}


def structure() -> Any:
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": q.PERSON, "strict": True}}
    return json.loads(ask(q.ABOUT_ANNA, response_format=form).choices[0].message.content)


def picture() -> Any:
    address = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{q.picture()}"}}
    return ask([address, {"type": "text", "text": q.SEEN}]).choices[0].message.content


def overflow() -> Any:
    ask(q.FAR)


def cancelled() -> Any:
    stream = ask(q.COUNT, stream=True)
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    stream.completion_stream.close() if hasattr(stream.completion_stream, "close") else None
    return True


q.tell({"text": text, "tools": tools, "structure": structure, "picture": picture, "overflow": overflow,
        "cancelled": cancelled})  # fmt: skip
