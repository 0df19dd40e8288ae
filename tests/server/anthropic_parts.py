"""Parts of requests in the Anthropic dialect."""

import base64
from pathlib import Path
from typing import Any

PICTURE = base64.b64encode((Path(__file__).parents[2] / "docs" / "red_circle.png").read_bytes()).decode()
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}
SUM = "What is 17 + 25?"
PARIS = "What is the weather in Paris?"
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def result(identity: str, content: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": identity, "content": content, **more}


def use(identity: str, city: str = "Paris") -> dict[str, Any]:
    return {"type": "tool_use", "id": identity, "name": "get_weather", "input": {"city": city}}
