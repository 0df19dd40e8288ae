"""How the web page looks and is used: keys, themes, narrow screens, readers of screens."""

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from server.browser import PHONE, PICTURE, answering, answers, ask, screenshot, until, visiting
from server.running import Running

LONG = "\n\n".join([f"Paragraph {number} " + "with words " * 30 for number in range(30)])
WIDE = "```\n" + "x" * 400 + "\n```\n\n| " + " | ".join(["columns"] * 12) + " |\n" + "|---" * 12 + "|\n"
RICH = f"# One\n\n###### Six\n\nText, `code`, [link](https://example.org), $x$.\n\n> Quote\n\n- [ ] a\n\n{WIDE}"
REASONING = {"choices": [{"index": 0, "delta": {"reasoning_content": "Well, *hm*."}}]}
USAGE = {"completion_tokens": 20, "total_tokens": 900}
SETTLE = """Promise.allSettled(
    document.getAnimations().filter((one) => one.effect.getTiming().iterations === 1).map((one) => one.finished)
)"""


@pytest.fixture
def page(browser: Browser, server: Running) -> Iterator[Page]:
    with visiting(browser, server.url) as visited:
        yield visited


def check_width(page: Page) -> None:
    """Nothing is wider than the window."""
    for what in ("document.documentElement", "document.querySelector('#scroller')"):
        assert page.evaluate(f"{what}.scrollWidth <= {what}.clientWidth")


def check_accessibility(page: Page) -> None:
    """In light colours all rules; in dark ones those about colours."""
    page.evaluate(SETTLE)  # half-transparent text has half the contrast
    page.emulate_media(color_scheme="light")
    found = Axe().run(page).response["violations"]
    page.emulate_media(color_scheme="dark")
    found += Axe().run(page, options={"runOnly": ["color-contrast"]}).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious] == []


def test_keys(page: Page) -> None:
    bodies = answering(page, "Yes.")
    area = page.get_by_label("Message", exact=True)
    expect(area).to_be_focused()
    page.keyboard.type("one")
    height = area.bounding_box()
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    expect(area).to_have_value("one\ntwo")
    grown = area.bounding_box()
    assert height is not None and grown is not None and grown["height"] > height["height"]  # noqa: PT018
    page.keyboard.press("Enter")
    expect(answers(page)).to_have_text("Yes.")
    expect(area).to_have_value("")
    page.keyboard.press("Enter")  # nothing to send
    page.keyboard.press("Control+k")
    expect(page.locator(".question")).to_have_count(0)
    expect(area).to_be_focused()
    assert [body["messages"][-1]["content"] for body in bodies] == ["one\ntwo"]


def test_themes(browser: Browser, server: Running) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    with visiting(browser, server.url, color_scheme="dark") as page:
        dark = page.evaluate(background)
        answering(page, RICH)
        ask(page, "How does it look?")
        expect(answers(page).locator("h3")).to_have_text("One")
        screenshot(page, "dark")
        page.get_by_role("button", name="Theme: system").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "light")
        light = page.evaluate(background)
        page.reload()
        expect(page.get_by_role("button", name="Theme: light")).to_be_visible()
        assert page.evaluate(background) == light != dark
        screenshot(page, "light")
        page.get_by_role("button", name="Theme: light").click()
        assert page.evaluate(background) == dark


def test_the_end_is_followed_until_the_reader_goes_up(page: Page) -> None:
    answering(page, LONG)
    at_end = "area => Math.abs(area.scrollHeight - area.scrollTop - area.clientHeight) < 2"
    area = page.locator("#scroller")
    ask(page, "Much?")
    expect(answers(page)).to_contain_text("Paragraph 29")
    until(page, f"({at_end})(document.querySelector('#scroller'))")
    expect(page.get_by_role("button", name="Go to the end")).to_be_hidden()
    area.evaluate("area => area.scrollTo(0, 100)")
    page.get_by_role("button", name="Go to the end").click()
    assert area.evaluate(at_end)


def test_a_phone(browser: Browser, server: Running) -> None:
    with visiting(browser, server.url, **PHONE) as page:
        answering(page, f"{WIDE}\n{'long' * 100}\n\n$${'x' * 300}$$\n\n`{'code' * 100}`", usage=USAGE)
        check_width(page)
        screenshot(page, "phone empty")
        ask(page, "word" * 200)
        expect(answers(page).locator("table")).to_have_count(1)
        check_width(page)
        screenshot(page, "phone")
        page.get_by_role("button", name="Conversations").click()
        expect(page.locator("#history button")).to_be_visible()
        page.evaluate(SETTLE)
        check_width(page)
        screenshot(page, "phone conversations")
        page.get_by_role("button", name="Settings").click()
        check_width(page)
        screenshot(page, "phone settings")
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        expect(page.locator("#history button")).to_be_hidden()
        page.get_by_role("button", name="Conversations").click()
        page.get_by_role("button", name="New chat").click()
        expect(page.locator("#welcome")).to_be_visible()
        expect(page.locator("#history button")).to_be_hidden()


@pytest.mark.parametrize("screen", [{}, PHONE], ids=["wide", "phone"])
def test_accessibility(browser: Browser, server: Running, screen: dict[str, Any]) -> None:
    with visiting(browser, server.url, **screen) as page:
        expect(page.locator("#model")).to_have_value("demo")
        check_accessibility(page)
        answering(page, REASONING, RICH, usage=USAGE)
        page.locator("#files").set_input_files(PICTURE)
        expect(page.get_by_role("img", name="red_circle.png")).to_be_visible()
        check_accessibility(page)
        ask(page, "What?")
        expect(answers(page).locator("table")).to_have_count(1)
        page.locator(".thinking summary").click()
        page.unroute_all()
        page.route("**/v1/chat/completions", lambda route: route.abort())
        page.get_by_role("button", name="Answer again").click()
        expect(page.locator(".failure")).to_be_visible()
        check_accessibility(page)
        page.locator(".reply").get_by_role("button", name="The version before").click()
        page.get_by_role("button", name="Edit the message").click()
        check_accessibility(page)
        if screen:
            page.get_by_role("button", name="Conversations").click()
            check_accessibility(page)
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Top p").fill("2")
        check_accessibility(page)
        screenshot(page, f"settings {'phone' if screen else 'wide'}")
