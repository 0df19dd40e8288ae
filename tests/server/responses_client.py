"""What tests of /v1/responses share: the official client, and streams read event by event."""

import json
from typing import Any

import openai
import pydantic
from openai.types import responses as types

from server.asking import streamed
from server.running import Running

SUM = "What is 17 + 25?"
EVENT: Any = pydantic.TypeAdapter(types.ResponseStreamEvent)
ENDS = ("response.completed", "response.incomplete", "response.failed")


def client_of(server: Running, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def ask(client: openai.OpenAI, given: Any, **more: Any) -> Any:
    return client.responses.create(**{"model": "demo", "input": given, "temperature": 0, **more})


def events_of(server: Running, **body: Any) -> list[dict[str, Any]]:
    """The events of a stream, each of which is one of the client's own, numbered in order."""
    body = {"temperature": 0, "stream": True, **body}
    events = []
    with streamed(f"{server.url}/v1/responses", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for block in "".join(answer.iter_text()).split("\n\n")[:-1]:
            if block.startswith(":"):
                continue
            name, data = block.split("\n")
            event = json.loads(data.removeprefix("data: "))
            assert name == f"event: {event['type']}"
            assert event["sequence_number"] == len(events)
            EVENT.validate_python(event)
            events.append(event)
    assert [event["type"] for event in events if event["type"] in ENDS] == [events[-1]["type"]]
    return events


def plain(output: list[Any]) -> list[Any]:
    """Items without what is drawn anew for each answer."""
    items = [item if isinstance(item, dict) else item.model_dump(exclude_none=True) for item in output]
    return [{key: value for key, value in item.items() if key not in ("id", "call_id")} for item in items]


def told(events: list[dict[str, Any]]) -> list[Any]:
    """The output as the deltas tell it."""
    items: dict[int, Any] = {}
    for event in events:
        match event["type"]:
            case "response.output_item.added":
                assert event["output_index"] == len(items)
                assert event["item"]["status"] == "in_progress"
                items[event["output_index"]] = event["item"]
            case "response.content_part.added":
                items[event["output_index"]]["content"].append(event["part"])
            case "response.reasoning_summary_part.added":
                items[event["output_index"]]["summary"].append(event["part"])
            case "response.reasoning_summary_text.delta":
                items[event["output_index"]]["summary"][event["summary_index"]]["text"] += event["delta"]
            case "response.output_text.delta" | "response.reasoning_text.delta":
                items[event["output_index"]]["content"][event["content_index"]]["text"] += event["delta"]
            case "response.function_call_arguments.delta":
                items[event["output_index"]]["arguments"] += event["delta"]
            case "response.custom_tool_call_input.delta":
                items[event["output_index"]]["input"] += event["delta"]
            case "response.output_item.done":
                assert event["item"]["id"] == items[event["output_index"]]["id"]
                items[event["output_index"]]["status"] = event["item"]["status"]
                assert event["item"] == items[event["output_index"]]
    return list(items.values())
