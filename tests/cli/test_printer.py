"""What an answer looks like at a terminal and in a pipe."""

import io
import re

import pytest
from fake_model import completion
from hypothesis import given
from hypothesis import strategies as st

from qwill.answer import StreamDelta
from qwill.cli.printer import AnswerPrinter, show_ending, speed_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(output: io.StringIO, *deltas: tuple[str, str], show_reasoning: bool = False) -> str:
    with AnswerPrinter(output, show_reasoning) as printer:
        for kind, text in deltas:
            printer.write(StreamDelta(kind, text))
        printer.write(StreamDelta("finish", completion=completion("")))
    return output.getvalue()


ANSWER = (("reasoning", "let me"), ("reasoning", " see"), ("content", "It is"), ("content", " 4."))


def test_in_a_pipe_there_is_only_the_answer() -> None:
    assert shown(io.StringIO(), *ANSWER) == "It is 4.\n"


def test_in_a_pipe_the_reasoning_comes_when_asked_for() -> None:
    assert shown(io.StringIO(), *ANSWER, show_reasoning=True) == "let me see\n\nIt is 4.\n"


def test_at_a_terminal_the_reasoning_is_dim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert shown(Terminal(), *ANSWER) == "\x1b[2mlet me see\x1b[0m\n\nIt is 4.\n"
    monkeypatch.setenv("TERM", "dumb")
    assert shown(Terminal(), *ANSWER) == "let me see\n\nIt is 4.\n"


def test_an_empty_answer_leaves_no_line() -> None:
    assert shown(io.StringIO()) == ""
    assert shown(io.StringIO(), ("reasoning", "hm")) == ""


def test_a_newline_at_the_end_is_not_doubled() -> None:
    assert shown(io.StringIO(), ("content", "a\n")) == "a\n"


def test_an_interrupted_answer_ends_dimness_and_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    output = Terminal()

    def interrupted() -> None:
        with AnswerPrinter(output) as printer:
            printer.write(StreamDelta("reasoning", "let me"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert output.getvalue() == "\x1b[2mlet me\x1b[0m\n"


class Gone(Terminal):
    """A terminal that is closed after the first piece."""

    tried = 0

    def write(self, text: str) -> int:
        self.tried += 1
        if "b" in text:
            raise BrokenPipeError
        return super().write(text)


def test_to_a_closed_pipe_nothing_more_is_written() -> None:
    output = Gone()

    def cut_off() -> None:
        with AnswerPrinter(output) as printer:
            printer.write(StreamDelta("content", "a"))
            printer.write(StreamDelta("content", "b"))

    with pytest.raises(BrokenPipeError):
        cut_off()
    assert output.tried == 2


@given(st.lists(st.text()))
def test_in_a_pipe_every_character_passes(pieces: list[str]) -> None:
    text = "".join(pieces)
    out = shown(io.StringIO(newline=""), *(("content", piece) for piece in pieces))
    assert out == text + ("" if not text or text.endswith("\n") else "\n")


@given(st.lists(st.tuples(st.sampled_from(["reasoning", "content"]), st.text())))
def test_no_answer_controls_the_terminal(deltas: list[tuple[str, str]]) -> None:
    """Of control characters only newline, tab and our own two sequences reach it, and it is left undimmed."""
    out = shown(Terminal(), *deltas)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", out.replace("\x1b[2m", "").replace("\x1b[0m", ""))
    assert out.rfind("\x1b[2m") <= out.rfind("\x1b[0m")


def test_speed_line() -> None:
    line = "[3 tokens at 12.3 a second; prompt 5 at 10; first after 0.50 s]"
    assert speed_line(completion("hi")) == line
    assert speed_line(completion("hi", finish_reason="length")) == line.replace(
        "second;", "second, stopped at the limit;"
    )


def test_an_answer_cut_off_while_reasoning_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    show_ending(completion("", "hm", finish_reason="length"))
    assert (
        capsys.readouterr().err
        == "qwill: still reasoning after 3 tokens; raise -n, or say --max-thinking N or --no-think\n"
    )
    show_ending(completion("said", "hm", finish_reason="length"))
    show_ending(completion("", ""))
    show_ending(completion("said", finish_reason="stop"))
    assert capsys.readouterr().err == ""  # not a terminal


@pytest.mark.parametrize(("reason", "says"), [("loop", "repeated itself"), ("error", "too complex")])
def test_other_endings_are_explained(capsys: pytest.CaptureFixture[str], reason: str, says: str) -> None:
    show_ending(completion("said", finish_reason=reason))
    captured = capsys.readouterr().err
    assert captured.startswith("qwill: the answer")
    assert says in captured
    assert captured.count("\n") == 1
