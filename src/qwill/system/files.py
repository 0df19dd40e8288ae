"""Files that other programs may have open, and what else systems do with files in ways of their own."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

TRIES, PAUSE = 20, 0.1  # seconds between tries: virus scanners and indexers let go of a new file within two
# ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION, ERROR_USER_MAPPED_FILE
_HELD = (5, 32, 33, 1224)
_SET_SPARSE = 0x000900C4  # FSCTL_SET_SPARSE


class FileHeldOpen(PermissionError):
    """A file that a program has open or mapped, which Windows neither replaces nor removes then."""


def replace(source: Path, target: Path, rename: Callable[[Path, Path], None] = os.replace) -> None:
    """Gives a file the name of another one, which it replaces, whole or not at all.

    Where a program holds that one open, tries again for two seconds. Raises FileHeldOpen, and OSError.
    """
    _try(lambda: rename(source, target), target)


def remove(path: Path, unlink: Callable[[Path], None] = os.unlink) -> None:
    """Removes a file if it is there, with the patience of `replace`. Raises FileHeldOpen, and OSError."""
    with suppress(FileNotFoundError):
        _try(lambda: unlink(path), path)


def _try(work: Callable[[], None], path: Path) -> None:
    for left in reversed(range(TRIES)):
        try:
            return work()
        except OSError as error:
            if getattr(error, "winerror", None) not in _HELD:
                raise
            if not left:
                why = "a program holds it open; close that and try again"
                raise FileHeldOpen(error.errno, why, str(path)) from error
        time.sleep(PAUSE)
    return None


def try_lock(file: BinaryIO) -> bool:
    """Whether a lock on a file could be had, which its process holds until it ends, however it ends."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def open_to_append(path: Path) -> BinaryIO:
    """A file to whose end everything is written at once, byte for byte; a new one is its owner's alone."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    return open(os.open(path, flags, 0o600), "ab", buffering=0)


def make_sparse(file: BinaryIO) -> None:
    """Lets what is skipped in a new file take no room, as it does without being asked elsewhere. Raises OSError."""
    if sys.platform != "win32":
        return
    import ctypes
    import msvcrt
    from ctypes import wintypes

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    handle, told = wintypes.HANDLE(msvcrt.get_osfhandle(file.fileno())), wintypes.DWORD(0)
    if not kernel.DeviceIoControl(handle, _SET_SPARSE, None, 0, None, 0, ctypes.byref(told), None):
        raise ctypes.WinError(ctypes.get_last_error())
