"""How fast a file is read from its disk."""

import mmap
import os
import time
from pathlib import Path

MOST_BYTES = 256 << 20
PIECE = 4 << 20
PATIENCE = 0.5  # seconds


def read_rate(file: Path) -> float | None:
    """Bytes per second, past the system's cache; None where that cannot be done or the file is too small to tell."""
    direct = getattr(os, "O_DIRECT", None)
    if direct is None:
        return None
    try:
        opened = os.open(file, os.O_RDONLY | direct)
    except OSError:  # file systems in memory refuse it
        return None
    try:
        return _rate(opened)
    except OSError:
        return None
    finally:
        os.close(opened)


def _rate(opened: int) -> float | None:
    """Of whole pieces: what is read into must lie at a page's beginning, as an anonymous map does."""
    total, started = 0, time.perf_counter()
    with mmap.mmap(-1, PIECE) as room:
        while total < MOST_BYTES and time.perf_counter() - started < PATIENCE:
            count = os.readv(opened, [room])
            total += count
            if count < PIECE:
                break
    seconds = time.perf_counter() - started
    return total / seconds if total >= PIECE and seconds > 0 else None
