"""Drives openai-agents: `openai_agents_drive.py URL KIND`, the kind being "responses" or "chat"."""

import sys
from typing import Any

import questions as q
from agents import (
    Agent,
    AgentOutputSchema,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from pydantic import BaseModel

url, kind = sys.argv[1:]
set_tracing_disabled(True)
called: list[Any] = []


class Person(BaseModel):
    name: str
    age: int


@function_tool
def weather(city: str) -> int:
    """Degrees in a city."""
    called.append(["weather", {"city": city}])
    return q.WEATHER[city]


@function_tool
def subtract(a: int, b: int) -> int:
    """a - b."""
    called.append(["subtract", {"a": a, "b": b}])
    return a - b


@function_tool(strict_mode=False)
def age(name: str) -> int:
    """How old somebody is."""
    return 31


def agent(**more: Any) -> Any:
    model = {"responses": OpenAIResponsesModel, "chat": OpenAIChatCompletionsModel}[kind]
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    return Agent(name="test", model=model(model="demo", openai_client=client), **more)


async def text() -> Any:
    streamed = Runner.run_streamed(agent(), q.GREET)
    pieces = [
        event.data.delta
        async for event in streamed.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    return {"whole": (await Runner.run(agent(), q.GREET)).final_output, "streamed": "".join(pieces)}


async def tools() -> Any:
    said = await Runner.run(agent(tools=[weather, subtract]), q.COMPARE)
    return {"called": called, "final": said.final_output}


async def structure() -> Any:
    return (await Runner.run(agent(output_type=Person), q.ABOUT_ANNA)).final_output.model_dump()


async def structure_with_tools() -> Any:
    made = agent(output_type=AgentOutputSchema(Person, strict_json_schema=False), tools=[age])
    return (await Runner.run(made, q.LOOK_UP_ANNA)).final_output.model_dump()


async def picture() -> Any:
    seen = {"type": "input_image", "image_url": f"data:image/png;base64,{q.picture()}", "detail": "auto"}
    content = [seen, {"type": "input_text", "text": q.SEEN}]
    return (await Runner.run(agent(), [{"role": "user", "content": content}])).final_output


async def overflow() -> Any:
    await Runner.run(agent(), q.FAR)


async def cancelled() -> Any:
    streamed = Runner.run_streamed(agent(), q.COUNT)
    async for event in streamed.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            streamed.cancel()
    return True


q.tell({"text": text, "tools": tools, "structure": structure, "structure with tools": structure_with_tools,
        "picture": picture, "overflow": overflow, "cancelled": cancelled})  # fmt: skip
