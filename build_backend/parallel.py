"""How many files are compiled at once."""

import os

# Bytes that the compilation of the largest file takes, with the rest of the system's needs.
_JOB = 1_500_000_000


def jobs() -> int:
    """As many as there are processors that this process may use and files that fit into free memory, one at least."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = _free()
    return max(1, processors if free is None else min(processors, free // _JOB))


def _free() -> int | None:
    """Bytes of memory that are free, or all there are where the system does not say; None where it says neither."""
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":") for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
