"""Mistakes in the content of messages: the message names the part, says what is right, and is one for each mistake."""

import base64
import io
import random
import string
from typing import Any

import pytest
from PIL import Image

from server.anthropic_parts import PICTURE
from server.asking import send
from server.running import Running

CHAT, RESPONSES, MESSAGES, OLLAMA = "/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat"
TEXT: dict[str, Any] = {"type": "text", "text": "Hi!"}


def body(path: str, content: Any, role: str = "user") -> dict[str, Any]:
    if path == RESPONSES:
        return {"input": [{"role": role, "content": content}], "max_output_tokens": 16}
    most = {"options": {"num_predict": 1}} if path == OLLAMA else {"max_tokens": 1}
    return {"model": "demo", "messages": [{"role": role, "content": content}], **most}


def refusal(server: Running, path: str, body: Any) -> tuple[str, str | None]:
    """The message of a 400, and the field that it names."""
    answer = send("POST", server.url + path, json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    if isinstance(error, str):
        return error, None
    return error["message"], error.get("param")


CHAT_TYPES = (
    "text, input_text, output_text, refusal, thinking, reasoning, image_url, image, input_image, video_url, video,"
    " file, input_audio"
)
ADDRESS = "must be a text or an object with a url"
MISTAKES: list[tuple[Any, str, str]] = [
    (5, "", "must be a text or a list of parts"),
    ({"type": "text", "text": "x"}, "", "must be a text or a list of parts"),
    ([TEXT, "x"], ".1", f"must be an object whose type is one of {CHAT_TYPES}"),
    ([TEXT, {"type": "imgae_url", "image_url": "x"}], ".1",
     f"the types of content parts here are {CHAT_TYPES}; 'imgae_url' is none of them"),
    ([{"text": "x"}], ".0", f"the types of content parts here are {CHAT_TYPES}; this has none"),
    ([{"type": ["text"], "text": "x"}], ".0",
     f"the types of content parts here are {CHAT_TYPES}; ['text'] is none of them"),
    ([TEXT, {"type": "text"}], ".1.text", "Field required"),
    ([{"type": "text", "text": 5}], ".0.text", "Input should be a valid string"),
    ([{"type": "refusal"}], ".0.refusal", "Field required"),
    ([TEXT, {"type": "image_url"}], ".1", "a part of type image_url needs the address of an image"),
    ([{"type": "image_url", "image_url": {}}], ".0.image_url.url", "Field required"),
    ([{"type": "image_url", "image_url": {"url": 5}}], ".0.image_url.url", "Input should be a valid string"),
    ([{"type": "image_url", "image_url": 5}], ".0.image_url", ADDRESS),
    ([{"type": "image_url", "image_url": {"url": "x", "detail": "most"}}], ".0.image_url.detail",
     "Input should be 'auto', 'low', 'high' or 'original'"),
    ([{"type": "video_url", "video_url": [1]}], ".0.video_url", ADDRESS),
    ([{"type": "video"}], ".0", "a part of type video needs the address of a video"),
    ([{"type": "file"}], ".0.file", "Field required"),
    ([{"type": "file", "file": {"file_data": 5}}], ".0.file.file_data", "Input should be a valid string"),
    ([{"type": "input_audio"}], ".0.input_audio", "Field required"),
]  # fmt: skip


@pytest.mark.parametrize("role", ["user", "assistant", "tool", "system"])
@pytest.mark.parametrize("path", [CHAT, OLLAMA])
@pytest.mark.parametrize(("content", "place", "message"), MISTAKES)
def test_chats(server: Running, path: str, role: str, content: Any, place: str, message: str) -> None:
    place = f"messages.0.content{place}"
    told, param = refusal(server, path, body(path, content, role))
    assert told == f"{place}: {message}"
    assert param == (place if path == CHAT else None)


@pytest.mark.parametrize(
    ("content", "place", "message"),
    [
        (5, "", "must be a text or a list of parts"),
        ([{"type": "input_flie"}], ".0", "the types of content parts here are input_text, text, output_text, refusal,"),
        (["x"], ".0", "must be an object whose type is one of input_text, text,"),
        ([{"type": "input_image"}], ".0", "a part of type input_image needs the address of an image"),
        ([{"type": "input_text"}], ".0.text", "Field required"),
        ([{"type": "input_file", "file_data": 5}], ".0.file_data", "Input should be a valid string"),
    ],
)
def test_responses(server: Running, content: Any, place: str, message: str) -> None:
    """Also in what functions gave."""
    call = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "a", "output": content}
    for field, given in (("0.content", body(RESPONSES, content)), ("1.output", {"input": [call, output]})):
        told, param = refusal(server, RESPONSES, given)
        assert param == f"input.{field}{place}"
        assert told.startswith(f"{param}: {message}")
    assert refusal(server, RESPONSES, {"input": 5}) == ("input: must be a text or a list of items", "input")


RESULT = {"type": "tool_result", "tool_use_id": "a"}


@pytest.mark.parametrize(
    ("role", "content", "place", "message"),
    [
        ("user", 5, "", "must be a text or a list of blocks"),
        ("user", ["x"], ".0", "must be an object whose type is one of text, image, document, search_result,"),
        ("user", [TEXT, {"text": "x"}], ".1", "the types of a user's blocks here are text, image,"),
        ("user", [TEXT, {"type": "text"}], ".1.text", "Field required"),
        ("user", [{"type": "tool_use", "id": "a"}], ".0", "the types of a user's blocks here are text, image,"),
        ("assistant", [RESULT], ".0", "the types of an assistant's blocks here are text, thinking,"),
        ("assistant", [{"type": "tool_use", "id": "a"}], ".0.name", "Field required"),
        ("user", [{"type": "image"}], ".0.source", "Field required"),
        ("user", [{"type": "image", "source": {"type": "base64"}}], ".0.source.data", "Field required"),
        ("user", [{"type": "image", "source": {"type": "url"}}], ".0.source.url", "Field required"),
        ("user", [{"type": "document", "source": {"type": "text"}}], ".0.source.data", "Field required"),
        ("user", [{"type": "document", "source": {"data": "x"}}], ".0.source", "the types of sources of documents"),
        ("user", [RESULT | {"content": 5}], ".0.content", "must be a text or a list of blocks"),
        ("user", [RESULT | {"content": [TEXT, {"type": "text"}]}], ".0.content.1.text", "Field required"),
        ("user", [RESULT | {"content": [RESULT]}], ".0.content.0", "the types of a result's blocks here are text,"),
        ("system", [{"type": "image"}], ".0", "the types of a system prompt's blocks here are text;"),
    ],
)
def test_messages(server: Running, role: str, content: Any, place: str, message: str) -> None:
    for path in (MESSAGES, f"{MESSAGES}/count_tokens"):
        given = body(MESSAGES, content, role)
        if path != MESSAGES:
            del given["max_tokens"]
        told, _ = refusal(server, path, given)
        assert told.startswith(f"messages.0.content{place}: {message}")


def damaged_picture() -> str:
    memory = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(memory, "PNG")
    return base64.b64encode(memory.getvalue()[:-1000]).decode()


@pytest.mark.parametrize("damage", ["torn", "no picture", "no base64", "another's file"])
def test_broken_pictures(server: Running, damage: str) -> None:
    """They are found where they are decoded or fetched, and named by where they stood."""
    data = {
        "torn": damaged_picture(), "no picture": "AAAA", "no base64": "AAA",
        "another's file": f"x{''.join(random.choices(string.ascii_letters, k=9))}",
    }[damage]  # fmt: skip
    address = "file:///no/such/file.png" if damage == "another's file" else f"data:image/png;base64,{data}"
    good = f"data:image/png;base64,{PICTURE}"
    images = [{"type": "image_url", "image_url": {"url": url}} for url in (good, address)]
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    chat = {"messages": [*history, {"role": "tool", "tool_call_id": "a", "content": [TEXT, *images]}], "max_tokens": 1}
    told, param = refusal(server, CHAT, chat)
    assert told.startswith("messages.2.content.2: the ")
    assert param == "messages.2.content.2"
    parts = [{"type": "input_image", "image_url": url} for url in (good, address)]
    items = [{"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
             {"type": "function_call_output", "call_id": "a", "output": parts}]  # fmt: skip
    for more in (body(RESPONSES, parts), {"input": [*items, {"role": "user", "content": "?"}]}):
        told, param = refusal(server, RESPONSES, more)
        assert param == ("input.1.output.1" if len(more["input"]) == 3 else "input.0.content.1")
        assert told.startswith(f"{param}: the ")
    told, _ = refusal(server, OLLAMA, body(OLLAMA, images))
    assert told.startswith("messages.0.content.1: the ")
    if damage == "another's file":
        return
    ours = {"role": "user", "content": "?", "images": [PICTURE, data]}
    assert refusal(server, OLLAMA, {"messages": [ours]})[0].startswith("messages.0.images.1: the ")
    assert refusal(server, "/api/generate", {"prompt": "?", "images": [PICTURE, data]})[0].startswith("images.1: the ")
    sources = [{"type": "base64", "media_type": "image/png", "data": one} for one in (PICTURE, data)]
    blocks = [{"type": "image", "source": source} for source in sources]
    use = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    turns = [
        {"role": "user", "content": "?"}, {"role": "assistant", "content": [use]},
        {"role": "user", "content": [TEXT, RESULT | {"content": [TEXT, *blocks]}]},
    ]  # fmt: skip
    told, _ = refusal(server, MESSAGES, {"model": "demo", "max_tokens": 1, "messages": turns})
    assert told.startswith("messages.2.content.1.content.2: the ")


@pytest.mark.parametrize("path", [CHAT, OLLAMA])
def test_pictures_of_results_are_seen(server: Running, path: str) -> None:
    """A picture in what a call gave takes as many tokens as it does in a question."""

    def count(content: Any, role: str) -> int:
        arguments: Any = "{}" if path == CHAT else {}
        call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
        before = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
        turn = {"role": role, "content": content, **({"tool_call_id": "a"} if role == "tool" else {})}
        turns = [*before, turn] if role == "tool" else [turn]
        short = {"max_tokens": 1} if path == CHAT else {"stream": False, "options": {"num_predict": 1}}
        answer = send("POST", server.url + path, json={"messages": turns, **short}).json()
        return int(answer["usage"]["prompt_tokens"] if path == CHAT else answer["prompt_eval_count"])

    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
    in_question, in_result = (count([image], role) - count("x", role) for role in ("user", "tool"))
    assert in_question == in_result > 10


def test_a_spoken_answer_is_left_out(server: Running) -> None:
    turns = [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": None, "audio": {"id": "audio_1"}},
             {"role": "user", "content": "And?"}]  # fmt: skip
    answer = send("POST", server.url + CHAT, json={"messages": turns, "max_tokens": 1})
    assert (answer.status_code, answer.headers["x-qwill-ignored"]) == (200, "messages.audio")
