"""The web page's conversations: kept, renamed, deleted, in branches, several at a time."""

import json
from pathlib import Path

from playwright.sync_api import Page, expect

from server.browser import SUM, answering, answers, ask, held, screenshot, until
from server.running import Running

# Whether the browser's database has the beginning of an answer.
IS_KEPT = """() => new Promise((resolve) => {
    indexedDB.open("qwill").onsuccess = ({ target }) => {
        const all = target.result.transaction("trees").objectStore("trees").getAll();
        all.onsuccess = () => {
            target.result.close();
            const nodes = all.result.flatMap((tree) => Object.values(tree.nodes));
            resolve(nodes.some((node) => node.role === "assistant" && node.text));
        };
    };
})"""


def test_history(page: Page) -> None:
    expect(page.locator("#model")).to_have_value("demo")
    answering(page, "First `code`.")
    ask(page, "A question <b>of</b> mine")
    expect(answers(page)).to_have_text("First code.")
    page.get_by_role("button", name="New chat").click()
    expect(page.locator("#welcome")).to_be_visible()
    ask(page, "Another question")
    expect(answers(page)).to_have_text("First code.")
    page.reload()
    expect(page.locator(".question .text")).to_have_text("Another question")
    expect(page.locator("#history button")).to_have_text(["Another question", "A question <b>of</b> mine"])
    page.get_by_role("button", name="A question").click()
    expect(page.locator(".question .text")).to_have_text("A question <b>of</b> mine")
    page.get_by_role("button", name="This conversation").click()
    page.get_by_role("button", name="Rename").click()
    page.keyboard.type("Renamed\n")
    expect(page.locator("#history button[aria-current]")).to_have_text("Renamed")
    texts = []
    for name in ("Export as text", "Export as JSON"):
        page.get_by_role("button", name="This conversation").click()
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        assert download.value.suggested_filename.startswith("Renamed.")
        texts.append(Path(download.value.path()).read_text())
    assert texts[0] == "# Renamed\n\n## You\n\nA question <b>of</b> mine\n\n## demo\n\nFirst `code`.\n"
    assert json.loads(texts[1])["messages"][1] == {"role": "assistant", "content": "First `code`."}
    page.get_by_role("button", name="This conversation").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    screenshot(page, "delete")
    page.locator("#confirm").get_by_role("button", name="Delete").click()
    expect(page.locator("#history button")).to_have_text(["Another question"])
    page.reload()
    expect(page.locator("#history button")).to_have_text(["Another question"])
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name="Delete all").click()
    page.locator("#confirm").get_by_role("button", name="Cancel").click()
    expect(page.locator("#history button")).to_have_count(1)
    page.get_by_role("button", name="Delete all").click()
    page.locator("#confirm").get_by_role("button", name="Delete").click()
    expect(page.locator("#history button")).to_have_count(0)


def test_an_answer_that_was_left_is_kept_as_far_as_it_came(page: Page, server: Running) -> None:
    page.get_by_role("button", name="Thinking").click()
    with held(server, 3):
        ask(page, SUM)
        expect(answers(page)).not_to_be_empty()
        until(page, IS_KEPT)
        page.reload()
        expect(answers(page)).not_to_be_empty()
        expect(page.locator(".note")).to_contain_text("left before the answer was complete")


def test_an_edited_message_stands_beside_the_first_one(page: Page) -> None:
    ask(page, SUM)
    expect(answers(page)).to_have_text("17 + 25 = 42")
    page.get_by_role("button", name="Edit the message").click()
    page.get_by_label("The changed message").fill("What is 21 + 34?")
    page.keyboard.press("Enter")
    expect(answers(page)).to_have_text("21 + 34 = 55")
    expect(page.locator(".question .versions")).to_contain_text("2/2")
    screenshot(page, "versions")
    page.get_by_role("button", name="The version before").click()
    expect(answers(page)).to_have_text("17 + 25 = 42")
    page.get_by_role("button", name="Answer again").click()
    expect(page.locator(".reply .versions")).to_contain_text("2/2")
    expect(answers(page)).to_have_text("17 + 25 = 42")
    page.reload()
    expect(page.locator(".question .versions")).to_contain_text("1/2")
    page.locator(".question").get_by_role("button", name="The next version").click()
    expect(answers(page)).to_have_text("21 + 34 = 55")
    page.get_by_role("button", name="Edit the message").click()
    page.keyboard.press("Escape")
    expect(page.locator(".editor")).to_have_count(0)
    expect(page.locator(".question .text")).to_be_visible()


def test_answers_in_two_conversations_at_a_time(page: Page, server: Running) -> None:
    with held(server, 3):
        ask(page, SUM)
        page.keyboard.press("Control+k")
        ask(page, "What is 21 + 34?")
        expect(page.get_by_role("img", name="is answered")).to_have_count(2)
    expect(answers(page)).to_have_text("21 + 34 = 55")
    page.get_by_role("button", name=SUM).click()
    expect(answers(page)).to_have_text("17 + 25 = 42")
    expect(page.get_by_role("img", name="is answered")).to_have_count(0)
