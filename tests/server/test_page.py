"""The web page in a real browser, with the embedded model behind it or with answers made up."""

import base64
import json
import re
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from qwill.server.keys import Keys
from qwill.server.page import DOCS, FILES, FOLDER, INDEX
from qwill.server.settings import Settings
from server.asking import send
from server.browser import (
    PICTURE,
    SUM,
    answering,
    answers,
    ask,
    events,
    held,
    screenshot,
    until,
    visiting,
)
from server.running import PATIENCE, Running, running

POLICY = {
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data: blob:",
    "media-src data: blob:", "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
}  # fmt: skip
COST = {
    "own": {"amount": 0.0012345, "currency": "EUR"},
    "providers": [{"provider": "Elsewhere", "model": "one", "amount": 12, "currency": "USD"}],
}
MARKUP = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b"  # none of it goes into the page as such


# Files


def test_files_come_with_strict_headers(server: Running) -> None:
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        for path in ("/", "/docs", *(f"/web/{name}" for name in FILES)):
            answer = client.get(path)
            assert answer.status_code == 200
            assert set(answer.headers["content-security-policy"].split("; ")) == POLICY
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "camera=()" in answer.headers["permissions-policy"]
            tag = answer.headers["etag"]
            for known in (tag, f'"other", W/{tag}', "*"):
                unchanged = client.get(path, headers={"if-none-match": known})
                assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", tag)
            assert client.get(path, headers={"if-none-match": '"other"'}).content == answer.content
            head = client.head(path)
            assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", tag)


def test_nothing_but_the_pages_files_is_served(server: Running) -> None:
    assert sorted([*FILES, INDEX, DOCS]) == sorted(path.name for path in FOLDER.iterdir())
    for path in ("/web/", "/web/index.html", "/web/other.js", "/web/..%2fpage.py", "/web/%2e%2e/page.py", "/web/a/b"):
        assert send("GET", server.url + path).status_code == 404


@pytest.mark.parametrize("name", [INDEX, DOCS])
def test_no_script_or_style_stands_in_the_page(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|https?://", text)
    assert len(re.findall(r"<script[^>]* src=[^>]*></script>", text)) == text.count("<script")


def test_scripts_are_loaded_at_once_and_write_no_markup() -> None:
    scripts = {name: (FOLDER / name).read_text() for name in FILES if name.endswith(".js")}
    loaded = re.findall(r'<(?:script|link)[^>]*"web/([a-z]+\.js)"', (FOLDER / INDEX).read_text())
    assert sorted(loaded) == sorted(scripts.keys() - {"docs.js"})
    for text in scripts.values():
        assert not re.search(MARKUP, text)


# Asking


def test_a_question_is_answered(page: Page) -> None:
    expect(page.locator("#model")).to_have_value("demo")
    screenshot(page, "empty")
    ask(page, SUM)
    expect(answers(page)).to_have_text("17 + 25 = 42")
    expect(page.locator(".figures")).to_contain_text("tokens/s")
    expect(page.locator("#context")).to_contain_text("of 1,024")
    thoughts = page.locator(".thinking")
    expect(thoughts.locator("div")).to_be_empty()  # folded
    thoughts.locator("summary").click()
    expect(thoughts.locator("div")).to_contain_text("7")
    expect(page).to_have_title(f"{SUM} · qwill")
    screenshot(page, "answer")
    page.get_by_role("button", name="Thinking").click()
    ask(page, "Hello!")
    expect(answers(page)).to_have_count(2)
    expect(answers(page).last).not_to_be_empty()
    expect(page.locator(".reply .thinking").last).to_be_hidden()


def test_a_picture(page: Page) -> None:
    page.locator("#files").set_input_files(PICTURE)
    expect(page.get_by_role("img", name="red_circle.png")).to_be_visible()
    ask(page, "What is in the picture?")
    expect(answers(page)).to_have_text("A red circle.")
    expect(page.locator("#attachments li")).to_have_count(0)
    screenshot(page, "picture")
    page.reload()
    until(page, "document.querySelector('.question img')?.naturalWidth > 0")
    ask(page, SUM)  # with the picture before it
    expect(answers(page)).to_have_count(2)
    expect(answers(page).last).not_to_be_empty()
    expect(page.locator(".failure:visible")).to_have_count(0)


def test_files_are_dropped_and_pasted(page: Page) -> None:
    bodies = answering(page, "Seen.")
    transfer = """([name, type, base64]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name, { type }));
        return transfer;
    }"""

    def files(name: str, kind: str) -> Any:
        return page.evaluate_handle(transfer, [name, kind, base64.b64encode(PICTURE.read_bytes()).decode()])

    page.locator("main").dispatch_event("dragover", {"dataTransfer": files("a.png", "image/png")})
    expect(page.locator("body.dropping")).to_have_count(1)
    page.locator("main").dispatch_event("drop", {"dataTransfer": files("a.png", "image/png")})
    expect(page.locator("body.dropping")).to_have_count(0)
    paste = "(area, data) => area.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true }))"
    page.locator("#question").evaluate(paste, files("b.mp4", "video/mp4"))
    page.locator("#question").evaluate(paste, files("c.png", "image/png"))
    expect(page.locator("#attachments li")).to_have_count(3)
    page.get_by_role("button", name="Remove c.png").click()
    page.locator("main").dispatch_event("drop", {"dataTransfer": files("d.pdf", "application/pdf")})
    expect(page.locator("#notice")).to_contain_text("d.pdf is neither a picture nor a video.")
    page.get_by_role("button", name="Send").click()
    expect(answers(page)).to_have_text("Seen.")
    contents = base64.b64encode(PICTURE.read_bytes()).decode()
    assert bodies[0]["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{contents}"}},
                {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{contents}"}},
            ],
        }
    ]


def test_what_is_set_is_asked_for(page: Page) -> None:
    bodies = answering(page, "Yes.", usage={"completion_tokens": 2, "total_tokens": 512, "cost": COST})
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("System prompt").fill("Be kind.")
    for label, value in {"Temperature": 0.5, "Top p": 0.9, "Top k": 7, "Most tokens": 12, "Seed": 3}.items():
        page.get_by_label(label).fill(str(value))
    page.get_by_label("Top p").fill("2")
    expect(page.locator("#top-p-error")).not_to_be_empty()
    page.get_by_role("button", name="Done").click()
    page.get_by_role("button", name="Thinking").click()
    ask(page, "Hm?")
    expect(page.locator(".figures")).to_have_text(re.compile("2 tokens · .* · here 0.00123 EUR · Elsewhere 12 USD"))
    expect(page.locator("#context")).to_contain_text("512 of 1,024")
    page.reload()
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_label("System prompt")).to_have_value("Be kind.")
    page.get_by_label("Seed").fill("")
    page.keyboard.press("Escape")
    ask(page, "Hm?")
    expect(answers(page)).to_have_text(["Yes.", "Yes."])
    first, second = bodies
    assert first == {
        "model": "demo", "stream": True, "stream_options": {"include_usage": True}, "loop_detection": True,
        "temperature": 0.5, "top_p": 0.9, "top_k": 7, "max_tokens": 12, "seed": 3,
        "chat_template_kwargs": {"enable_thinking": False},
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hm?"}],
    }  # fmt: skip
    assert "seed" not in second
    assert [message["role"] for message in second["messages"]] == ["system", "user", "assistant", "user"]


def test_an_answer_is_stopped_while_the_model_stands_still(page: Page, server: Running) -> None:
    page.get_by_role("button", name="Thinking").click()
    with held(server, 3):
        ask(page, SUM)
        expect(answers(page)).not_to_be_empty()
        expect(page.locator("#messages")).to_have_attribute("aria-busy", "true")
        page.get_by_label("Message", exact=True).fill("Nothing is blocked.\nNot even here.")
        page.keyboard.press("Control+k")
        expect(page.locator(".reply")).to_have_count(0)
        expect(page.get_by_role("img", name="is answered")).to_have_count(1)
        page.get_by_role("button", name=SUM).click()
        page.get_by_label("Message", exact=True).focus()
        screenshot(page, "streaming")
        page.keyboard.press("Escape")
        expect(page.locator(".note")).to_have_text("Stopped.")
        expect(page.get_by_role("button", name="Send")).to_be_enabled()
        expect(page.locator("#messages")).to_have_attribute("aria-busy", "false")
    server.until_idle()
    page.get_by_role("button", name="Answer again").click()
    expect(answers(page)).to_contain_text("42")
    expect(page.locator(".reply .versions")).to_contain_text("2/2")


# What goes wrong


def test_a_key_is_asked_for(browser: Browser) -> None:
    settings = Settings(keys=Keys.of(["the key"]), show_cost=True)
    with running(settings) as server, visiting(browser, server.url) as page:
        key = page.get_by_label("API key")
        expect(key).to_be_focused()
        expect(page.locator("#key-notice")).to_have_text("The server asks for an API key.")
        screenshot(page, "key")
        key.fill("clé™")
        page.keyboard.press("Enter")
        expect(page.locator("#key-notice")).to_have_text("An API key is made of ASCII letters.")
        key.fill("another")
        page.keyboard.press("Enter")
        expect(page.locator("#key-notice")).to_have_text("The server refuses this API key.")
        key.fill("the key")
        page.keyboard.press("Enter")
        expect(page.locator("#model")).to_have_value("demo")
        expect(page.locator("#notice")).to_be_hidden()
        ask(page, SUM)
        expect(answers(page)).to_contain_text("42")
        expect(page.locator(".figures")).to_contain_text("USD")
        page.reload()
        expect(page.locator("#model")).to_have_value("demo")
        assert page.evaluate("localStorage.getItem('qwill.key')") is None
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Keep the key").check()
        assert page.evaluate("localStorage.getItem('qwill.key')") == "the key"


REFUSAL = json.dumps({"error": {"message": "64 answers wait already"}})
FAILURES: dict[str, tuple[dict[str, Any], str]] = {
    "busy": (
        {"status": 429, "headers": {"retry-after": "7"}, "body": REFUSAL},
        "The server is busy: 64 answers wait already. Try again in 7 s.",
    ),
    "wrong": ({"status": 400, "body": REFUSAL}, "64 answers wait already."),
    "no JSON": ({"status": 502, "body": "<html>Bad gateway</html>"}, "The server answered with status 502."),
    "in the stream": (
        {"status": 200, "body": events("Begun", {"error": {"message": "the server failed"}})},
        "The server failed.",
    ),
    "cut off": ({"status": 200, "body": events("Begun")}, "The connection ended before the answer was complete."),
}


@pytest.mark.parametrize("name", [*FAILURES, "no server"])
def test_what_went_wrong_is_told_in_a_plain_line(page: Page, name: str) -> None:
    if name == "no server":
        page.route("**/v1/chat/completions", lambda route: route.abort())
        line = "The server cannot be reached."
    else:
        reply, line = FAILURES[name]
        page.route("**/v1/chat/completions", lambda route: route.fulfill(**reply))
    ask(page, SUM)
    expect(page.locator(".failure span")).to_have_text(line)
    begun = "Begun" if name in ("in the stream", "cut off") else ""
    expect(answers(page)).to_have_text(begun)
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    expect(answers(page)).to_have_text("17 + 25 = 42")
    expect(page.locator(".failure")).to_be_hidden()
