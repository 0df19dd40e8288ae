"""Free memory and cores, on made-up /proc and /sys trees."""

import os
from pathlib import Path

import pytest

from qwill.fit.hardware import available_memory, peak_memory, physical_cores

GB = 10**9


def lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """16 GB free, no control group."""
    return lay(
        tmp_path,
        {"proc/meminfo": "MemTotal:       32000000 kB\nMemFree:         1000000 kB\nMemAvailable:   16000000 kB\n"},
    )


FREE = 16_000_000 * 1024


def test_without_a_limit_it_is_what_the_kernel_says(machine: Path) -> None:
    assert available_memory(machine) == FREE


def test_a_version_2_group_limits_memory(machine: Path) -> None:
    group = "sys/fs/cgroup/user/job"
    lay(
        machine,
        {
            "proc/self/cgroup": "0::/user/job\n",
            f"{group}/memory.max": f"{8 * GB}\n",
            f"{group}/memory.current": f"{5 * GB}\n",
            f"{group}/memory.stat": f"anon {3 * GB}\nfile {2 * GB}\ninactive_file {GB}\n",
        },
    )
    assert available_memory(machine) == 4 * GB  # 8 - 5, and 1 of cache that would be given back


@pytest.mark.parametrize("at", ["a/b", "a", ""])
@pytest.mark.parametrize(("high", "most"), [(3 * GB, "max"), (3 * GB, 9 * GB), (9 * GB, 3 * GB)])
def test_where_the_kernel_begins_to_slow_down_counts_as_a_limit(
    machine: Path, at: str, high: int, most: int | str
) -> None:
    lay(machine, {"proc/self/cgroup": "0::/a/b\n"})
    for folder in ("a/b", "a", ""):
        group = f"sys/fs/cgroup/{folder}"
        lay(
            machine,
            {
                f"{group}/memory.high": f"{high}\n" if folder == at else "max\n",
                f"{group}/memory.max": f"{most}\n" if folder == at else "max\n",
                f"{group}/memory.current": f"{2 * GB}\n",
                f"{group}/memory.stat": f"inactive_file {GB}\n",
            },
        )
    assert available_memory(machine) == 2 * GB  # 3 - 2, and 1 of cache that would be given back


def test_the_tightest_ancestor_counts(machine: Path) -> None:
    lay(
        machine,
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/memory.max": "max\n",
            "sys/fs/cgroup/a/b/memory.current": "17\n",
            "sys/fs/cgroup/a/memory.max": f"{3 * GB}\n",
            "sys/fs/cgroup/a/memory.current": f"{GB}\n",
            "sys/fs/cgroup/a/cpu.max": "100000 100000\n",
        },
    )
    assert available_memory(machine) == 2 * GB
    assert physical_cores(machine) == 1


def test_a_group_over_its_limit_leaves_nothing(machine: Path) -> None:
    lay(
        machine,
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "5\n", "sys/fs/cgroup/memory.current": "9\n"},
    )
    assert available_memory(machine) == 0


def test_a_version_1_group_limits_memory_and_time(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    lay(
        machine,
        {
            "proc/self/cgroup": "7:memory:/job\n4:cpu,cpuacct:/job\n1:name=systemd:/x\n0::/\n",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{6 * GB}\n",
            "sys/fs/cgroup/memory/job/memory.usage_in_bytes": f"{2 * GB}\n",
            "sys/fs/cgroup/memory/job/memory.stat": "cache 9\ntotal_inactive_file 500\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{9 * GB}\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "350000\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert available_memory(machine) == 4 * GB + 500
    assert physical_cores(machine) == 3


def test_controllers_mounted_one_by_one_are_found(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    lay(
        machine,
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    )
    assert physical_cores(machine) == 2


def test_inside_a_container_the_hosts_path_is_passed_over(machine: Path) -> None:
    lay(
        machine,
        {
            "proc/self/cgroup": "0::/kubepods/pod1/abc\n",
            "sys/fs/cgroup/memory.max": f"{2 * GB}\n",
            "sys/fs/cgroup/memory.current": "0\n",
        },
    )
    assert available_memory(machine) == 2 * GB


def cores(root: Path, placement: list[tuple[int, int]]) -> None:
    for cpu, (package, core) in enumerate(placement):
        folder = f"sys/devices/system/cpu/cpu{cpu}/topology"
        lay(root, {f"{folder}/physical_package_id": f"{package}\n", f"{folder}/core_id": f"{core}\n"})


def test_hyperthreads_count_once_and_packages_apart(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores(machine, [(0, 0), (0, 1), (1, 0), (1, 1)] * 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    assert physical_cores(machine) == 4
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 4, 1})
    assert physical_cores(machine) == 2


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max 100000", 4), ("200000 100000", 2), ("299999 100000", 2), ("50000 100000", 1), ("900000 100000", 4)],
)
def test_a_version_2_quota_is_rounded_down_but_not_to_zero(
    machine: Path, monkeypatch: pytest.MonkeyPatch, limit: str, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {1, 3, 5, 7})  # no topology files: each its own core
    lay(machine, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": limit + "\n"})
    assert physical_cores(machine) == expected


def test_without_proc_it_is_the_installed_memory(tmp_path: Path) -> None:
    assert available_memory(tmp_path) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_the_peak_is_the_high_water_mark(tmp_path: Path) -> None:
    lay(tmp_path, {"proc/self/status": "Name:\tpython\nVmPeak:\t  900000 kB\nVmHWM:\t  123456 kB\nVmRSS:\t 1000 kB\n"})
    assert peak_memory(tmp_path) == 123_456 * 1024


def test_the_peak_where_proc_is_hidden() -> None:
    """Both are kept by the kernel; the resource usage also remembers what the process was before its program began."""
    assert peak_memory(Path("/nowhere")) >= 0.9 * peak_memory() > 10 << 20


def test_this_machine() -> None:
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < available_memory() <= installed
    assert 1 <= physical_cores() <= len(os.sched_getaffinity(0))
