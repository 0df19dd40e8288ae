"""/v1/chat/completions through the official client."""

from typing import Any

import openai
import pytest

from server.running import Running


@pytest.fixture
def client(server: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def ask(client: openai.OpenAI, text: str, **more: Any) -> Any:
    return client.chat.completions.create(model="demo", messages=[{"role": "user", "content": text}], **more)


def test_a_question(client: openai.OpenAI) -> None:
    answer = ask(client, "What is 17 + 25?")
    assert answer.choices[0].message.content.endswith("42")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
