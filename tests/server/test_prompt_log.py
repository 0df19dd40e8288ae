"""What the log has of prompts and answers: all of it if the operator says so, otherwise nothing."""

import base64
import json
import logging
from pathlib import Path
from typing import Any

import openai
import pytest

from qwill.server.run import LogLine
from qwill.server.settings import Settings
from server.asking import send
from server.running import running

RED_CIRCLE = Path(__file__).parents[2] / "docs" / "red_circle.png"
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def records(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The lines of the log that tell of prompts, as they are written."""
    lines = [LogLine().format(record) for record in caplog.records if record.name == "qwill.server"]
    return [line for line in map(json.loads, lines) if "prompt" in line]


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "qwill.server")


def test_prompts_and_answers(caplog: pytest.LogCaptureFixture) -> None:
    with running(Settings(log_prompts=True)) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        address = f"data:image/png;base64,{base64.b64encode(RED_CIRCLE.read_bytes()).decode()}"
        picture = {"type": "image_url", "image_url": {"url": address}}
        question = {"type": "text", "text": "What is in the picture?"}
        body = {"messages": [{"role": "user", "content": [picture, question]}], "n": 2}
        answer = send("POST",
            f"{server.url}/v1/chat/completions", content=json.dumps(body), headers={"x-request-id": "the-first"},
        ).json()  # fmt: skip
        tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
        messages: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
        called = client.chat.completions.create(model="demo", messages=messages, tools=[tool])
        text = client.completions.create(model="demo", prompt=["17 + 25 =", "A"], max_tokens=3)
        assert send("POST", f"{server.url}/v1/chat/completions", json={"messages": []}).status_code == 400
    first, second, third = records(caplog)
    assert first["request_id"] == "the-first"
    assert (first["key"], first["model"], first["level"]) == ("anybody", "demo", "info")
    size = RED_CIRCLE.stat().st_size
    assert first["prompt"] == [{"role": "user", "content": [{"type": "image", "bytes": size}, question]}]
    assert [one["text"] for one in first["answer"]] == [one["message"]["content"] for one in answer["choices"]]
    assert first["tokens"]["prompt_tokens"] == answer["usage"]["prompt_tokens"]
    assert first["tokens"]["image_tokens"] == answer["usage"]["prompt_tokens_details"]["image_tokens"]
    call = called.choices[0].message.tool_calls[0].function
    assert second["answer"][0]["tool_calls"] == [{"name": call.name, "arguments": json.loads(call.arguments)}]
    assert second["answer"][0]["finish_reason"] == "tool_calls"
    assert third["prompt"] == ["17 + 25 =", "A"]
    assert [one["text"] for one in third["answer"]] == [one.text for one in text.choices]


def test_nothing_unless_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    body = {"messages": [{"role": "user", "content": "Tell nobody of 17 + 25."}], "user": "somebody"}
    with running() as server:  # the line of a request is written after its answer is sent, and before the server ends
        answer = send("POST", f"{server.url}/v1/chat/completions", json=body).json()
    assert answer["choices"][0]["message"]["content"]
    assert records(caplog) == []
    written = "".join(LogLine().format(record) for record in caplog.records)
    assert "/v1/chat/completions" in written
    assert "nobody" not in written
    assert answer["choices"][0]["message"]["content"] not in written
