"""This machine, with made-up files and programs."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qwill.fit import detect
from qwill.fit.disk import PIECE, read_rate


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "read_bandwidth", lambda _threads: 30e9)
    monkeypatch.setattr(detect, "integer_rate", lambda _threads, _isa: 900e9)


@pytest.mark.usefixtures("measured")
def test_a_machine_with_cards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(detect, "command", lambda words: "NVIDIA H200, 143000, 143771\n" * (words == detect.SMI))
    machine = detect.this_machine(folder=tmp_path / "not/there/yet")
    assert [gpu.name for gpu in machine.gpus] == ["H200"]
    assert machine.host is not None
    assert (machine.host.bandwidth, machine.host.rate) == (30e9, 900e9)
    assert machine.disk_free is not None
    assert machine.disk_free > 0
    assert machine.watts is None


@pytest.mark.usefixtures("measured")
def test_a_machine_without_cards_imports_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "command", lambda _words: "")
    imported = set(sys.modules)
    assert detect.this_machine().gpus == ()
    assert not any(name.partition(".")[0] == "torch" for name in set(sys.modules) - imported)


@pytest.mark.parametrize(
    "failure", [FileNotFoundError("nvidia-smi"), PermissionError("nvidia-smi"), subprocess.TimeoutExpired("x", 1)]
)
def test_a_program_that_is_not_there_prints_nothing(failure: Exception) -> None:
    def run(*_words: Any, **_options: Any) -> Any:
        raise failure

    assert detect.command(("nvidia-smi",), run) == ""


def test_a_program_that_fails_prints_nothing() -> None:
    assert detect.command((sys.executable, "-c", "print('half'); raise SystemExit(9)")) == ""
    assert detect.command((sys.executable, "-c", "print('all')")).strip() == "all"


def test_a_disk_is_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * (2 * PIECE))
    rate = read_rate(file)
    assert rate is None or rate > 1e6  # None: this file system cannot be read past its cache
    file.write_bytes(b"x")
    assert read_rate(file) is None  # too small to tell
    assert read_rate(tmp_path / "nowhere") is None
