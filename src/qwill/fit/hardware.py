"""What this machine, or the container that the process runs in, has to give: free memory and cores.

Control groups: https://docs.kernel.org/admin-guide/cgroup-v2.html and .../cgroup-v1/. A limit on any ancestor holds.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def available_memory(root: Path = ROOT) -> int:
    """Bytes that can be allocated without swapping: the kernel's estimate, within every limit of a control group.

    `root` is where /proc and /sys lie.
    """
    available = _mem_available(root)
    for folder in _control_groups(root, "memory"):
        for limit_file, usage_file, cache_key in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.high", "memory.current", "inactive_file"),  # beyond it the kernel slows down whoever asks for more
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, usage = _number(folder / limit_file), _number(folder / usage_file)
            if limit is not None and usage is not None:
                # Cached pages of files count as used but are given back on demand.
                cache = _table(folder / "memory.stat").get(cache_key, 0)
                available = min(available, max(limit - usage + cache, 0))
    return available


def installed_memory() -> int:
    """Bytes of memory that the system has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def physical_cores(root: Path = ROOT) -> int:
    """Cores that the process may keep busy, at least 1: those of its affinity, hyperthreads once, within the quota."""
    cores = _affine_cores(root)
    for folder in _control_groups(root, "cpu"):
        quota = _quota(folder)
        if quota is not None:
            cores = min(cores, int(quota))
    return max(cores, 1)


def peak_memory(root: Path = ROOT) -> int:
    """Most bytes of memory that the process has held so far."""
    table = _table(root / "proc/self/status")
    if "VmHWM:" in table:
        return table["VmHWM:"] * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # in bytes there, elsewhere in kibibytes


def _mem_available(root: Path) -> int:
    table = _table(root / "proc/meminfo")
    if "MemAvailable:" in table:
        return table["MemAvailable:"] * 1024
    return installed_memory()


def _affine_cores(root: Path) -> int:
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cores = set()
    for cpu in os.sched_getaffinity(0):
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        core = _number(topology / "core_id")
        cores.add((_number(topology / "physical_package_id"), core) if core is not None else cpu)
    return len(cores)


def _control_groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the process's control groups that rule `controller`, of both versions, from its own to the top."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux, or hidden
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controllers or "")
        if controllers and not top.is_dir():
            top = root / "sys/fs/cgroup" / controller
        # Inside a container the path may be the host's; what does not exist here is skipped.
        own = top / path.strip("/")
        for folder in (own, *own.parents):
            if folder.is_dir():
                yield folder
            if folder == top:
                break


def _quota(folder: Path) -> float | None:
    """Cores' worth of time that a control group may use."""
    version_2 = _words(folder / "cpu.max")
    if len(version_2) == 2 and version_2[0] != "max":
        return int(version_2[0]) / int(version_2[1])
    quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota / period if quota is not None and quota > 0 and period else None


def _number(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if words and words[0].lstrip("-").isdigit() else None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _table(path: Path) -> dict[str, int]:
    """Lines of a name and a whole number."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return {words[0]: int(words[1]) for words in map(str.split, lines) if len(words) > 1 and words[1].isdigit()}
