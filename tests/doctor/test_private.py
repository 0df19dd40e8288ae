"""What is taken out of a report."""

from typing import Any

import pytest

from qwill.doctor.private import cleaned, home_folders, private_names, without_folders

NAMES, FOLDERS = frozenset({"zebra", "okapi.example.org"}), ("/srv/people/zebra", "C:\\Users\\zebra")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/srv/people/zebra/.cache/hub", "~/.cache/hub"),
        ("C:\\Users\\zebra\\hub", "~\\hub"),
        ("6.1.0-Zebra2", "6.1.0-Zebra2"),  # no word of its own
        ("6.1.0-zebra", "6.1.0-…"),
        ("Zebra's kernel on okapi.example.org", "…'s kernel on …"),
        ("proxy at 10.20.30.40:3128", "proxy at …:3128"),
        ("fe80:0:0:0:1:2:3:4 is up", "… is up"),
        ("qwill 0.1.0, numpy 2.4.6, build 10.0.22631", "qwill 0.1.0, numpy 2.4.6, build 10.0.22631"),
    ],
)
def test_names_and_addresses(text: str, left: str) -> None:
    assert cleaned(text, NAMES, FOLDERS) == left


def test_inside_of_tables_and_lists() -> None:
    told: dict[str, Any] = {"zebra": ["zebra", {"a": "zebra", "b": 7, "c": None, "d": True}], "load": 1.5}
    assert cleaned(told, NAMES, ()) == {"zebra": ["…", {"a": "…", "b": 7, "c": None, "d": True}], "load": 1.5}


@pytest.mark.parametrize(
    ("message", "left"),
    [
        ("/a/b/_native.so: undefined symbol: x", "_native.so: undefined symbol: x"),
        ("no GLIBC_2.38 (required by /a/b c/x.so)", "no GLIBC_2.38 (required by x.so)"),
        ("/a/x and /b/y", "y"),  # for a folder's name may have blanks
        ("cannot load C:\\Users\\me\\x.pyd", "cannot load x.pyd"),
        ("two\nlines of /a/b/", "two lines of b"),
        ("1/2 of it", "1/2 of it"),
    ],
)  # fmt: skip
def test_a_loaders_message_names_files_only(message: str, left: str) -> None:
    assert without_folders(message) == left


def test_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/srv/people/quagga")
    monkeypatch.setenv("USERPROFILE", "/srv/people/quagga")
    monkeypatch.setenv("USER", "dodo")
    monkeypatch.setenv("LOGNAME", "root")
    monkeypatch.setattr("platform.node", lambda: "moa.example.org")
    assert {"quagga", "dodo", "moa", "moa.example.org"} <= private_names()
    assert "root" not in private_names()
    assert home_folders()[0] == "/srv/people/quagga"
