"""Which cores of Apple's chips make threads. Never run on a Mac: what its `sysctl` tells is made up."""

import sys

import pytest

from qwill.system import processors
from qwill.system.processors import performance_cores, physical_cores


@pytest.mark.parametrize(
    ("levels", "threads"),
    [
        ([("Performance", 4), ("Efficiency", 4)], 4),  # M1
        ([("Performance", 12), ("Efficiency", 4)], 12),  # M4 Max
        ([("Super", 4), ("Efficiency", 6)], 4),  # M5
        ([("Super", 6), ("Performance", 12)], 18),  # M5 Max
        ([("", 8)], 8),  # macOS 11 had no names
        ([], 6),  # of Intel's
    ],
)
def test_all_but_the_efficiency_cores(
    monkeypatch: pytest.MonkeyPatch, levels: list[tuple[str, int]], threads: int
) -> None:
    numbers = {"hw.physicalcpu": sum(count for _, count in levels) or 6}
    if levels:
        numbers["hw.nperflevels"] = len(levels)
    numbers |= {f"hw.perflevel{level}.physicalcpu": count for level, (_, count) in enumerate(levels)}
    texts = {f"hw.perflevel{level}.name": name for level, (name, _) in enumerate(levels)}
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(processors, "sysctl_number", numbers.get)
    monkeypatch.setattr(processors, "sysctl_text", lambda name: texts.get(name, ""))
    assert performance_cores() == threads
    assert physical_cores() == numbers["hw.physicalcpu"]
