"""Text in pipes, by programs that are run with them."""

import io
import os
import subprocess
import sys

import pytest

from qwill.system.streams import read_utf8, write_utf8

TEXT = "Grüße, 世界 😀\n\tend\n"


def test_a_pipe_carries_what_was_written() -> None:
    """On Windows both would go through a code page, and lines would end otherwise."""
    program = (
        "import sys\nfrom qwill.system.streams import read_utf8, write_utf8\n"
        "read_utf8(sys.stdin)\nwrite_utf8(sys.stdout)\nsys.stdout.write(sys.stdin.read())"
    )
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHONUTF8", "PYTHONIOENC"))
    }
    done = subprocess.run(
        [sys.executable, "-c", program], input=TEXT.encode(), capture_output=True, check=True, env=environment
    )
    assert done.stdout == TEXT.encode()


class Stream(io.TextIOWrapper):
    """One that says whether it is a terminal."""

    def __init__(self, contents: bytes, encoding: str, terminal: bool) -> None:
        super().__init__(io.BytesIO(contents), encoding, newline="\r\n")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faked: code pages are of Windows alone."""
    monkeypatch.setattr("qwill.system.streams.sys.platform", "win32")
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)


@pytest.mark.usefixtures("windows")
def test_pipes_of_windows_are_utf_8() -> None:
    out = Stream(b"", "cp1252", terminal=False)
    write_utf8(out)
    out.write("世界\n")
    out.flush()
    assert out.buffer.getvalue() == "世界\n".encode()  # type: ignore[attr-defined]
    into = Stream("Grüße\n".encode() + b"\xff", "cp437", terminal=False)
    read_utf8(into)
    assert into.read() == "Grüße\n\udcff"


@pytest.mark.usefixtures("windows")
def test_an_encoding_that_was_asked_for_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    out = Stream(b"", "cp1252", terminal=False)
    write_utf8(out)
    out.write("Grüße 世\n")
    out.flush()
    assert out.buffer.getvalue() == "Grüße ?\r\n".encode("cp1252")  # type: ignore[attr-defined]


@pytest.mark.parametrize("terminal", [False, True])
def test_elsewhere_the_encoding_is_the_systems(terminal: bool) -> None:
    out = Stream(b"", "latin-1", terminal)
    write_utf8(out)
    if sys.platform != "win32" or terminal:
        assert out.encoding == "latin-1"
        assert out.errors == "replace"


def test_streams_that_have_no_encoding_are_left_alone() -> None:
    write_utf8(io.StringIO())
    read_utf8(io.StringIO("x"))
