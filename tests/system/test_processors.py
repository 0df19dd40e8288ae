"""How many cores a process may keep busy, on made-up /proc and /sys trees."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from system.proc_trees import lay

from qwill.system.linux import numbers_of_list
from qwill.system.processors import logical_processors, performance_cores, processor_name


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Without a control group."""
    return lay(tmp_path, {"proc/meminfo": "MemAvailable:   16000000 kB\n"})


def affine(monkeypatch: pytest.MonkeyPatch, processors: Iterable[int]) -> None:
    """The process may run on these. Faked, for a test's machine has few."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(processors), raising=False)


def cores(root: Path, placement: list[tuple[int, int]]) -> None:
    for cpu, (package, core) in enumerate(placement):
        folder = f"sys/devices/system/cpu/cpu{cpu}/topology"
        lay(root, {f"{folder}/physical_package_id": f"{package}\n", f"{folder}/core_id": f"{core}\n"})


def test_controllers_mounted_one_by_one_are_found(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    lay(
        machine,
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    )
    assert performance_cores(machine) == 2


def test_hyperthreads_count_once_and_packages_apart(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores(machine, [(0, 0), (0, 1), (1, 0), (1, 1)] * 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    assert performance_cores(machine) == 4
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 4, 1}, raising=False)
    assert performance_cores(machine) == 2


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max 100000", 4), ("200000 100000", 2), ("299999 100000", 2), ("50000 100000", 1), ("900000 100000", 4)],
)
def test_a_version_2_quota_is_rounded_down_but_not_to_zero(
    machine: Path, monkeypatch: pytest.MonkeyPatch, limit: str, expected: int
) -> None:
    monkeypatch.setattr(
        os, "sched_getaffinity", lambda _pid: {1, 3, 5, 7}, raising=False
    )  # no topology files: each its own core
    lay(machine, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": limit + "\n"})
    assert performance_cores(machine) == expected


def test_of_intels_two_kinds_the_fast_cores_count(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four fast cores with two threads each, then eight slow ones."""
    cores(machine, [(0, core // 2) for core in range(8)] + [(0, 10 + core) for core in range(8)])
    lay(machine, {"sys/devices/cpu_core/cpus": "0-7\n", "sys/devices/cpu_atom/cpus": "8-15\n"})
    affine(monkeypatch, range(16))
    assert performance_cores(machine) == 4
    affine(monkeypatch, [6, 7, 9])
    assert performance_cores(machine) == 1
    affine(monkeypatch, [9, 11, 12])  # only slow ones may be used: then those
    assert performance_cores(machine) == 3


@pytest.mark.parametrize(
    ("capacities", "expected"),
    [
        ([1024] * 2 + [904] * 3 + [325] * 3, 5),  # prime, big and little cores
        ([446] * 4 + [1024] * 4, 4),
        ([1024] * 6, 6),
        ([325] * 3, 3),
        ([512, 1024], 1),
    ],
)
def test_of_arms_cores_those_of_much_capacity_count(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capacities: list[int], expected: int
) -> None:
    for cpu, capacity in enumerate(capacities):
        lay(machine, {f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity": f"{capacity}\n"})
    affine(monkeypatch, range(len(capacities)))
    assert performance_cores(machine) == expected


def test_the_kernels_lists_of_numbers() -> None:
    assert numbers_of_list("0-3,8,10-11\n") == {0, 1, 2, 3, 8, 10, 11}
    assert numbers_of_list("\n") == set()
    assert numbers_of_list("5-") == {5}
    assert len(numbers_of_list("0-99999999999")) <= 65_537


@given(st.text(st.sampled_from("0123456789-, \nx²")))
def test_any_list_is_read(text: str) -> None:
    numbers_of_list(text)


@given(st.sets(st.integers(0, 200)))
def test_lists_are_read_back(numbers: set[int]) -> None:
    text = ",".join(map(str, sorted(numbers)))
    assert numbers_of_list(text) == numbers


def test_the_processors_name(machine: Path) -> None:
    lay(machine, {"proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD EPYC 9654\nprocessor\t: 1\n"})
    assert processor_name(machine) == "AMD EPYC 9654"
    lay(machine, {"proc/cpuinfo": "processor : 0\nBogoMIPS : 108.00\n"})
    assert processor_name(machine) == "CPU"
    assert processor_name(machine / "nowhere") == "CPU"


def test_this_machines_processors() -> None:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert 1 <= performance_cores() <= logical_processors() == allowed
    assert re.search(r"\w", processor_name())
