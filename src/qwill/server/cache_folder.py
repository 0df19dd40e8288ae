"""Where models that are unloaded leave what they have read of conversations, until they come back."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

LOCK = ".lock"


@contextmanager
def cache_folder() -> Iterator[Path]:
    """A new folder of this process, which nobody else may read, in the user's folder for such things; it is removed at
    the end. So are those of processes that were killed.
    """
    base = _base()
    for left in base.glob(f"unloaded-*{LOCK}"):
        _remove_left(left)
    with tempfile.NamedTemporaryFile(dir=base, prefix="unloaded-", suffix=LOCK) as lock:
        _take(lock)
        folder = Path(lock.name).with_suffix("")
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def most_bytes(folder: Path, wanted: int) -> int:
    """So much of it as half of the free room on the folder's disk."""
    return min(wanted, shutil.disk_usage(folder).free // 2)


def user_cache() -> Path:
    """qwill's own in the user's folder for such things; it may not be there. Raises RuntimeError without a home."""
    if sys.platform == "win32":
        caches = Path(os.environ.get("LOCALAPPDATA") or "~/AppData/Local")
    elif sys.platform == "darwin":
        caches = Path("~/Library/Caches")
    else:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return caches.expanduser() / "qwill"


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
    with suppress(OSError), lock.open("r+b") as file:
        if _take(file):
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)


def _take(file: IO[bytes]) -> bool:
    """Whether a lock could be had, which its process holds until it ends, however it ends."""
    if sys.platform == "win32":  # where nobody can tell, folders stay
        return False
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
