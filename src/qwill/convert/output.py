"""Files that appear under their names when they are whole, or not at all."""

import errno
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from qwill.errors import InvalidArgument, UserError
from qwill.system.files import FileHeldOpen, remove, replace
from qwill.system.paths import fault_of_name, usable

PARTIAL = ".partial"  # behind the name of what is not whole yet


def check_free_space(path: Path, needed: int) -> None:
    """Raises UserError when the disk of `path`, which need not exist, cannot hold so many bytes more."""
    folder = next((parent for parent in path.absolute().parents if parent.exists()), None)
    if folder is None:  # on Windows
        raise UserError(f"{path}: there is no disk {path.absolute().anchor}; name another one")
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{path}: takes {needed / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB free;"
            " make room or name another disk"
        )


def check_absent(path: Path, overwrite: bool) -> None:
    """Raises InvalidArgument when something is there already that must not be overwritten."""
    if path.is_dir():
        raise InvalidArgument(f"{path}: is a folder; name a file, or remove it first")
    if path.exists() and not overwrite:
        raise InvalidArgument(f"{path}: exists; give another name, or --force to overwrite it")


class Output:
    """Files written one after the other beside their final names, and renamed together at the end.

    As a context manager: what was written is kept when the block is left in order, and removed when an error or
    Ctrl-C leaves it. `outdated` files, which stand for the same under other names, are removed when the new ones are
    in their places. Raises UserError when the disk has no room for `needed` bytes or is full later, InvalidArgument
    when a file exists and `overwrite` was not asked for.
    """

    def __init__(
        self, paths: Sequence[Path], needed: int, overwrite: bool = False, outdated: Sequence[Path] = ()
    ) -> None:
        self._paths = list(paths)
        self._outdated = list(outdated)
        for path in (*self._paths, *self._outdated):
            if fault := fault_of_name(path.name):
                raise InvalidArgument(f"{path}: {fault}; give another name")
            check_absent(path, overwrite)
        check_free_space(self._paths[0], needed)
        self._file: BinaryIO | None = None
        self._begun = 0
        self._made: list[Path] = []  # folders

    def next_file(self) -> None:
        """Begins the next of the files; the one before it is whole."""
        self._finish_file()
        path = self._paths[self._begun]
        self._begun += 1
        try:
            self._make_folder(path.parent)
            self._file = _partial(path).open("wb")
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from error

    def write(self, data: bytes | memoryview) -> None:
        """Appends to the file that was begun last."""
        assert self._file is not None
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                assert self._begun == len(self._paths), (self._begun, self._paths)
                self._finish_file()
                self._put_in_place()
                self._made = []
                for path in self._outdated:
                    _remove(path)
        finally:
            self.discard()

    def _put_in_place(self) -> None:
        """What another program keeps from its place is left beside it, for nothing is lost when it has let go."""
        for index, path in enumerate(self._paths):
            try:
                replace(_partial(path), usable(path))
            except FileHeldOpen as error:
                self._begun = 0
                kept = ", ".join(str(each) + PARTIAL for each in self._paths[index:])
                raise UserError(
                    f"{path}: a program holds it open; close that, then rename what was made to go without {PARTIAL}:"
                    f" {kept}"
                ) from error

    def _finish_file(self) -> None:
        """On the disk, not only in the system's memory: a name must never stand for less after a power cut."""
        if self._file is not None:
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                raise self._failed(error) from error
            self._file.close()
            self._file = None

    def _failed(self, error: OSError) -> UserError:
        path = self._paths[self._begun - 1]
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
            return UserError(f"{path}: the disk is full; nothing was kept, make room or name another disk")
        return UserError(f"{path}: cannot be written ({error.strerror})")

    def discard(self) -> None:
        """Removes what is not whole; does nothing once all is."""
        if self._file is not None:
            with suppress(OSError):  # a full disk makes closing fail, too
                self._file.close()
            self._file = None
        for path in self._paths[: self._begun]:
            with suppress(NotADirectoryError):  # where a file stands in a folder's place nothing was written
                _partial(path).unlink(missing_ok=True)
        for folder in reversed(self._made):
            with suppress(OSError):  # somebody else put something into it
                folder.rmdir()

    def _make_folder(self, folder: Path) -> None:
        missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        self._made += reversed(missing)


def _remove(path: Path) -> None:
    try:
        remove(usable(path))
    except OSError as error:
        raise UserError(f"{path}: is of an earlier file and cannot be removed ({error.strerror}); remove it") from error


def _partial(path: Path) -> Path:
    return usable(path.with_name(path.name + PARTIAL))
