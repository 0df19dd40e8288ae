"""Drives pydantic-ai: `pydantic_ai_drive.py URL KIND`, the kind being "chat", "responses", "anthropic" or "ollama"."""

import sys
from typing import Any

import questions as q
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, NativeOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.ollama import OllamaModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.ollama import OllamaProvider
from pydantic_ai.providers.openai import OpenAIProvider

url, kind = sys.argv[1:]
called: list[Any] = []


class Person(BaseModel):
    name: str
    age: int


def weather(city: str) -> int:
    """Degrees in a city."""
    called.append(["weather", {"city": city}])
    return q.WEATHER[city]


def subtract(a: int, b: int) -> int:
    """a - b."""
    called.append(["subtract", {"a": a, "b": b}])
    return a - b


def age(name: str) -> int:
    """How old somebody is."""
    return 31


def model() -> Any:
    if kind == "anthropic":
        return AnthropicModel("demo", provider=AnthropicProvider(base_url=url, api_key="none"))
    if kind == "ollama":
        return OllamaModel("demo", provider=OllamaProvider(base_url=f"{url}/v1"))
    provider = OpenAIProvider(base_url=f"{url}/v1", api_key="none")
    return {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}[kind]("demo", provider=provider)


async def text() -> Any:
    agent = Agent(model())
    async with agent.run_stream(q.GREET) as streamed:
        pieces = [piece async for piece in streamed.stream_text(delta=True)]
    return {"whole": (await agent.run(q.GREET)).output, "streamed": "".join(pieces)}


async def tools() -> Any:
    said = await Agent(model(), tools=[weather, subtract]).run(q.COMPARE)
    return {"called": called, "final": said.output}


async def structure() -> Any:
    return (await Agent(model(), output_type=NativeOutput(Person)).run(q.ABOUT_ANNA)).output.model_dump()


async def structure_by_tool() -> Any:
    return (await Agent(model(), output_type=Person).run(q.ABOUT_ANNA)).output.model_dump()


async def structure_with_tools() -> Any:
    return (await Agent(model(), output_type=NativeOutput(Person), tools=[age]).run(q.LOOK_UP_ANNA)).output.model_dump()


async def picture() -> Any:
    seen = BinaryContent(q.PICTURE.read_bytes(), media_type="image/png")
    return (await Agent(model()).run([seen, q.SEEN])).output


async def overflow() -> Any:
    await Agent(model()).run(q.FAR)


async def cancelled() -> Any:
    async with Agent(model()).run_stream(q.COUNT) as streamed:
        async for _ in streamed.stream_text(delta=True, debounce_by=None):
            break
    return True


q.tell({"text": text, "tools": tools, "structure": structure, "structure by tool": structure_by_tool,
        "structure with tools": structure_with_tools, "picture": picture, "overflow": overflow,
        "cancelled": cancelled})  # fmt: skip
