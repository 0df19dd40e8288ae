"""The processors that this process may keep busy, and how many threads that makes."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from qwill.system import linux
from qwill.system.linux import ROOT
from qwill.system.sysctl import sysctl_number, sysctl_text
from qwill.system.windows_processors import fastest, usable_cores

_NAME_KEY = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"


def logical_processors() -> int:
    """Processors that the process may run on, hyperthreads apart, at least 1. No quota of time is looked at."""
    if sys.platform == "win32":
        return sum(len(core.processors) for core in usable_cores()) or os.cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def performance_cores(root: Path = ROOT) -> int:
    """Cores that the process may keep busy, at least 1: as many threads as it takes by default.

    Of processors with cores of several kinds those that are fast: a step ends with its slowest thread. Within the
    process's affinity, hyperthreads once, within the quota of its control groups. `root` is where /proc and /sys lie.
    """
    if root == ROOT and sys.platform == "win32":
        return len(fastest(usable_cores())) or os.cpu_count() or 1
    if root == ROOT and sys.platform == "darwin":
        return _of_macos() or os.cpu_count() or 1
    cores = _distinct_cores(root, _fast(root, _affinity()))
    quota = time_quota(root)
    return max(cores if quota is None else min(cores, int(quota)), 1)


def physical_cores(root: Path = ROOT) -> int:
    """Cores of every kind that the process may run on, hyperthreads once, at least 1. No quota of time is looked at."""
    if root == ROOT and sys.platform == "win32":
        return len(usable_cores()) or os.cpu_count() or 1
    if root == ROOT and sys.platform == "darwin":
        return sysctl_number("hw.physicalcpu") or os.cpu_count() or 1
    return max(_distinct_cores(root, _affinity()), 1)


def time_quota(root: Path = ROOT) -> float | None:
    """Cores' worth of time that the process's control groups leave it; None where they set no bound."""
    quotas = map(linux.quota, linux.control_groups(root, "cpu"))
    return min((quota for quota in quotas if quota is not None), default=None)


def processor_name(root: Path = ROOT) -> str:
    """As the processor calls itself; "CPU" where it is not told."""
    if root == ROOT and sys.platform == "darwin":
        return sysctl_text("machdep.cpu.brand_string") or "CPU"
    if root == ROOT and sys.platform == "win32":
        return _name_in_registry() or "CPU"
    try:
        lines = (root / "proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return "CPU"
    names = (line.partition(":")[2].strip() for line in lines if line.lower().startswith(("model name", "hardware")))
    return next((name for name in names if name), "CPU")


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _of_macos() -> int | None:
    """All but efficiency cores. Level 0 has the fastest; those of level 1 are called efficiency cores, too, but for the
    M5 Pro's and Max's, which are performance cores beside a few that are called super cores. Intel's have no levels."""
    levels = range(sysctl_number("hw.nperflevels") or 1)
    fast = [level for level in levels if level == 0 or sysctl_text(f"hw.perflevel{level}.name") == "Performance"]
    counts = [sysctl_number(f"hw.perflevel{level}.physicalcpu") or 0 for level in fast]
    return sum(counts) or sysctl_number("hw.physicalcpu")


def _fast(root: Path, processors: set[int]) -> set[int]:
    """Without the slow ones: Intel's efficiency cores, and Arm's of half the capacity of the best or less. All where
    there is one kind, or where only slow ones may be used."""
    try:
        intel = linux.numbers_of_list((root / "sys/devices/cpu_core/cpus").read_text("utf-8", "replace"))
    except OSError:
        intel = set()
    if intel & processors:
        return intel & processors
    folder = root / "sys/devices/system/cpu"
    capacities = {cpu: linux.number(folder / f"cpu{cpu}/cpu_capacity") or 0 for cpu in processors}
    most = max(capacities.values(), default=0)
    return {cpu for cpu, capacity in capacities.items() if 2 * capacity > most or not most}


def _distinct_cores(root: Path, processors: Iterable[int]) -> int:
    cores: set[object] = set()
    for cpu in processors:
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        core = linux.number(topology / "core_id")
        cores.add((linux.number(topology / "physical_package_id"), core) if core is not None else cpu)
    return len(cores)


def _name_in_registry() -> str:
    if sys.platform != "win32":
        return ""
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _NAME_KEY) as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    except OSError:
        return ""
