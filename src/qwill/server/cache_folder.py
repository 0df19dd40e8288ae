"""Where models that are unloaded leave what they have read of conversations, until they come back."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qwill.system.files import try_lock
from qwill.system.folders import caches_folder

LOCK = ".lock"


@contextmanager
def cache_folder() -> Iterator[Path]:
    """A new folder of this process, which nobody else may read, in the user's folder for such things; it is removed at
    the end. So are those of processes that were killed.
    """
    base = _base()
    for left in base.glob(f"unloaded-*{LOCK}"):
        _remove_left(left)
    descriptor, name = tempfile.mkstemp(LOCK, "unloaded-", base)
    lock = Path(name)
    try:
        with os.fdopen(descriptor, "r+b") as file:
            try_lock(file)
            folder = lock.with_suffix("")
            folder.mkdir(mode=0o700)
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        lock.unlink(missing_ok=True)  # not before it is closed, for Windows


def most_bytes(folder: Path, wanted: int) -> int:
    """So much of it as half of the free room on the folder's disk."""
    return min(wanted, shutil.disk_usage(folder).free // 2)


def user_cache() -> Path:
    """qwill's own in the user's folder for such things; it may not be there. Raises RuntimeError without a home."""
    return caches_folder().expanduser() / "qwill"


def _base() -> Path:
    """Made if need be. Where it cannot be, that of temporary files."""
    with suppress(OSError, RuntimeError):
        base = user_cache()
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(base, os.W_OK | os.X_OK):
            return base
    return Path(tempfile.gettempdir())


def _remove_left(lock: Path) -> None:
    """Removes the folder that belongs to a lock which nobody holds any more."""
    with suppress(OSError):
        with lock.open("r+b") as file:
            if not try_lock(file):
                return
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
        lock.unlink(missing_ok=True)
