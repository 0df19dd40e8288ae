"""What a person types and pastes at a terminal, and what is not lost by it."""

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import fake_model
import pytest
from terminal import CTRL_C, CTRL_D, UP, Terminal, terminal

from qwill.cli.chat import HOW_TO_LEAVE

ASKED = r"The conversation is not saved; {} anyway\? y, n or /save FILE: "
MARK, LEAVE_UNMARKED = "\x1b[?2004h", "\x1b[?2004l"
# The same program where readline is another library, or is not there.
_MAIN = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
LIBEDIT = f"import readline; readline.__doc__ = 'as libedit has it'; {_MAIN}"
NO_EDITOR = f"import sys; sys.modules['readline'] = None; {_MAIN}"


def pasted(text: str) -> str:
    """As terminals mark it; their Enter is a carriage return."""
    return "\x1b[200~" + text.replace("\n", "\r") + "\x1b[201~"


@pytest.fixture
def screen() -> Iterator[Terminal]:
    with terminal(fake_model.__file__, "run", "some-model", "--no-think") as screen:
        screen.expect(">>> ")
        yield screen


@pytest.fixture(params=[LIBEDIT, NO_EDITOR], ids=["libedit", "no editor"])
def elsewhere(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    """A terminal of which the program cannot have pastes marked."""
    with terminal("-c", request.param, fake_model.__file__, "run", "some-model", "--no-think") as screen:
        screen.expect(">>> ")
        assert MARK not in screen.seen
        yield screen


def test_the_terminal_is_asked_for_marks_and_left_as_it_was(screen: Terminal) -> None:
    screen.expect(MARK.replace("[", r"\[").replace("?", r"\?"))
    screen.type(CTRL_D)
    assert screen.leave() == 0
    assert screen.seen.endswith(LEAVE_UNMARKED)


@pytest.mark.parametrize("end", ["", "\n", "\n\n"], ids=["no newline", "newline", "blank line"])
def test_a_paste_is_one_message(screen: Terminal, end: str) -> None:
    screen.type(pasted(f"def f():\n    return 1\n/save nowhere\n\nthe end{end}"))
    screen.type(" of it\r" if not end else "\r")
    last = "the end of it" if not end else "the end"
    screen.expect(rf"\nu def f\(\):\n    return 1\n/save nowhere\n\n{last} \n\[3 tokens")
    screen.type("next\r")
    screen.expect(r"u\+a\+u next ")


def test_a_paste_keeps_its_indentation_and_its_backslashes(screen: Terminal) -> None:
    screen.type(pasted("  a \\\n  b\n") + "\r")
    screen.expect(r"\nu   a \\\n  b \n\[")


def test_a_pasted_command_of_one_line_is_one(screen: Terminal) -> None:
    screen.type(pasted("/think maybe") + "\r")
    screen.expect("/think takes on or off")
    screen.type(pasted("/system be\nbrief") + "\r")
    screen.type("now\r")
    screen.expect(r"s\+u now ")
    screen.type(pasted("/think on\nis a command?") + "\r")
    screen.expect(r"s\+u\+a\+u /think on\nis a command\? ")


def test_control_characters_of_a_paste_are_text(screen: Terminal) -> None:
    screen.type(pasted("a\tb\x01c\x04d\x1b[31me\x7f\n/bye") + "\r")
    # The answer's own control characters are replaced where it is shown.
    screen.expect("u a\tb\ufffdc\ufffdd\ufffd\\[31me\ufffd\n/bye \n")


def test_a_large_paste_is_whole(screen: Terminal) -> None:
    lines = [f"line {number} of a paste, longer than what a terminal holds by itself" for number in range(4_000)]
    typing = threading.Thread(target=screen.type, args=(pasted("\n".join(lines) + "\nx" + "y" * 9_000 + "z") + "\r",))
    typing.start()
    screen.expect("\nu line 0 of")
    screen.expect("xy{9000}z \n\\[3 tokens")
    typing.join()
    answer = screen.seen[screen.seen.rindex("\nu line 0 of") + 3 :]
    assert answer.split(" \n[3 tokens")[0].split("\n") == [*lines, "x" + "y" * 9_000 + "z"]


def test_what_is_pasted_while_the_model_answers_is_one_message(screen: Terminal) -> None:
    screen.type("forever\r")
    screen.expect("on on on ")
    screen.type(pasted("one\n/save two\n" + "3" * 3_000) + "\r")
    screen.expect("on on on ")
    screen.type(CTRL_C)
    stopped = screen.expect(r"\(stopped\)")
    assert "one" not in screen.seen[: stopped.start()]  # it was kept out of the answer
    screen.expect(r"u\+a\+u one\n/save two\n3{3000} \n")


@pytest.mark.parametrize("end", ["\r", ""], ids=["Enter", "no Enter"])
def test_ctrl_c_comes_through_behind_a_paste_of_more_than_a_terminal_keeps(screen: Terminal, end: str) -> None:
    screen.type("forever\r")
    screen.expect("on on on ")
    text = "one\n/save two\n" + "3" * 20_000
    typing = threading.Thread(target=screen.type, args=(pasted(text) + end,))
    typing.start()
    screen.expect("(on ){50}")
    typing.join()
    screen.type(CTRL_C)
    screen.expect(r"\(stopped\)\n>>> ")
    if not end:
        screen.type("4\r")
    screen.expect(r"u\+a\+u one\n/save two\n3{20000}" + "4" * (not end) + " \n")
    screen.type("next\r")
    screen.expect(r"u\+a\+u\+a\+u next ")


def test_what_is_typed_while_the_model_answers_is_a_message_a_line(screen: Terminal) -> None:
    screen.type("forever\r")
    screen.expect("on on on ")
    screen.type("one\ntwo\n/think maybe\nthr")
    screen.type(CTRL_C)
    screen.expect(r"u\+a\+u one ")
    screen.expect(r"u\+a\+u\+a\+u two ")
    screen.expect("/think takes on or off")
    screen.type("ee\n")
    screen.expect(r"u\+a\+u\+a\+u\+a\+u three ")


def test_lines_that_wait_belong_together(elsewhere: Terminal) -> None:
    elsewhere.type("/think off\none\n/save two\n\nthree\n")
    elsewhere.expect(r"u one\n/save two\n\nthree \n\[3 tokens")
    elsewhere.type("next\\\nline\n")
    elsewhere.expect(r"u\+a\+u next\nline ")


def test_a_terminal_that_marks_nothing_has_pastes_too(screen: Terminal) -> None:
    screen.type("one\n/save two\nthree\n")
    screen.expect(r"\nu one\n/save two\nthree \n\[3 tokens")


def test_the_unfinished_last_line_of_a_paste_waits_for_enter() -> None:
    with terminal("-c", LIBEDIT, fake_model.__file__, "run", "some-model", "--no-think") as screen:
        screen.expect(">>> ")
        screen.type("one\ntwo")
        screen.expect(r"\.\.\. .*two")
        screen.type("!\n")
        screen.expect(r"\nu one\ntwo! ")


def test_ctrl_c_clears_the_line_and_says_how_to_leave(screen: Terminal) -> None:
    screen.type("half a mess")
    screen.expect("half a mess")
    screen.type(CTRL_C)
    screen.expect(r"\n" + HOW_TO_LEAVE.replace("(", r"\(").replace(")", r"\)") + "\n>>> ")
    screen.type("whole\n")
    screen.expect("\nu whole ")
    screen.type("one\\\ntw")
    screen.expect("tw")
    screen.type(CTRL_C)
    screen.expect("leaves.*\n>>> ")
    screen.type("half")
    screen.expect("half")
    screen.type(CTRL_C)  # the second in a row, but there was something to clear
    screen.expect("leaves.*\n>>> ")
    screen.type("all\n")
    screen.expect(r"\nu\+a\+u all ")


def test_ctrl_c_twice_leaves(screen: Terminal) -> None:
    screen.type(CTRL_C)
    screen.expect("leaves.*\n>>> ")
    assert screen.leave(CTRL_C) == 130
    assert "Traceback" not in screen.seen
    assert screen.seen.endswith(LEAVE_UNMARKED)


def test_a_terminal_that_closes_ends_the_chat(screen: Terminal) -> None:
    screen.type("/think off\nforever\n")
    screen.expect("on on on ")
    assert screen.hang_up() in (-signal.SIGHUP, 1)  # whichever comes first: the signal, or an answer that nobody reads


def test_an_unsaved_conversation_is_not_left_unasked(screen: Terminal, tmp_path: Path) -> None:
    screen.type("one\n")
    screen.expect("u one ")
    screen.expect(">>> ")
    screen.type("/bye\n")
    screen.expect(ASKED.format("leave"))
    screen.type("n\n")
    screen.expect(">>> ")
    screen.type(CTRL_D)
    screen.expect(ASKED.format("leave"))
    screen.type(CTRL_C)
    screen.expect("leaves.*\n>>> ")
    screen.type(CTRL_C)
    screen.expect(ASKED.format("leave"))
    screen.type("is that so?\n")  # neither: nobody takes it for an answer
    screen.expect(ASKED.format("leave"))
    screen.type("no\n")
    screen.expect(">>> ")
    screen.type(CTRL_D)
    screen.expect(ASKED.format("leave"))
    screen.type(f"/save {tmp_path}/a file\n")
    assert screen.leave() == 0
    assert [message["content"] for message in json.loads((tmp_path / "a file").read_text())] == ["one", "u one "]


@pytest.mark.parametrize("keys", ["y\n", "YES\n", "\n", CTRL_D, "/exit\n", "what?\ny\n"])
def test_who_agrees_leaves(screen: Terminal, keys: str) -> None:
    screen.type("one\n")
    screen.expect("u one ")
    screen.expect(">>> ")
    screen.type(CTRL_D)
    screen.expect(ASKED.format("leave"))
    screen.type(keys)
    assert screen.leave() == 0


def test_a_saved_conversation_is_left_at_once(screen: Terminal, tmp_path: Path) -> None:
    screen.type("one\n")
    screen.expect("u one ")
    screen.expect(">>> ")
    screen.type(f"/save {tmp_path}/file\n")
    screen.expect("saved to")
    screen.expect(">>> ")
    screen.type("/quit\n")
    assert screen.leave() == 0


def test_clear_load_and_save_ask_before_anything_is_lost(screen: Terminal, tmp_path: Path) -> None:
    (tmp_path / "old").write_text(json.dumps([{"role": "user", "content": "old"}]))
    screen.type("one\n")
    screen.expect("u one ")
    screen.expect(">>> ")
    for command, doing in (("/clear", "clear"), (f"/load {tmp_path}/old", "load")):
        screen.type(f"{command}\n")
        screen.expect(ASKED.format(doing))
        screen.type("n\n")
        screen.expect(">>> ")
    screen.type(f"/save {tmp_path}/old\n")
    screen.expect(r"old is there already\. Write over it\? y or n: ")
    screen.type("n\n")
    screen.expect(">>> ")
    assert json.loads((tmp_path / "old").read_text())[0]["content"] == "old"
    screen.type("two\n")
    screen.expect(r"u\+a\+u two ")
    screen.expect(">>> ")
    screen.type("/clear\n")
    screen.expect(ASKED.format("clear"))
    screen.type("y\n")
    screen.expect(">>> ")
    screen.type(f"/load {tmp_path}/old\n")  # nothing to lose
    screen.expect(r"\(loaded .*\n>>> ")
    screen.type("three\n")
    screen.expect(r"u\+u three ")
    screen.expect(">>> ")
    screen.type(f"/save {tmp_path}/old\n")  # where it came from
    screen.expect(r"\(saved to .*\n>>> ")
    assert [each["content"] for each in json.loads((tmp_path / "old").read_text())] == ["old", "three", "u+u three "]


def test_earlier_messages_of_several_lines_come_back(screen: Terminal) -> None:
    screen.type(pasted("one\ntwo") + "\r")
    screen.expect("u one\ntwo ")
    screen.expect(">>> ")
    screen.type(UP + "!\r")
    screen.expect(r"u\+a\+u one\ntwo! ")
