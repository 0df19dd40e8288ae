"""The progress bar while a model is loaded."""

import io
import sys

import pytest

from qwill.cli import loading
from qwill.cli.loading import LoadingBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch, patience: float) -> str:
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(loading, "PATIENCE", patience)
    monkeypatch.setenv("TERM", "xterm")
    with LoadingBar() as bar:
        for done in range(0, 5_000_001, 500_000):
            bar.update(done, 5_000_000)
    return stderr.getvalue()


def test_a_slow_load_is_shown_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    output = shown(Terminal(), monkeypatch, 0.0)
    assert "loading" in output
    assert "5.0/5.0 MB" in output
    assert "\x1b[?25h" in output  # the cursor is given back


def test_a_quick_load_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(Terminal(), monkeypatch, 60.0) == ""


def test_in_a_pipe_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(io.StringIO(), monkeypatch, 0.0) == ""
