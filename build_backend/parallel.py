"""How many files are compiled at once."""

import os
from pathlib import Path

# Bytes: zig takes 1.7 GB for the largest file, GCC less.
_JOB = 2_000_000_000


def jobs() -> int:
    """As many as there are processors that this process may use and files that fit into free memory, one at least."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = free_memory()
    return max(1, processors if free is None else min(processors, free // _JOB))


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes of memory that are free for this process, all there are where the system tells no more; None where it does
    not even tell that. `root`: where /proc and /sys are."""
    free = _available(root / "proc" / "meminfo")
    if free is None:
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, OSError, ValueError):
            return None
    # A container's limit, by the second version of control groups and the first.
    groups = root / "sys" / "fs" / "cgroup"
    for limit, used in (
        (groups / "memory.max", groups / "memory.current"),
        (groups / "memory" / "memory.limit_in_bytes", groups / "memory" / "memory.usage_in_bytes"),
    ):
        try:
            free = min(free, max(0, int(limit.read_text()) - int(used.read_text())))
        except (OSError, ValueError):
            continue  # No such version, or "max".
    return free


def _available(meminfo: Path) -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="utf-8").splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None
