r"""Names that Windows does not have, long paths, and addresses of files: as text, so that every system tries them."""

import sys
import warnings
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwill.system.paths import LONGEST, fault_of_name, marked_long, path_of_address, usable

LONG = "x" * 240


@pytest.mark.parametrize(
    ("path", "marked"),
    [
        (r"C:\models\x.gguf", r"C:\models\x.gguf"),
        (rf"C:\models\{LONG}\x.gguf", rf"\\?\C:\models\{LONG}\x.gguf"),
        (rf"\\host\share\{LONG}\x.gguf", rf"\\?\UNC\host\share\{LONG}\x.gguf"),
        (rf"\\?\C:\{LONG}\x.gguf", rf"\\?\C:\{LONG}\x.gguf"),
        (rf"\\.\pipe\{LONG}", rf"\\.\pipe\{LONG}"),
    ],
)
def test_long_paths_are_marked(path: str, marked: str) -> None:
    assert marked_long(path) == marked


@given(st.lists(st.text("abc .é😀", min_size=1, max_size=40), max_size=20))
def test_a_mark_changes_no_path(names: list[str]) -> None:
    path = "C:\\" + "\\".join(names)
    marked = marked_long(path)
    assert marked.removeprefix("\\\\?\\") == path
    assert (marked != path) == (len(path) > LONGEST)
    assert marked_long(marked) == marked


def test_a_file_with_a_long_path_is_written_and_read(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["a" * 60] * 5)
    usable(folder).mkdir(parents=True)
    file = usable(folder / "x.gguf")
    file.write_bytes(b"GGUF")
    assert usable(folder / "x.gguf").read_bytes() == b"GGUF"
    file.unlink()
    for each in (folder, *folder.parents[:4]):
        usable(each).rmdir()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["con", "NUL.gguf", "aux.tar.gz", "com1.gguf", "LPT9", "com².txt", "nul .gguf", "qwen3.5:0.8b.gguf", "a?b", "x.",
     "x ", "a\tb", 'say"', "a|b", "a<b", "conin$"],
)  # fmt: skip
def test_names_that_windows_does_not_have(name: str) -> None:
    assert fault_of_name(name, windows=True)
    assert fault_of_name(name, windows=False) is None


@pytest.mark.parametrize("name", ["x.gguf", "console.gguf", "com.gguf", "com10", "nul-1", "Ünicode 😀.gguf", ".hidden"])
def test_names_that_it_has(name: str) -> None:
    assert fault_of_name(name, windows=True) is None


@given(st.text("connulaxprtm123. $²a", min_size=1, max_size=9).filter(lambda name: name == name.rstrip(". ")))
def test_devices_are_pythons_own(name: str) -> None:
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # another module has it from 3.13 on
        assert bool(fault_of_name(name, windows=True)) == PureWindowsPath(name).is_reserved()


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("/C:/models/a b.png", "C:/models/a b.png"),
        ("/c|/x.png", "c:/x.png"),
        ("///D:\\x.png", "D:\\x.png"),
        ("/C:", "C:"),
        ("C:\\x.png", "C:\\x.png"),
        ("/home/x.png", "/home/x.png"),
        ("/Cx/y.png", "/Cx/y.png"),
    ],
)
def test_addresses_of_files(address: str, path: str) -> None:
    assert path_of_address(address, windows=True) == path
    assert path_of_address(address, windows=False) == address


def test_paths_of_this_system_come_back() -> None:
    path = Path(__file__).resolve()
    behind_host = path.as_uri().removeprefix("file://")
    assert Path(path_of_address(behind_host)) == path
    assert usable(path) == path or sys.platform == "win32"
