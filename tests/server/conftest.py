"""What the tests of the server share."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from qwill import LLM
from server.browser import GREEDY, browsing, visiting
from server.running import OPTIONS, Running, running


@pytest.fixture(scope="session")
def server() -> Iterator[Running]:
    """A server without keys, for tests that leave it as it was."""
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def alone() -> LLM:
    """The server's model, by itself."""
    return LLM("demo", max_context=OPTIONS["max_context"], max_sequences=1, prefix_cache=False, threads=2)


@pytest.fixture(autouse=True)
def idle(request: pytest.FixtureRequest) -> Iterator[None]:
    """The shared server has nothing left to do when a test ends, so that the next one finds none of its answers."""
    shared = request.getfixturevalue("server") if "server" in request.fixturenames else None
    yield
    if shared is not None:
        shared.keep()
        shared.until_idle()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for the tests of a file."""
    with browsing() as started:
        yield started


@pytest.fixture
def page(browser: Browser, server: Running) -> Iterator[Page]:
    """The chat page, which has found the model; its answers are greedy."""
    with visiting(browser, server.url, GREEDY) as visited:
        expect(visited.locator("#model")).to_have_value("demo")
        yield visited
