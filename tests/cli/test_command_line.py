"""What holds for every verb: exit codes, one-line messages, quick starts, pipes that close."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Run, run_process
from hypothesis import given
from hypothesis import strategies as st

import qwill
from qwill import cli
from qwill.cli import main
from qwill.errors import InvalidArgument, QwillError


def test_without_a_verb_the_verbs_are_shown(run: Run) -> None:
    result = run()
    assert result.code == 0
    assert all(f"  {verb}" in result.out and summary in result.out for verb, summary in cli.VERBS.items())


def test_version(run: Run) -> None:
    assert run("--version").out == f"qwill {qwill.__version__}\n"


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_of_each_verb(run: Run, verb: str) -> None:
    result = run(verb, "--help")
    assert result.code == 0
    assert result.out.startswith(f"usage: qwill {verb} ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["walk"], "'walk'"),
        (["--walk"], "VERB"),
        (["run", "--nope"], "--nope"),
        (["run", "--think=1"], "--think"),
        (["run", "--thin"], "--thin"),  # no guessing
        (["run", "-n", "0"], "0 is not at least 1"),
        (["run", "-n", "many"], "many"),
        (["run", "--fps", "nan"], "nan is not above 0"),
        (["run", "a", "b"], "b"),
        (["run", "--image"], "--image"),
        (["pull"], "MODEL"),
        (["inspect", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_in_the_arguments(run: Run, arguments: list[str], says: str) -> None:
    assert says in run(*arguments).mistake()


@given(
    st.lists(st.text(max_size=8) | st.sampled_from(["run", "inspect", "pull", "--", "-p", "\n", "--json"]), max_size=4)
)
def test_no_arguments_bring_a_traceback(arguments: list[str]) -> None:
    """Parsing alone: what a verb does with sound arguments is tested elsewhere."""
    verb = arguments[0] if arguments else ""
    parser = cli.parser_of(verb) if verb in cli.VERBS else cli.overview()
    with contextlib.suppress(InvalidArgument, SystemExit), contextlib.redirect_stdout(io.StringIO()):
        parser.parse_args(arguments[1:] if verb in cli.VERBS else arguments)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyboardInterrupt(), 130, ""),
        (PermissionError(13, "Permission denied", "/secret"), 1, "qwill: [Errno 13] Permission denied: '/secret'\n"),
        (MemoryError(), 1, "qwill: not enough memory; "),
        (QwillError("the hub\nis down"), 1, "qwill: the hub is down\n"),
    ],
)
def test_what_goes_wrong_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, says: str
) -> None:
    def fail(_arguments: object) -> None:
        raise error

    monkeypatch.setattr(cli, "execute", fail)
    result = run("run")
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith(says)
    assert result.err.count("\n") == bool(says)


def heavy_modules(statement: str) -> set[str]:
    """Which of the slow libraries a fresh process has imported after `statement`."""
    names = ["numpy", "torch", "rich", "PIL", "av", "huggingface_hub", "transformers", "jinja2", "tokenizers"]
    code = f"import sys\n{statement}\nprint(*set({names!r}) & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(output.splitlines()[-1].split())


def test_a_start_imports_only_what_it_needs() -> None:
    assert heavy_modules("import qwill.cli; qwill.cli.main([])") == set()
    assert heavy_modules("import qwill.weights.hub.cache") == set()
    assert heavy_modules("import qwill.cli.run, qwill.cli.chat, qwill.llm") <= {"numpy", "tokenizers"}


@pytest.mark.parametrize("arguments", [["--help"], ["inspect"], ["inspect", "--json"], ["run", "-n", "9", "-p", "hi"]])
def test_a_reader_that_leaves_is_told_nothing(tiny: Path, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "qwill.cli", *arguments, *([] if arguments == ["--help"] else [str(tiny)])]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert b"Traceback" not in done.stderr
    assert b"Broken" not in done.stderr


def test_main_reads_the_process_arguments(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["qwill", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("qwill ")


@pytest.mark.parametrize("module", ["qwill", "qwill.cli"])
def test_as_a_module(module: str) -> None:
    assert run_process("--version", module=module).out == f"qwill {qwill.__version__}\n"
    assert "walk" in run_process("walk", module=module).mistake()
