"""The page that shows what can be asked, from the server's own document."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from qwill.server.keys import Keys
from qwill.server.settings import Settings
from server.browser import PHONE, screenshot, visiting
from server.running import Running, running


def test_every_route_and_form_is_shown(browser: Browser, server: Running) -> None:
    document = server.application.api.openapi()
    routes = [f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods]
    with visiting(browser, server.url) as page:
        page.goto(f"{server.url}/docs")
        expect(page.locator("summary code").first).to_be_visible()
        shown = page.locator("summary code").all_text_contents()
        assert sorted(shown) == sorted([*routes, *document["components"]["schemas"]])
        page.get_by_text("POST /v1/chat/completions").click()
        page.get_by_role("link", name="ChatRequest").first.click()
        form = page.locator("#schema-ChatRequest")
        expect(form.get_by_text("thinking_budget")).to_be_visible()
        for field in document["components"]["schemas"]["ChatRequest"]["properties"]:
            expect(form.get_by_role("cell", name=field, exact=True)).to_have_count(1)
        serious = [
            one["id"] for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")
        ]
        assert serious == []
        screenshot(page, "docs")
    with visiting(browser, server.url, **PHONE) as page:
        page.goto(f"{server.url}/docs")
        page.get_by_text("POST /v1/responses").first.click()
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_a_key_is_asked_for(browser: Browser) -> None:
    with running(Settings(keys=Keys.of(["secret"]))) as server, visiting(browser, server.url) as page:
        page.goto(f"{server.url}/docs")
        expect(page.get_by_role("alert")).to_contain_text("a valid API key is needed")
        page.get_by_label("API key").fill("secret")
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_text("POST /v1/chat/completions")).to_be_visible()
        expect(page.get_by_role("alert")).to_be_empty()
