"""What Linux tells in /proc and /sys, control groups among it.

Control groups: https://docs.kernel.org/admin-guide/cgroup-v2.html and .../cgroup-v1/. A limit on any ancestor holds.
"""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def control_groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the process's control groups that rule `controller`, of both versions, from its own to the top."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8", "replace").splitlines()
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


def quota(folder: Path) -> float | None:
    """Cores' worth of time that a control group may use."""
    version_2 = words(folder / "cpu.max")
    if len(version_2) == 2 and version_2[0] != "max":
        return int(version_2[0]) / int(version_2[1])
    allowed, period = number(folder / "cpu.cfs_quota_us"), number(folder / "cpu.cfs_period_us")
    return allowed / period if allowed is not None and allowed > 0 and period else None


def number(path: Path) -> int | None:
    """The whole number that a file begins with."""
    found = words(path)
    return int(found[0]) if found and found[0].lstrip("-").isdigit() else None


def words(path: Path) -> list[str]:
    """The words of a file; none where it cannot be read."""
    try:
        return path.read_text("utf-8", "replace").split()
    except OSError:
        return []


def table(path: Path) -> dict[str, int]:
    """Lines of a name and a whole number."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    return {found[0]: int(found[1]) for found in map(str.split, lines) if len(found) > 1 and found[1].isdigit()}


def numbers_of_list(text: str) -> set[int]:
    """The numbers of a list as the kernel writes it: "0-3,8,10-11". Ranges that are none are left out."""
    found: set[int] = set()
    for item in text.strip().split(","):
        first, _, last = item.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            found.update(range(int(first), min(int(last or first), int(first) + 65_536) + 1))
    return found
