"""What of a conversation's history no request can be answered with, in the words by which agents leave it out."""

import base64
from pathlib import Path
from typing import Any

import pytest

from qwill.server.models import Served
from qwill.weights.hub.cache import resolve_model
from server.anthropic_parts import PICTURE
from server.asking import send
from server.dialects import CHAT, DIALECTS, LIMITS, MESSAGES, OLLAMA, RESPONSES
from server.running import OPTIONS, Running, running

WORDS = "Could not process image"  # as Claude Code looks for them


def asking(path: str, data: str) -> dict[str, Any]:
    """A question about a picture in base64."""
    address = f"data:image/png;base64,{data}"
    parts: dict[str, list[dict[str, Any]]] = {
        CHAT: [{"type": "image_url", "image_url": {"url": address}}],
        OLLAMA: [{"type": "image_url", "image_url": {"url": address}}],
        RESPONSES: [{"type": "input_image", "image_url": address}],
        MESSAGES: [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}],
    }
    return {"input" if path == RESPONSES else "messages": [{"role": "user", "content": parts[path]}], **LIMITS[path](1)}


def refusal(url: str, body: dict[str, Any]) -> str:
    answer = send("POST", url, json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    return str(error if isinstance(error, str) else error["message"])


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("damage", ["cut off", "no picture", "no base64", "nothing"])
def test_a_damaged_picture(server: Running, path: str, streamed: bool, damage: str) -> None:
    cut = base64.b64encode(base64.b64decode(PICTURE)[:60]).decode()
    data = {"cut off": cut, "no picture": "AAAA", "no base64": "AAA", "nothing": ""}[damage]
    message = refusal(server.url + path, asking(path, data) | {"stream": streamed})
    assert message.startswith("input.0.content.0: " if path == RESPONSES else "messages.0.content.0: ")
    assert WORDS in message


def test_a_model_that_sees_nothing(tmp_path: Path) -> None:
    """Where its files are is nobody's business."""
    file = tmp_path / "blind.gguf"
    file.write_bytes(resolve_model("demo").read_bytes())
    with running(served=[Served("blind", str(file), OPTIONS)]) as server:
        for path in DIALECTS:
            message = refusal(server.url + path, asking(path, PICTURE))
            assert message.startswith("blind.gguf has no vision tower; leave images and videos out")
            assert WORDS in message
            assert str(tmp_path) not in message


def test_a_damaged_signature(server: Running) -> None:
    """Claude Code sends the conversation again without its reasoning."""
    block = {"type": "thinking", "thinking": "", "signature": "qwill.x"}
    turns = [
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": [block]}, {"role": "user", "content": "?"},
    ]  # fmt: skip
    message = refusal(server.url + MESSAGES, {"model": "demo", "max_tokens": 1, "messages": turns})
    assert "signature in thinking block" in message
