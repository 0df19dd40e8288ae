"""What the tests of the server share."""

from collections.abc import Iterator

import pytest

from server.running import Running, running


@pytest.fixture(scope="session")
def server() -> Iterator[Running]:
    """A server without keys, for tests that leave it as it was."""
    with running() as started:
        yield started
