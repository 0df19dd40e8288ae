"""Files that are replaced and removed while somebody has them open, locks, and what is appended.

On Windows the same tests see what that system does.
"""

import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qwill.system import files
from qwill.system.files import FileHeldOpen, make_sparse, open_to_append, remove, replace, try_lock

ON_WINDOWS = sys.platform == "win32"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PAUSE", 0.001)


def test_a_file_takes_anothers_place(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_bytes(b"new")
    old.write_bytes(b"old")
    replace(new, old)
    assert old.read_bytes() == b"new"
    assert not new.exists()
    remove(old)
    remove(old)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_held_open_is_named(tmp_path: Path) -> None:
    """Windows does not replace it; elsewhere who has it open keeps the old one."""
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_bytes(b"new")
    old.write_bytes(b"old")
    with old.open("rb") as held:
        if ON_WINDOWS:
            with pytest.raises(FileHeldOpen) as caught:
                replace(new, old)
            assert caught.value.filename == str(old)
            assert caught.value.strerror == "a program holds it open; close that and try again"
            with pytest.raises(FileHeldOpen):
                remove(old)
            assert new.read_bytes() == b"new"
        else:
            replace(new, old)
            assert old.read_bytes() == b"new"
        assert held.read() == b"old"


def test_a_mapped_file_stays_what_it_was(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_bytes(b"new")
    old.write_bytes(b"old")
    with old.open("rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    with mapped:
        if ON_WINDOWS:
            with pytest.raises(FileHeldOpen):
                replace(new, old)
        else:
            replace(new, old)
        assert mapped[:] == b"old"


class Held:
    """Does nothing but fail as Windows does, a few times. Faked, so that other systems try the patience, too."""

    def __init__(self, times: int, winerror: int) -> None:
        self.left, self.winerror, self.calls = times, winerror, 0

    def __call__(self, *_paths: Path) -> None:
        self.calls += 1
        if self.left:
            self.left -= 1
            error = PermissionError(13, "Permission denied")
            error.winerror = self.winerror
            raise error


@pytest.mark.parametrize("winerror", [5, 32, 33, 1224])
@pytest.mark.parametrize(
    "work", [lambda held: replace(Path("a"), Path("b"), held), lambda held: remove(Path("b"), held)]
)
def test_who_holds_a_file_for_a_moment_is_waited_for(work: Callable[[Held], None], winerror: int) -> None:
    held = Held(3, winerror)
    work(held)
    assert held.calls == 4
    forever = Held(10**9, winerror)
    with pytest.raises(FileHeldOpen, match="a program holds it open"):
        work(forever)
    assert forever.calls == files.TRIES


def test_other_errors_come_at_once(tmp_path: Path) -> None:
    full = Held(1, 112)  # ERROR_DISK_FULL
    with pytest.raises(PermissionError) as caught:
        replace(Path("a"), Path("b"), full)
    assert full.calls == 1
    assert not isinstance(caught.value, FileHeldOpen)
    with pytest.raises(FileNotFoundError):
        replace(tmp_path / "nowhere", tmp_path / "b")


def test_a_lock_is_one_processs(tmp_path: Path) -> None:
    """Another process does not get it while this one has the file open, and gets it afterwards."""
    path = tmp_path / "x.lock"
    path.write_bytes(b"")
    program = (
        "import sys\nfrom pathlib import Path\nfrom qwill.system.files import try_lock\n"
        "print(try_lock(Path(sys.argv[1]).open('r+b')))"
    )

    def other() -> str:
        words = [sys.executable, "-W", "ignore", "-c", program, str(path)]
        return subprocess.run(words, capture_output=True, encoding="utf-8", check=True).stdout.strip()

    with path.open("r+b") as file:
        assert try_lock(file)
        assert other() == "False"
    assert other() == "True"
    path.unlink()


def test_lines_are_appended_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    for line in (b"one\n", b"two\r\n\x1a\n"):
        with open_to_append(path) as file:
            file.write(line)
            assert path.read_bytes().endswith(line)  # at once
    assert path.read_bytes() == b"one\ntwo\r\n\x1a\n"
    if not ON_WINDOWS:
        assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_skipped_reads_as_zeros(tmp_path: Path) -> None:
    path = tmp_path / "hole"
    with path.open("wb") as file:
        make_sparse(file)
        file.write(b"head")
        file.truncate(1 << 28)
    assert path.stat().st_size == 1 << 28
    with path.open("rb") as file:
        assert file.read(8) == b"head\0\0\0\0"
        file.seek(-8, os.SEEK_END)
        assert file.read() == bytes(8)
