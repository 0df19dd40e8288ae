"""What all tests need of the process they run in."""

import signal

import pytest
from hypothesis import settings
from needs import missing

# A busy machine fails no test.
settings.register_profile("default", deadline=None)
settings.load_profile("default")

# A shell in the background has its commands ignore Ctrl-C, which some tests press.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for reason in filter(None, map(missing, mark.args)):
            pytest.skip(reason)
