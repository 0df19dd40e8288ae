"""Documents in all dialects: text is read, and what is none gets a note in its place and is named by the header."""

import base64
import json
import random
import string
from collections.abc import Callable
from typing import Any

import pytest

from qwill.server.documents import MOST_LETTERS, Document, as_document, words_of
from server.anthropic_parts import PICTURE
from server.asking import ABOUT_ANNA, ANNA, Person, send
from server.running import Running

HEADER = "x-qwill-ignored"
READ, TASK = ABOUT_ANNA.split("\n", 1)
PDF = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n"
NOTE = "[Document report.pdf (application/pdf) cannot be read here; its text, or images of its pages, can be.]"
Make = Callable[[str, bytes, str, str], dict[str, Any]]


def coded(contents: bytes) -> str:
    return base64.b64encode(contents).decode()


def address(media_type: str, contents: bytes) -> str:
    return f"data:{media_type};base64,{coded(contents)}"


def chat(media_type: str, contents: bytes, name: str, text: str) -> dict[str, Any]:
    document = {"type": "file", "file": {"file_data": address(media_type, contents), "filename": name}}
    return {"messages": [{"role": "user", "content": [document, {"type": "text", "text": text}]}], "max_tokens": 60}


def responses(media_type: str, contents: bytes, name: str, text: str) -> dict[str, Any]:
    document = {"type": "input_file", "file_data": address(media_type, contents), "filename": name}
    parts = [document, {"type": "input_text", "text": text}]
    return {"input": [{"role": "user", "content": parts}], "max_output_tokens": 60}


def messages(media_type: str, contents: bytes, name: str, text: str) -> dict[str, Any]:
    source = {"type": "base64", "media_type": media_type, "data": coded(contents)}
    document = {"type": "document", "source": source} | ({"title": name} if name else {})
    turn = {"role": "user", "content": [document, {"type": "text", "text": text}]}
    return {"model": "demo", "messages": [turn], "max_tokens": 60}


def ollama(media_type: str, contents: bytes, name: str, text: str) -> dict[str, Any]:
    return {"messages": chat(media_type, contents, name, text)["messages"], "options": {"num_predict": 60}}


DIALECTS: dict[str, tuple[Make, str]] = {
    "/v1/chat/completions": (chat, "messages.content.file"),
    "/v1/responses": (responses, "input.content.input_file"),
    "/v1/messages": (messages, "messages.content.document"),
    "/api/chat": (ollama, "messages.content.file"),
}
GREEDY = {"temperature": 0}
QUIET: dict[str, dict[str, Any]] = {  # without reasoning
    "/v1/chat/completions": GREEDY | {"enable_thinking": False},
    "/v1/responses": GREEDY | {"reasoning": {"effort": "none"}},
    "/v1/messages": GREEDY, "/api/chat": {"think": False, "options": GREEDY},
}  # fmt: skip


def said(path: str, answer: dict[str, Any]) -> str:
    if path == "/v1/chat/completions":
        return str(answer["choices"][0]["message"]["content"])
    if path == "/v1/responses":
        return str(answer["output"][-1]["content"][0]["text"])
    return str(answer["content"][-1]["text"] if path == "/v1/messages" else answer["message"]["content"])


def count(server: Running, path: str, body: dict[str, Any]) -> int:
    """Tokens of the prompt, by whatever the dialect has for it."""
    if path == "/v1/messages":
        body = {key: body[key] for key in ("model", "messages")}
        return int(send("POST", f"{server.url}{path}/count_tokens", json=body).json()["input_tokens"])
    if path == "/v1/responses":
        return int(
            send("POST", f"{server.url}{path}/input_tokens", json={"input": body["input"]}).json()["input_tokens"]
        )
    if path == "/api/chat":
        short = body | {"stream": False, "options": {"num_predict": 1}}
        return int(send("POST", server.url + path, json=short).json()["prompt_eval_count"])
    return int(send("POST", f"{server.url}/tokenize", json={"messages": body["messages"]}).json()["count"])


def prompt(server: Running, conversation: list[dict[str, Any]]) -> str:
    """What the model reads of a chat."""
    ids = send("POST", f"{server.url}/tokenize", json={"messages": conversation}).json()["tokens"]
    return str(send("POST", f"{server.url}/detokenize", json={"tokens": ids}).json()["prompt"])


@pytest.mark.parametrize("media_type", ["text/plain", "application/json", "application/octet-stream"])
@pytest.mark.parametrize("path", DIALECTS)
def test_a_text_is_read(server: Running, path: str, media_type: str) -> None:
    """The prompt is that of the same words without a document, and the model answers from it."""
    make, _ = DIALECTS[path]
    answer = send(
        "POST", server.url + path, json=make(media_type, READ.encode(), "", TASK) | {"stream": False} | QUIET[path]
    )
    assert answer.status_code == 200, answer.text
    assert Person.model_validate_json(said(path, answer.json())) == ANNA
    assert HEADER not in answer.headers
    name = "".join(random.choices(string.ascii_letters, k=12)) + ".txt"
    plain = make("text/plain", b" ", "", "").copy()
    for words, document in ((ABOUT_ANNA, make(media_type, READ.encode(), "", TASK)),
                            (f"{name}\n{ABOUT_ANNA}", make(media_type, READ.encode(), name, TASK))):  # fmt: skip
        key = "input" if path == "/v1/responses" else "messages"
        assert count(server, path, document) == count(server, path, plain | {key: [{"role": "user", "content": words}]})


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("path", DIALECTS)
def test_what_is_no_text_gets_a_note(server: Running, path: str, streamed: bool) -> None:
    make, name = DIALECTS[path]
    body = make("application/pdf", PDF + random.randbytes(50), "report.pdf", "And now?")
    answer = send("POST", server.url + path, json=body | {"stream": streamed} | QUIET[path])
    assert answer.status_code == 200, answer.text
    assert answer.headers[HEADER] == name
    key = "input" if path == "/v1/responses" else "messages"
    noted = body | {key: [{"role": "user", "content": f"{NOTE}\nAnd now?"}]}
    assert count(server, path, body) == count(server, path, noted)


@pytest.mark.parametrize(
    ("media_type", "contents", "text"),
    [
        ("text/plain", "grün".encode(), "grün"),
        ("text/plain", b"\xef\xbb\xbfgr\xc3\xbcn", "grün"),
        ("text/plain", "grün".encode("latin-1"), "grün"),
        ("text/csv; charset=utf-16-le", "grün".encode("utf-16-le"), "grün"),
        ("text/csv", "grün".encode("utf-16"), "grün"),
        ("text/csv; charset=Shift_JIS", "日本".encode("shift_jis"), "日本"),
        ('text/html;charset="iso-8859-2"', "żółć".encode("iso-8859-2"), "żółć"),
        ("text/plain; charset=unicode_escape", rb"a\nb", r"a\nb"),
        ("TEXT/Markdown", b"# Hi", "# Hi"),
        ("application/problem+json", b"{}", "{}"),
        ("application/x-whatever", b"plain words", "plain words"),
        ("", b"plain words", "plain words"),
        ("", "grün".encode("latin-1"), None),
        ("text/plain", b"a\0b", None),
        ("application/octet-stream", PDF, None),
        ("", b"%PDF-1.4 all of it ASCII", None),
        ("application/pdf", b"plain words", None),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", b"plain words", None),
        ("audio/wav", b"plain words", None),
    ],
)
def test_what_is_text(media_type: str, contents: bytes, text: str | None) -> None:
    assert Document(coded(contents), media_type).text == text
    if media_type:
        assert Document(address(media_type, contents)).text == text


def test_contents_may_be_written_in_other_ways() -> None:
    assert Document("data:text/plain,a%20b%C3%BC").text == "a bü"
    assert Document("data:;base64," + coded(b"abc"), "text/plain").text == "abc"
    assert Document("YW\r\nJj ZA", "text/plain").text == "abcd"  # line breaks, and no padding
    for damaged in ("!!", "YQ=a", "data:text/plain;base64", "data:text/plain," + "%41" * (1 << 20) + "%41", "ü"):
        assert Document(damaged, "text/plain").text is None
        assert "cannot be read here" in Document(damaged, "text/plain").parts()[0]["text"]


def test_random_bytes_are_never_an_error() -> None:
    for _ in range(300):
        kind = random.choice(
            ["", "text/plain", "text/x;charset=utf-32", "application/json", "x/y", "a;b;c", "image/svg+xml"]
        )
        document = Document(coded(random.randbytes(random.randrange(40))), kind, context="c")
        for part in document.parts():
            assert part["text"].encode()


def test_names_stay_on_their_line() -> None:
    (part,) = Document(name="a\n\nb" + "x" * 5000, media_type="application/pdf").parts()
    assert "\n" not in part["text"]
    assert part["text"].startswith("[Document a b")
    assert len(part["text"]) < MOST_LETTERS + 120


PARTS: list[tuple[dict[str, Any], str, str | None]] = [
    ({"type": "file", "file": {"file_id": "file-1"}}, "[Document file-1 cannot be read here; its text,", "file"),
    ({"type": "file", "file": {}}, "[Document cannot be read here; its text,", "file"),
    ({"type": "file", "file": {"file_data": coded(b"of its own"), "filename": "a.md"}}, "a.md\nof its own\n", None),
    ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "[Audio (wav) cannot", "input_audio"),
    ({"type": "image_url", "image_url": {"url": address("application/pdf", PDF)}}, "[Document (", "image_url"),
    ({"type": "image_url", "image_url": address("image/svg+xml", b"<svg/>")}, "[An image (image/svg+xml)", "image_url"),
    ({"type": "image_url", "image_url": address("text/plain", b"of its own")}, "of its own\n", None),
    ({"type": "file", "file": {"file_data": f"data:image/png;base64,{PICTURE}"}}, "<|vision_start|>", None),
]


@pytest.mark.parametrize("role", ["user", "tool"])
@pytest.mark.parametrize(("part", "shown", "name"), PARTS)
def test_parts_of_chats(server: Running, part: dict[str, Any], shown: str, name: str | None, role: str) -> None:
    """They stand on lines of their own, in what calls gave, too."""
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    before: list[Any] = [] if role == "user" else [
        {"role": "user", "content": "?"}, {"role": "assistant", "content": None, "tool_calls": [call]}
    ]  # fmt: skip
    words = {"type": "text", "text": "Before"}, {"type": "text", "text": "After"}
    conversation = [*before, {"role": role, "content": [words[0], part, words[1]], "tool_call_id": "a"}]
    text = prompt(server, conversation)
    assert f"Before\n{shown}" in text.replace("Before<|vision", "Before\n<|vision")
    assert "\nAfter" in text.replace("<|vision_end|>After", "\nAfter")
    answer = send("POST", f"{server.url}/v1/chat/completions", json={"messages": conversation, "max_tokens": 1})
    assert answer.status_code == 200, answer.text
    assert answer.headers.get(HEADER) == (f"messages.content.{name}" if name else None)


RESPONSES_PARTS: list[tuple[dict[str, Any], str]] = [
    ({"type": "input_file", "file_url": "https://example.com/a.pdf"}, "[Document https://example.com/a.pdf cannot"),
    ({"type": "input_file", "file_id": "file-1", "filename": "b.docx"}, "[Document b.docx cannot be read here;"),
    ({"type": "input_image", "file_id": "file-2"}, "[An image (file-2) cannot be seen here;"),
    ({"type": "computer_screenshot", "file_id": "file-3"}, "[An image (file-3) cannot be seen here;"),
    ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}, "[Audio (mp3) cannot be heard here;"),
]


@pytest.mark.parametrize(("part", "shown"), RESPONSES_PARTS)
def test_parts_of_responses(server: Running, part: dict[str, Any], shown: str) -> None:
    """The conversation goes on, by itself and from what is stored."""
    from qwill.server.openai.responses_items import messages_of, stored_items
    from qwill.server.openai.responses_schemas import ResponsesRequest

    items = [{"role": "user", "content": [part, {"type": "input_text", "text": "Well?"}]}]
    (message,) = messages_of(None, stored_items(ResponsesRequest.model_validate({"input": items}).input, {}))
    assert message["content"][0]["text"].startswith(shown)
    assert message["content"][0]["text"].endswith("]\n")
    answer = send("POST", f"{server.url}/v1/responses", json={"input": items, "max_output_tokens": 16})
    assert (answer.status_code, answer.headers[HEADER]) == (200, f"input.content.{part['type']}")
    stored = {"input": "And?", "previous_response_id": answer.json()["id"], "max_output_tokens": 16}
    again = {"input": [*items, *answer.json()["output"], {"role": "user", "content": "And?"}], "max_output_tokens": 16}
    for more in (stored, again):
        assert send("POST", f"{server.url}/v1/responses", json=more).status_code == 200
    call = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "a", "output": [part]}
    called = [{"role": "user", "content": "?"}, call, output]
    answer = send("POST", f"{server.url}/v1/responses", json={"input": called, "max_output_tokens": 16})
    assert (answer.status_code, answer.headers[HEADER]) == (200, f"input.output.{part['type']}")


def test_a_screenshot_is_seen(server: Running) -> None:
    part = {"type": "computer_screenshot", "image_url": f"data:image/png;base64,{PICTURE}"}
    words = {"type": "input_text", "text": "What is in the picture?"}
    body = {"input": [{"role": "user", "content": [part, words]}]} | QUIET["/v1/responses"]
    answer = send("POST", f"{server.url}/v1/responses", json=body).json()
    assert said("/v1/responses", answer) == "A red circle."


@pytest.mark.parametrize("path", DIALECTS)
def test_the_conversation_goes_on(server: Running, path: str) -> None:
    """What was sent once stands in the history of every later request."""
    make, name = DIALECTS[path]
    key = "input" if path == "/v1/responses" else "messages"
    body = make("application/pdf", PDF, "report.pdf", "And now?") | {"stream": False} | QUIET[path]
    for turn in range(3):
        answer = send("POST", server.url + path, json=body)
        assert (answer.status_code, answer.headers[HEADER]) == (200, name)
        words = said(path, answer.json())
        body[key] = [*body[key], {"role": "assistant", "content": words}, {"role": "user", "content": f"Turn {turn}"}]


def test_addresses_of_images_stay_images() -> None:
    kinds = ("image/png", "", "application/octet-stream", "image/any", "video/mp4", "nothing")
    coded_ones = [f"data:{kind};base64,AAAA" for kind in kinds]
    for image in (*coded_ones, "data:,x", "data:application/pdf", "https://example.com/a.pdf", "file:///a.pdf"):
        assert as_document(image) is None
    assert as_document("data:application/pdf;base64,JVBERi0=") is not None


def test_words_of_what_is_not_known() -> None:
    page = {"type": "document", "title": "Tale", "source": {"type": "text", "media_type": "x", "data": "Once."}}
    found = {"type": "web_fetch_result", "url": "https://example.com", "retrieved_at": "today", "content": page}
    assert words_of({"type": "x", "content": found}).splitlines() == ["https://example.com", "Tale", "Once."]
    shell = {"type": "code_execution_result", "stdout": "3\n", "stderr": "", "return_code": 0, "content": []}
    assert words_of({"type": "x", "content": shell}) == "3"
    assert words_of({"source": {"type": "base64", "data": "AAAA"}, "title": 5, "text": "\ud800", "url": None}) == "?"
    assert words_of(json.loads('{"type": "server_tool_use", "input": {"text": "hidden"}}')) == ""
