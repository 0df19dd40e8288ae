"""Prompts that do not fit, in the words by which agents know that they have to shorten their conversation."""

import base64
import io
import re
from typing import Any

import pytest
from PIL import Image

from server.asking import send
from server.dialects import CHAT, DIALECTS, LIMITS, MESSAGES, OLLAMA, RESPONSES, body_of
from server.running import OPTIONS, Running

CONTEXT = OPTIONS["max_context"]
# What Claude Code and pi read both numbers from, LangChain's Anthropic looks for at the beginning; and what LiteLLM and
# aider look for.
NUMBERS = re.compile(r"prompt is too long: (\d+) tokens > (\d+) maximum")
PHRASE = f"This model's maximum context length is {CONTEXT} tokens"
PARAMS = {CHAT: "messages", RESPONSES: "input", "/v1/completions": "prompt"}


def message_of(path: str, answer: Any) -> str:
    """The message of a refusal, whose type and code are the dialect's."""
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    if path in (OLLAMA, "/api/generate"):
        return str(error)
    if path == MESSAGES:
        assert (answer.json()["type"], error["type"]) == ("error", "invalid_request_error")
    else:
        told = error["type"], error["code"], error["param"]
        assert told == ("invalid_request_error", "context_length_exceeded", PARAMS[path])
    return str(error["message"])


def counted(server: Running, text: str) -> int:
    """Tokens of the prompt by the server's own count, which need not fit."""
    body = {"model": "demo", "messages": [{"role": "user", "content": text}]}
    return int(send("POST", f"{server.url}/v1/messages/count_tokens", json=body).json()["input_tokens"])


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("words", [1100, 1500, 40_000])
def test_a_long_text(server: Running, path: str, streamed: bool, words: int) -> None:
    text = "word " * words
    answer = send("POST", server.url + path, json=body_of(path, [text], stream=streamed))
    message = message_of(path, answer)
    found = NUMBERS.match(message)
    assert found, message
    assert PHRASE in message
    assert int(found[2]) == CONTEXT
    exact = counted(server, text)
    # Far over the limit the number is an estimate from the beginning: here the text is the same all over.
    assert int(found[1]) == pytest.approx(exact, rel=0.02)
    assert int(found[1]) > CONTEXT


@pytest.mark.parametrize("path", ["/v1/completions", "/api/generate"])
def test_a_long_text_that_is_continued(server: Running, path: str) -> None:
    body = {"prompt": "word " * 2000, "stream": False} | ({"raw": True} if path == "/api/generate" else {})
    message = message_of(path, send("POST", server.url + path, json=body))
    assert NUMBERS.match(message)
    assert PHRASE in message


def test_a_prompt_that_leaves_no_room(server: Running) -> None:
    """As many tokens as the context holds are one too many: the inequality that clients read holds then, too."""
    body = {"prompt": [1] * CONTEXT, "max_tokens": 1}
    found = NUMBERS.match(message_of("/v1/completions", send("POST", f"{server.url}/v1/completions", json=body)))
    assert found
    assert (int(found[1]), int(found[2])) == (CONTEXT, CONTEXT - 1)
    body["prompt"] = [1] * (CONTEXT - 1)
    assert send("POST", f"{server.url}/v1/completions", json=body).status_code == 200


def picture(side: int) -> str:
    """A PNG in base64."""
    file = io.BytesIO()
    Image.effect_noise((side, side), 40).convert("RGB").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize(("pictures", "words"), [(62, 1), (30, 700), (62, 10_000)])
def test_text_with_pictures(server: Running, path: str, streamed: bool, pictures: int, words: int) -> None:
    image, text = picture(64), "What? " * words
    address = f"data:image/png;base64,{image}"
    parts: dict[str, Any] = {
        CHAT: {"type": "image_url", "image_url": {"url": address}},
        RESPONSES: {"type": "input_image", "image_url": address},
        MESSAGES: {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": image}},
    }
    message: dict[str, Any] = {"role": "user", "content": text, "images": [image] * pictures}
    if path != OLLAMA:
        said = {"type": "input_text" if path == RESPONSES else "text", "text": text}
        message = {"role": "user", "content": [*[parts[path]] * pictures, said]}
    name = "input" if path == RESPONSES else "messages"
    answer = send("POST", server.url + path, json={name: [message], **LIMITS[path](1), "stream": streamed})
    told = message_of(path, answer)
    found = NUMBERS.match(told)
    assert found, told
    assert PHRASE in told
    assert int(found[1]) > int(found[2]) == CONTEXT
