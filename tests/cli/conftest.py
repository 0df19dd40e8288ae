"""Running the command line, in this process or in one of its own, with a tiny checkpoint."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from checkpoints import save_hf, tiny_config
from fake_model import FakeLLM

import qwill.llm
from qwill.cli import main


@dataclass(frozen=True)
class Result:
    """Exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    def mistake(self) -> str:
        """The one line that the user's mistake must bring, and nothing else."""
        assert self.code == 2, self
        assert self.out == ""
        assert self.err.startswith("qwill: ")
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1
        return self.err


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in this process, with an empty cache of the hub."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))

    def run_main(*arguments: object) -> Result:
        capsys.readouterr()  # what the test itself has written so far
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run_main


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> list[FakeLLM]:
    """Stands in for every model that is loaded; the list tells them."""
    made: list[FakeLLM] = []

    def load(*arguments: str, **options: object) -> FakeLLM:
        made.append(FakeLLM(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(qwill.llm, "LLM", load)
    return made


def run_process(*arguments: object, stdin: bytes = b"", module: str = "qwill.cli", **environment: str) -> Result:
    """The command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=60,
        env=os.environ | environment,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random mixture-of-experts model with a vision tower, a draft head and a tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    save_hf(folder, tiny_config(moe=True, vision=True), tokenizer=True, mtp=True)
    return folder
