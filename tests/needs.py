"""What a test needs that not every system has: `@pytest.mark.needs("links")`. Where it is missing the test is left out,
with the reason.

What is missing on Windows and macOS was found by reading the tests; nobody has run them there yet.
"""

import os
import signal
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path


def missing(need: str) -> str | None:
    """Why a need is not met here; None when it is. Raises KeyError for one that is not known."""
    met, reason = _NEEDS[need]
    return None if met() else f"there are no {reason} here"


@cache
def _links() -> bool:
    """Windows allows them to administrators and developers."""
    return _works(lambda folder: (folder / "link").symlink_to(folder / "nothing"))


@cache
def _special_files() -> bool:
    """macOS allows a socket's node to root alone."""

    def make(folder: Path) -> None:
        os.mkfifo(folder / "pipe")
        os.mknod(folder / "socket", stat.S_IFSOCK | 0o600)

    return _works(make)


def _works(make: Callable[[Path], None]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            make(Path(folder))
        except (OSError, AttributeError, NotImplementedError):
            return False
    return True


_NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "links": (_links, "symbolic links for everybody"),
    "special files": (_special_files, "pipes and sockets by name"),
    "devices": (lambda: Path("/dev/full").exists(), "devices such as /dev/full"),
    "proc": (lambda: Path("/proc/self/smaps").exists(), "files in /proc"),
    "modes": (lambda: os.name == "posix", "modes of files"),
    "scripts": (lambda: os.name == "posix", "programs that are text"),
    "signals": (lambda: hasattr(signal, "SIGKILL"), "signals that one process sends to another"),
}
