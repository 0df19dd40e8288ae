"""Chromium for the tests of the web page. It is Debian's: `scripts/chromium` installs it."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect, sync_playwright

from server.running import Running

PROJECT = Path(__file__).parents[2]
SCREENSHOTS = PROJECT / "build" / "screenshots"
PICTURE = PROJECT / "docs" / "red_circle.png"
SUM = "What is 17 + 25?"
GREEDY = {"temperature": 0}
PATIENCE = 30_000  # milliseconds for what the model or a busy machine takes time for
WATCH = """
    window.violations = [];
    addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
"""
KEEP = "localStorage.getItem('qwill.settings') ?? localStorage.setItem('qwill.settings', JSON.stringify(%s))"
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}

expect.set_options(timeout=PATIENCE)


def _executable() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is not None:
        return found
    message = "no chromium is here to test the web page in; scripts/chromium installs it"
    if os.environ.get("CI") or os.environ.get("QWILL_REQUIRE_BROWSER"):
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser. While it is open, its driver's event loop occupies this thread: `asyncio.run` is for afterwards."""
    executable = _executable()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable)
        yield browser
        browser.close()


@contextmanager
def visiting(browser: Browser, url: str, kept: dict[str, Any] | None = None, **options: Any) -> Iterator[Page]:
    """The page as a new visitor sees it, without history; `kept` are settings that the browser remembers.

    At the end nothing may have violated the content security policy, raised an error, opened a dialog, or asked for
    anything elsewhere.
    """
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    context.add_init_script(WATCH)
    if kept is not None:
        context.add_init_script(KEEP % json.dumps(kept))
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None)
    page.on("request", lambda sent: None if sent.url.startswith((url, "data:", "blob:")) else problems.append(sent.url))
    try:
        page.goto(url)
        yield page
        assert page.evaluate("violations") == []
        assert problems == []
    finally:
        context.close()


def events(*chunks: Any) -> str:
    """An event stream with these chunks of a completion; texts become answers' deltas."""
    lines = []
    for chunk in chunks:
        data = {"choices": [{"index": 0, "delta": {"content": chunk}}]} if isinstance(chunk, str) else chunk
        lines.append(f"data: {json.dumps(data)}\n\n")
    return "".join(lines)


def answering(page: Page, *chunks: Any, usage: dict[str, Any] | None = None) -> list[Any]:
    """Has each chat request answered with these chunks instead of a model. Returns the list of bodies to come."""
    bodies: list[Any] = []
    last = [{"choices": [], "usage": usage}] if usage is not None else []

    def answer(route: Route) -> None:
        bodies.append(route.request.post_data_json)
        route.fulfill(content_type="text/event-stream", body=events(*chunks, *last) + "data: [DONE]\n\n")

    page.route("**/v1/chat/completions", answer)
    return bodies


def ask(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def answers(page: Page) -> Locator:
    return page.locator(".reply .markdown")


def until(page: Page, expression: str) -> None:
    """Waits for what an expression in the page, or the promise that it is, says to be true. `wait_for_function` cannot:
    the page's policy forbids it.
    """
    for _ in range(PATIENCE // 20):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"this never came true: {expression}")


@contextmanager
def held(server: Running, steps: int) -> Iterator[None]:
    """The engine stands still after so many steps, for as long as this lasts."""
    engine = server.worker.llm.engine
    step, left, go_on = engine.step, iter(range(steps)), threading.Event()

    def slow() -> Any:
        if next(left, None) is None:
            go_on.wait()
        return step()

    engine.step = slow
    try:
        yield
    finally:
        engine.step = step
        go_on.set()


def screenshot(page: Page, name: str) -> None:
    """An artefact to look at; nothing compares it."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
