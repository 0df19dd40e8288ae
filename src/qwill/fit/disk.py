"""How fast a file is read from its disk."""

import io
import mmap
import os
import time
from pathlib import Path

from qwill.system.disk import open_past_cache

MOST_BYTES = 256 << 20
PIECE = 4 << 20
PATIENCE = 0.5  # seconds


def read_rate(file: Path) -> float | None:
    """Bytes per second, past the system's cache; None where that cannot be done or the file is too small to tell."""
    try:
        opened = open_past_cache(file)
    except OSError:
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
    with mmap.mmap(-1, PIECE) as room, io.FileIO(opened, closefd=False) as reader:
        while total < MOST_BYTES and time.perf_counter() - started < PATIENCE:
            count = reader.readinto(room)
            total += count
            if count < PIECE:
                break
    seconds = time.perf_counter() - started
    return total / seconds if total >= PIECE and seconds > 0 else None
