"""Requirements, held to what is installed."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from qwill.doctor import packages as module
from qwill.doctor.packages import NEEDED_BY, packages, suits

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]


def test_every_requirement_is_told_with_what_needs_it() -> None:
    names = [Requirement(line).name for line in PROJECT["dependencies"]]
    assert list(NEEDED_BY) == names
    told = packages({})["required"]
    assert {name: package["version"] for name, package in told.items()} == {
        name: importlib.metadata.version(name) for name in names
    }
    assert all(package["suits"] and package["error"] is None for package in told.values())


def test_what_cannot_be_imported_is_told() -> None:
    told = packages({"PIL.Image": "torn"})["required"]
    assert [name for name, package in told.items() if package["error"]] == ["pillow"]


def test_requirements_for_other_systems_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        'uvloop>=0.21; sys_platform != "win32"',
        "Some_Thing[extra] (>=1, <3)",
        'winthing; sys_platform == "win32"',
    ]
    monkeypatch.setattr(module, "requirements", lambda: lines)
    for system, names in (("win32", {"some-thing", "winthing"}), ("linux", {"some-thing", "uvloop"})):
        monkeypatch.setattr(module.sys, "platform", system)
        assert packages({})["required"].keys() == names
    assert packages({})["required"]["some-thing"]["requires"] == ">=1,<3"


numbers = st.lists(st.integers(0, 30), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
bounds = st.lists(st.tuples(st.sampled_from([">=", "<=", "<", ">", "==", "!="]), numbers).map("".join), max_size=3)


@given(numbers, bounds.map(",".join))
def test_versions_are_compared_as_pip_does(found: str, specifier: str) -> None:
    assert suits(found, specifier) == (found in SpecifierSet(specifier))


@given(st.text(max_size=12), st.text(max_size=20))
def test_strange_versions_bring_no_error(found: str, specifier: str) -> None:
    assert suits(found, specifier) in (True, False)


def test_local_versions_and_candidates() -> None:
    assert suits("2.13.0+cpu", ">=2.13")
    assert not suits("1.25.9rc1", ">=1.26")
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in NEEDED_BY)
