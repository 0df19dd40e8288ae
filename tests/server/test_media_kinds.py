"""What comes as an image or video and is something else: the client is told what it is, and what to do."""

import base64
from typing import Any

import httpx
import pytest

from server.asking import send
from server.running import Running
from server.test_sources import saved

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\0\x08mdat"
MP4 = b"\0\0\0\x18ftypisom\0\0\2\0isommp41\0\0\0\x08free"
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
CASES = [
    (HEIC, "image", "a HEIC image, which cannot be decoded here; save it as JPEG or PNG first"),
    (HEIC, "video", "a HEIC image, not a video; save it as JPEG or PNG first"),
    (PDF, "image", "a PDF document, not an image; save its pages as PNG images (pdftoppm -png), or give its text"),
    (PDF, "video", "a PDF document, not a video; save its pages as PNG images (pdftoppm -png), or give its text"),
    (MP4, "image", "an MP4 video, not an image; give it as a video"),
]


def asked(server: Running, route: str, contents: bytes, kind: str) -> httpx.Response:
    coded = base64.b64encode(contents).decode()
    address = f"data:{kind}/{'png' if kind == 'image' else 'mp4'};base64,{coded}"
    text: dict[str, Any] = {"type": "text", "text": "What is it?"}
    match route:
        case "/v1/chat/completions":
            message: dict[str, Any] = {"content": [text, {"type": f"{kind}_url", f"{kind}_url": {"url": address}}]}
        case "/v1/messages":
            source = {"type": "base64", "media_type": "image/png", "data": coded}
            message = {"content": [text, {"type": "image", "source": source}]}
        case "/api/chat":
            message = {"content": "What is it?", "images": [coded]}
        case _:
            message = {"content": [{"type": "input_text", "text": "?"}, {"type": "input_image", "image_url": address}]}
    messages = [{"role": "user", **message}]
    body = {"input" if route == "/v1/responses" else "messages": messages, "model": "demo", "stream": False}
    return send("POST", server.url + route, json=body | ({"max_tokens": 1} if route == "/v1/messages" else {}))


@pytest.mark.parametrize(("contents", "kind", "says"), CASES)
def test_what_it_is_and_what_to_do(server: Running, contents: bytes, kind: str, says: str) -> None:
    routes = ["/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/responses"]
    for route in routes if kind == "image" else routes[:1]:
        answered = asked(server, route, contents, kind)
        assert answered.status_code == 400, answered.text
        error = answered.json()["error"]
        message = error if isinstance(error, str) else error["message"]
        assert f"the {kind} is {says}" in message
        assert "\n" not in message


@pytest.mark.parametrize("form", ["WEBP", "AVIF", "PNG", "GIF"])
def test_animated_pictures_are_videos(server: Running, form: str) -> None:
    answered = asked(server, "/v1/chat/completions", saved(form, (64, 64), frames=12, duration=100), "video")
    assert answered.status_code == 200, answered.text
