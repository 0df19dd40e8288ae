"""Free memory, by made-up /proc and /sys trees and by what other systems print and give."""

import os
from pathlib import Path

import pytest
from system.proc_trees import lay

from qwill.system.memory import available_memory, free_by_vm_stat, installed_memory, peak_memory
from qwill.system.processors import performance_cores

GB = 10**9


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
    assert performance_cores(machine) == 1


def test_a_group_over_its_limit_leaves_nothing(machine: Path) -> None:
    lay(
        machine,
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "5\n", "sys/fs/cgroup/memory.current": "9\n"},
    )
    assert available_memory(machine) == 0


def test_a_version_1_group_limits_memory_and_time(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)), raising=False)
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
    assert performance_cores(machine) == 3


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


def test_without_proc_it_is_the_installed_memory(tmp_path: Path) -> None:
    assert available_memory(tmp_path) == installed_memory()


def test_the_peak_is_the_high_water_mark(tmp_path: Path) -> None:
    lay(tmp_path, {"proc/self/status": "Name:\tpython\nVmPeak:\t  900000 kB\nVmHWM:\t  123456 kB\nVmRSS:\t 1000 kB\n"})
    assert peak_memory(tmp_path) == 123_456 * 1024


def test_the_peak_where_proc_is_hidden() -> None:
    """Both are kept by the kernel; the resource usage also remembers what the process was before its program began."""
    assert peak_memory(Path("/nowhere")) >= 0.9 * peak_memory() > 10 << 20


def test_this_machines_memory() -> None:
    assert 1 << 28 < available_memory() <= installed_memory()
    if hasattr(os, "sysconf"):
        assert installed_memory() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_the_peak_grows_with_what_is_held() -> None:
    before = peak_memory()
    held = b"x" * (before + (64 << 20))
    assert peak_memory() >= len(held)


# As macOS 15 prints it on a machine with pages of 16 KiB.
VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               12345.
Pages active:                            500000.
Pages inactive:                          234567.
Pages speculative:                         3456.
Pages throttled:                              0.
Pages wired down:                        180000.
Pages purgeable:                          20000.
"Translation faults":                 987654321.
File-backed pages:                       300000.
"""


def test_what_macos_has_free() -> None:
    """A text that is handed in: there is no vm_stat on Linux."""
    assert free_by_vm_stat(VM_STAT) == 16_384 * (12_345 + 234_567 + 3_456)
    assert free_by_vm_stat(VM_STAT.replace("\n", "\r\n")) == 16_384 * (12_345 + 234_567 + 3_456)


@pytest.mark.parametrize(
    "text", ["", "page size of 16384 bytes", "Pages free: 12.\n", "page size of x bytes\nPages free: 1."]
)
def test_other_texts_tell_nothing_of_it(text: str) -> None:
    assert free_by_vm_stat(text) is None
