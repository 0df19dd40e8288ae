"""The interactive chat: by lines from a pipe with a stand-in model, at a terminal, and with a real engine."""

import io
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import fake_model
import pytest
from conftest import Result, Run
from fake_model import FakeLLM
from PIL import Image
from terminal import CTRL_C, CTRL_D, UP, Terminal, terminal

import qwill.llm
from qwill import LLM, SamplingParams
from qwill.cli.chat import EXAMPLES, LEAVING, NAMES, PICTURE_EXAMPLE, REAL_MODEL, WELCOME
from qwill.cli.conversation import Conversation, user_message
from qwill.cli.printer import AnswerPrinter
from qwill.weights.naming.models import hub_model

Talk = Callable[..., Result]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a picture.png"
    Image.new("RGB", (40, 40)).save(path)
    return path


@pytest.fixture
def talk(run: Run, model: list[FakeLLM], monkeypatch: pytest.MonkeyPatch) -> Talk:
    """A chat whose lines come from a pipe."""

    def talk_to(lines: str | bytes, *options: object) -> Result:
        data = lines.encode() if isinstance(lines, str) else lines
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return run("run", "some-model", *options)

    return talk_to


def test_each_line_is_answered_with_the_history(talk: Talk) -> None:
    result = talk("one\n\ntwo\n  \nthree", "--system", "be brief")
    assert (result.code, result.err) == (0, "")
    assert result.out == "s+u one \ns+u+a+u two \ns+u+a+u+a+u three \n"


def test_the_history_has_answers_with_their_reasoning(talk: Talk, model: list[FakeLLM]) -> None:
    talk("one\ntwo\n")
    assert model[0].asked[-1] == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "u one ", "reasoning_content": "thinking about one"},
        {"role": "user", "content": "two"},
    ]


def test_a_backslash_continues_the_line(talk: Talk, model: list[FakeLLM]) -> None:
    talk("one \\\ntwo\\\n\\\nthree\nfour\\")
    assert [asked[-1]["content"] for asked in model[0].asked] == ["one \ntwo\n\nthree", "four"]


def test_think_on_and_off(talk: Talk) -> None:
    result = talk("/think off\na\n/think on\nb\n/think maybe\n", "--show-reasoning")
    assert result.out == "u a \nthinking about b\n\nu+a+u b \n"
    assert result.err == "qwill: /think takes on or off\n"
    assert talk("a\n", "--no-think", "--show-reasoning").out == "u a \n"


def test_clear_forgets_all_but_the_system_message(talk: Talk, picture: Path) -> None:
    assert talk(f"/system s\na\n/image {picture}\n/clear\nb\n").out == "s+u a \ns+u b \n"


def test_system_replaces_the_system_message(talk: Talk, model: list[FakeLLM]) -> None:
    result = talk("a\n/system first\n/system second\nb\n/system\n")
    assert [message["content"] for message in model[0].asked[-1]] == ["second", "a", "u a ", "b"]
    assert result.err == "qwill: /system needs a text\n"


def test_images_and_videos_go_with_the_next_message(talk: Talk, model: list[FakeLLM], picture: Path) -> None:
    film = picture.with_name("film.mp4")
    film.touch()
    result = talk(
        f"/image '{picture}'\n/image {str(picture).replace(' ', chr(92) + ' ')}\n/video {film}\nlook\nagain\n"
    )
    assert result.out == "u image image video look \nu+a+u again \n"
    assert model[0].asked[0][0] == user_message("look", [str(picture)] * 2, [str(film)])
    assert result.err.count("goes with your next message") == 3


def test_images_of_the_command_line_go_with_the_first_message(talk: Talk, picture: Path) -> None:
    assert talk("a\nb\n", "--image", picture).out == "u image a \nu+a+u b \n"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/image nowhere.png", "nowhere.png"),
        (f"/image {__file__}", "is not an image"),
        ("/image", "/image needs a file"),
        ("/image ~nobody-here/x.png", "nobody-here"),
        ("/video nowhere.mp4", "nowhere.mp4"),
        ("/xyz x", "/xyz is no command; /help lists them"),
        ("/sav x", "/sav is no command; did you mean /save? /help lists them"),
        ("too long", "the context holds 8"),
    ],
)
def test_a_mistake_costs_its_line_alone(talk: Talk, line: str, says: str) -> None:
    result = talk(f"one\n{line}\ntwo\n")
    assert (result.code, result.out) == (0, "u one \nu+a+u two \n")
    assert result.err.startswith("qwill: ")
    assert says in result.err
    assert result.err.count("\n") == 1


def test_broken_bytes_cost_their_line_alone(talk: Talk) -> None:
    result = talk(b"one\n\xff\ntwo\n/system \xfe\n")
    assert result.out == "u one \nu+a+u two \n"
    assert result.err == "qwill: the message is not valid UTF-8\nqwill: the system message is not valid UTF-8\n"


def test_a_path_is_no_command(talk: Talk) -> None:
    assert talk("/etc/hosts is what?\n").out == "u /etc/hosts is what? \n"


@pytest.mark.parametrize("leave", [*LEAVING, "Exit"])
def test_leaving(talk: Talk, leave: str) -> None:
    result = talk(f"one\n/{leave}\nnot said\n")
    assert (result.code, result.out, result.err) == (0, "u one \n", "")  # in a pipe nobody is asked


def test_help(talk: Talk) -> None:
    result = talk("/help\n/?\n")
    assert (result.code, result.out) == (0, "")
    assert all(result.err.count(f"/{command}") == 2 for command in NAMES if command != "help")


def test_a_pipe_writes_over_files_and_clears_unasked(talk: Talk, model: list[FakeLLM], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    talk(f"one\n/save {tmp_path}/file\ntwo\n/load {tmp_path}/file\nthree\n/clear\nfour\n")
    assert [len(asked) for asked in model[0].asked] == [1, 3, 3, 1]


def test_what_was_to_go_with_a_stopped_message_is_kept(screen: Terminal, picture: Path) -> None:
    screen.expect(">>> ")
    screen.type(f"/image {picture}\n")
    screen.expect("goes with your next message.*\n>>> ")
    screen.type("slow\n")
    screen.expect(r"\(pondering\)")
    screen.type(CTRL_C)
    screen.expect(r"taken back, what was to go with it is kept for the next one\)\n>>> ")
    screen.type("/think off\nnow\n")
    screen.expect("u image now ")


def test_a_model_without_eyes_says_so(talk: Talk, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(*arguments: str, **options: object) -> FakeLLM:
        fake = FakeLLM(*arguments, **options)
        fake.config.vision = None
        return fake

    monkeypatch.setattr(qwill.llm, "LLM", blind)
    assert "no vision tower" in talk(f"/image {picture}\n").err


@pytest.fixture
def screen() -> Terminal:
    with terminal(fake_model.__file__, "run") as screen:
        yield screen


def test_a_newcomer_is_told_what_to_do(screen: Terminal) -> None:
    shown = screen.expect(r"(?s)demonstration model.*/help[^\n]*\n>>> ")[0]
    for example in (*EXAMPLES, PICTURE_EXAMPLE, "/image FILE", "--image FILE"):
        assert example in shown
    assert f"qwill pull {REAL_MODEL}" in shown
    assert f"qwill run {REAL_MODEL}" in shown
    assert max(map(len, shown.splitlines())) <= 100
    screen.type(CTRL_D)
    assert screen.leave() == 0


def test_whoever_names_a_model_is_no_newcomer() -> None:
    with terminal(fake_model.__file__, "run", "some-model") as screen:
        screen.expect(">>> ")
        assert screen.seen.startswith(WELCOME)


def test_one_answer_comes_without_a_greeting(run: Run, model: list[FakeLLM]) -> None:
    assert run("run", "-p", "hi") == Result(0, "u hi \n", "")


def test_a_pipe_gets_no_greeting(run: Run, model: list[FakeLLM], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"hi\n")))
    assert run("run") == Result(0, "u hi \n", "")


def test_the_greeting_names_a_model_that_can_be_pulled() -> None:
    assert hub_model(REAL_MODEL).quant == "Q4_K_M"


def test_ctrl_c_stops_the_answer_and_keeps_what_was_said(screen: Terminal) -> None:
    screen.expect(">>> ")
    screen.type("forever\n")
    screen.expect("\x1b\\[2mthinking about forever\x1b\\[0m\n\non on on ")
    screen.type(CTRL_C)
    screen.expect(r"\n\(stopped\)\n>>> ")
    screen.type("again\n")
    screen.expect(r"u\+a\+u again \n\[3 tokens at 12\.3 a second; .*\]\n>>> ")
    assert screen.leave(CTRL_C) == 130  # outside an answer it leaves
    assert "Traceback" not in screen.seen


def test_earlier_lines_come_back(screen: Terminal) -> None:
    screen.expect(">>> ")
    screen.type("/think off\nfirst\n")
    screen.expect("u first ")
    screen.expect(">>> ")
    screen.type(UP + "!\n")
    screen.expect(r"u\+a\+u first! ")


def test_ctrl_c_during_a_one_shot_answer_leaves_quietly() -> None:
    with terminal(fake_model.__file__, "run", "some-model", "-p", "forever", "--no-think") as screen:
        screen.expect("on on on ")
        screen.type(CTRL_C)
        assert screen.leave() == 130
        assert "Traceback" not in screen.seen


class Impatient(io.StringIO):
    """Presses Ctrl-C at the first word."""

    def write(self, text: str) -> int:
        if text.strip():
            raise KeyboardInterrupt
        return super().write(text)


def test_an_interrupted_answer_is_cancelled_in_the_model() -> None:
    fake = FakeLLM()
    conversation = Conversation(fake, SamplingParams(), thinking=False)  # type: ignore[arg-type]
    conversation.messages = [user_message("forever")]
    streams = []
    chat = fake.chat

    def remember(*arguments: object, **options: object) -> object:
        streams.append(chat(*arguments, **options))
        return streams[-1]

    fake.chat = remember  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt), AnswerPrinter(Impatient()) as printer:
        conversation.stream(printer)
    assert streams[0].gi_frame is None  # closed, although somebody still holds it
    assert conversation.messages[1:] == [{"role": "assistant", "content": "on "}]


def test_ctrl_c_before_the_first_word_takes_the_message_back(screen: Terminal) -> None:
    screen.expect(">>> ")
    screen.type("/think off\nslow\n")
    screen.expect(r"\(pondering\)")
    screen.type(CTRL_C)
    screen.expect(r"\(stopped before the first word; your message is taken back\)\n>>> ")
    screen.type("now\n")
    screen.expect("u now ")


def test_the_engine_stands_after_an_interruption(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real Ctrl-C in the middle of a step; afterwards nothing is left over, and answers are what they were."""
    llm = LLM(str(tiny), threads=1)
    params = SamplingParams(temperature=0, max_tokens=8)
    question = [user_message("the end")]
    before = llm.chat(question, params, thinking=False).token_ids
    conversation = Conversation(llm, SamplingParams(temperature=0, ignore_eos=True), thinking=False)
    conversation.messages = list(question)
    step, steps = llm.engine.step, iter(range(100))

    def interrupted_step() -> object:
        result = step()
        if next(steps) == 5:
            signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(llm.engine, "step", interrupted_step)
    output = io.StringIO()
    with pytest.raises(KeyboardInterrupt), AnswerPrinter(output) as printer:
        conversation.stream(printer)
    assert not llm.engine.has_work
    said = conversation.messages[-1]
    assert said["role"] == "assistant"
    assert said["content"]
    assert output.getvalue().rstrip("\n") == said["content"].rstrip("\n")
    assert llm.chat(question, params, thinking=False).token_ids == before
