"""Processor, instruction sets, threads, memory and pages, as qwill has them here."""

import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from qwill.doctor.installation import NATIVE
from qwill.system import linux
from qwill.system.linux import ROOT
from qwill.system.memory import available_memory, installed_memory
from qwill.system.processors import (
    logical_processors,
    performance_cores,
    physical_cores,
    processor_name,
    time_quota,
)  # fmt: skip

# How the choice of an instruction set is forced.
ISA_VARIABLE = "QWILL_ISA"
_LIMITS = ("memory.max", "memory.high", "memory.limit_in_bytes")
_NO_LIMIT = 1 << 60  # bytes that no machine has: how the first version of control groups says "none"


def processor(failures: dict[str, str]) -> dict[str, Any]:
    """Its name and its instruction sets: all that it can run, slowest first, the one that is forced, the one used."""
    runnable: list[str] = []
    if NATIVE not in failures:
        with suppress(ImportError):
            from qwill._native import available_isas

            runnable = available_isas()
    forced = os.environ.get(ISA_VARIABLE) or None
    known = forced in runnable
    return {
        "name": processor_name(),
        "instruction_sets": runnable,
        "forced": forced if known or forced is None else "unknown",
        "used": forced if known else runnable[-1] if runnable and forced is None else None,
    }


def threads() -> dict[str, Any]:
    """How many qwill takes unless it is told, and of what."""
    loads = getattr(os, "getloadavg", None)
    load = None
    with suppress(OSError):
        load = round(loads()[0], 2) if loads else None
    return {
        "default": performance_cores(),
        "cores": physical_cores(),
        "allowed": logical_processors(),
        "logical": os.cpu_count(),
        "quota": time_quota(),
        "load": load,
    }


def memory(root: Path = ROOT) -> dict[str, Any]:
    """Bytes of memory and of swap. limit: the least of the process's control groups."""
    told = linux.table(root / "proc/meminfo")
    groups = list(linux.control_groups(root, "memory"))
    limits = [linux.number(folder / name) for folder in groups for name in _LIMITS]
    return {
        "installed": installed_memory(),
        "free": available_memory(root),
        "limit": min((limit for limit in limits if limit is not None and limit < _NO_LIMIT), default=None),
        "swap": _kilobytes(told.get("SwapTotal:")),
        "swap_free": _kilobytes(told.get("SwapFree:")),
        "overcommit": linux.number(root / "proc/sys/vm/overcommit_memory"),
    }


def pages(root: Path = ROOT) -> dict[str, Any]:
    """Bytes of a page, and whether large memory gets huge ones: always, madvise (what asks for them, as qwill does),
    never, or None where the system decides by itself."""
    return {
        "size": mmap.PAGESIZE,
        "huge": _chosen(root / "sys/kernel/mm/transparent_hugepage/enabled"),
        "huge_defragmentation": _chosen(root / "sys/kernel/mm/transparent_hugepage/defrag"),
    }


def _chosen(path: Path) -> str | None:
    """The word in brackets of a line of choices."""
    return next((word[1:-1] for word in linux.words(path) if word.startswith("[")), None)


def _kilobytes(count: int | None) -> int | None:
    return None if count is None else count * 1024
