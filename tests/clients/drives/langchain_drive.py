"""Drives LangChain: `langchain_drive.py URL KIND`, the kind being "chat", "responses", "anthropic" or "ollama"."""

import sys
from typing import Any

import questions as q
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel

url, kind = sys.argv[1:]
called: list[Any] = []


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@tool
def weather(city: str) -> int:
    """Degrees in a city."""
    called.append(["weather", {"city": city}])
    return q.WEATHER[city]


@tool
def subtract(a: int, b: int) -> int:
    """a - b."""
    called.append(["subtract", {"a": a, "b": b}])
    return a - b


@tool
def age(name: str) -> int:
    """How old somebody is."""
    return 31


def model() -> Any:
    if kind == "anthropic":
        from langchain_anthropic import ChatAnthropic

        return ChatAnthropic(model="demo", base_url=url, api_key="none", max_retries=0)
    if kind == "ollama":
        from langchain_ollama import ChatOllama

        return ChatOllama(model="demo", base_url=url)
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
        model="demo", base_url=f"{url}/v1", api_key="none", max_retries=0, use_responses_api=kind == "responses"
    )


def text() -> Any:
    pieces = [chunk.text for chunk in model().stream(q.GREET)]
    return {"whole": model().invoke(q.GREET).text, "streamed": "".join(pieces)}


def tools() -> Any:
    said = create_agent(model(), tools=[weather, subtract]).invoke({"messages": [HumanMessage(q.COMPARE)]})
    return {"called": called, "final": said["messages"][-1].text}


def structure() -> Any:
    return model().with_structured_output(Person, method="json_schema").invoke(q.ABOUT_ANNA).model_dump()


def structure_with_tools() -> Any:
    agent = create_agent(model(), tools=[age], response_format=ProviderStrategy(Person))
    return agent.invoke({"messages": [HumanMessage(q.LOOK_UP_ANNA)]})["structured_response"].model_dump()


def picture() -> Any:
    seen = {"type": "image", "base64": q.picture(), "mime_type": "image/png"}
    return model().invoke([HumanMessage(content=[seen, {"type": "text", "text": q.SEEN}])]).text


def overflow() -> Any:
    model().invoke(q.FAR)


def cancelled() -> Any:
    stream = model().stream(q.COUNT)
    for chunk in stream:
        if chunk.text:
            break
    stream.close()
    return True


q.tell({"text": text, "tools": tools, "structure": structure, "structure with tools": structure_with_tools,
        "picture": picture, "overflow": overflow, "cancelled": cancelled})  # fmt: skip
