"""Processor, instruction sets, threads, memory and pages, as qwill has them here."""

import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from qwill.doctor.installation import NATIVE
from qwill.system.linux import ROOT
from qwill.system.memory import available_memory, installed_memory
from qwill.system.processors import logical_processors, performance_cores, processor_name

# How the choice of an instruction set is forced.
ISA_VARIABLE = "QWILL_ISA"


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
    """How many qwill takes unless it is told, and of how many."""
    loads = getattr(os, "getloadavg", None)
    with suppress(OSError):
        load = round(loads()[0], 2) if loads else None
    return {
        "default": performance_cores(),
        "logical": os.cpu_count(),
        "allowed": logical_processors(),
        "load": load,
    }


def memory(root: Path = ROOT) -> dict[str, Any]:
    """Bytes of memory and of swap; what holds for control groups is in what is free."""
    told = _kilobytes(root / "proc/meminfo")
    return {
        "installed": installed_memory(),
        "free": available_memory(root),
        "swap": told.get("SwapTotal"),
        "swap_free": told.get("SwapFree"),
        "overcommit": _word(root / "proc/sys/vm/overcommit_memory"),
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
    with suppress(OSError):
        return next((word[1:-1] for word in path.read_text(encoding="utf-8").split() if word.startswith("[")), None)
    return None


def _word(path: Path) -> str | None:
    with suppress(OSError):
        return path.read_text(encoding="utf-8").strip() or None
    return None


def _kilobytes(path: Path) -> dict[str, int]:
    """Bytes by name."""
    with suppress(OSError):
        lines = map(str.split, path.read_text(encoding="utf-8").splitlines())
        return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) > 1 and words[1].isdigit()}
    return {}
