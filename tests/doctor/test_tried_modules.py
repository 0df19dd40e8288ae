"""Modules that are tried in another process."""

import sys
from pathlib import Path

import pytest

from qwill.doctor.imports import Imports


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_what_can_be_imported_is_not_told_of() -> None:
    assert Imports.begin(["json", "qwill.errors"]).failures() == {}


def test_why_a_module_cannot_be_imported(modules: Path) -> None:
    (modules / "torn.py").write_text(f"raise OSError('{modules}/lib.so: no such file')")
    (modules / "loud.py").write_text("print('hello'); print('[1]')")
    (modules / "leaves.py").write_text("raise SystemExit(3)")
    told = Imports.begin(["torn", "loud", "no_such_module_at_all", "leaves"]).failures()
    assert told == {
        "torn": "OSError: lib.so: no such file",
        "no_such_module_at_all": "ModuleNotFoundError: No module named 'no_such_module_at_all'",
        "leaves": "SystemExit: 3",
    }


def test_a_module_that_ends_the_process(modules: Path) -> None:
    (modules / "ends.py").write_text("import os; os._exit(7)")
    told = Imports.begin(["json", "ends", "no_such_module_at_all"]).failures()
    assert told == {"ends": "it ends the process that imports it (code 7)"}


@pytest.mark.needs("signals")
def test_a_module_for_another_processor(modules: Path) -> None:
    (modules / "faster.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    told = Imports.begin(["faster"]).failures()
    assert told == {"faster": "it was compiled for another processor (illegal instruction)"}


def test_where_no_process_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert Imports.begin(["no_such_module_at_all"]).failures() == {}
