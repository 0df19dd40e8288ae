"""The button that ends the model's thinking."""

from typing import Any

from playwright.sync_api import Page, Route, expect

from qwill.engine.speculative import MOST_DRAFTS
from server.browser import SUM, answering, answers, ask, held, screenshot
from server.running import Running, until


def test_the_model_answers_at_once(page: Page, server: Running) -> None:
    button = page.get_by_role("button", name="Answer now")
    engine = server.worker.llm.engine
    requests: list[Any] = []
    with page.expect_response("**/control/answer-now") as response:
        with held(server, 6):
            ask(page, SUM)
            expect(button).to_be_visible()
            expect(answers(page)).to_be_empty()
            screenshot(page, "answer-now")
            requests += engine.scheduler.running
            length = len(requests[0].output_ids)
            button.click()
            expect(button).to_be_disabled()
            until(lambda: server.worker._orders)
        assert response.value.json()["effect"] is True
    expect(answers(page)).not_to_be_empty()
    expect(page.locator(".figures")).to_contain_text("tokens/s")
    expect(button).to_be_hidden()
    tag = server.worker.llm.tokenizer.added_tokens["</think>"]
    assert tag in requests[0].output_ids[length : length + MOST_DRAFTS + 3]  # the step that was under way comes first
    expect(page.locator("#notice")).to_be_hidden()


def test_it_is_there_only_while_the_model_thinks(page: Page, server: Running) -> None:
    button = page.get_by_role("button", name="Answer now")
    page.get_by_role("button", name="Thinking").click()
    with held(server, 6):
        ask(page, SUM)
        expect(answers(page)).not_to_be_empty()
        expect(button).to_be_hidden()
    expect(page.locator(".figures")).to_contain_text("tokens/s")
    thought = {"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]}  # from a server that names no answers
    answering(page, thought, thought, "done")
    ask(page, SUM)
    expect(answers(page).last).to_have_text("done")
    expect(button).to_be_hidden()


def test_a_refusal_is_told(page: Page, server: Running) -> None:
    def refuse(route: Route) -> None:
        route.fulfill(status=429, json={"error": {"message": "too much"}}, headers={"retry-after": "3"})

    page.route("**/control/answer-now", refuse)
    with held(server, 6):
        ask(page, SUM)
        button = page.get_by_role("button", name="Answer now")
        button.click()
        expect(page.locator("#notice")).to_contain_text("Too much. Try again in 3 s.")
        expect(button).to_be_enabled()
