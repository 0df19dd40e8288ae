"""What the system, or the container that the process runs in, has to give of memory."""

import os
import re
import sys
from pathlib import Path

from qwill.system import linux
from qwill.system.linux import ROOT
from qwill.system.sysctl import sysctl_number

VM_STAT = "/usr/bin/vm_stat"
VM_STAT_SECONDS = 5
_PAGE_SIZE = re.compile(r"page size of (\d+) bytes")
_PAGES = re.compile(r"^Pages (free|inactive|speculative):\s+(\d+)\.?\s*$", re.MULTILINE)


def available_memory(root: Path = ROOT) -> int:
    """Bytes that can be allocated without swapping: the kernel's estimate, within every limit of a control group.

    `root` is where /proc and /sys lie.
    """
    if root == ROOT and sys.platform == "win32":
        return _windows_memory()[1]
    if root == ROOT and sys.platform == "darwin":
        return _macos_available()
    available = _mem_available(root)
    for folder in linux.control_groups(root, "memory"):
        for limit_file, usage_file, cache_key in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.high", "memory.current", "inactive_file"),  # beyond it the kernel slows down whoever asks for more
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, usage = linux.number(folder / limit_file), linux.number(folder / usage_file)
            if limit is not None and usage is not None:
                # Cached pages of files count as used but are given back on demand.
                cache = linux.table(folder / "memory.stat").get(cache_key, 0)
                available = min(available, max(limit - usage + cache, 0))
    return available


def installed_memory() -> int:
    """Bytes of memory that the system has."""
    if sys.platform == "win32":
        return _windows_memory()[0]
    if sys.platform == "darwin" and (told := sysctl_number("hw.memsize")):
        return told
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak_memory(root: Path = ROOT) -> int:
    """Most bytes of memory that the process has held so far."""
    table = {} if sys.platform == "win32" and root == ROOT else linux.table(root / "proc/self/status")
    if "VmHWM:" in table:
        return table["VmHWM:"] * 1024
    if sys.platform == "win32":
        return _windows_peak()
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # in bytes there, elsewhere in kibibytes


def _mem_available(root: Path) -> int:
    table = linux.table(root / "proc/meminfo")
    if "MemAvailable:" in table:
        return table["MemAvailable:"] * 1024
    return installed_memory()


def free_by_vm_stat(text: str) -> int | None:
    """Bytes that macOS gives without swapping, of what `vm_stat` prints: free pages, those read ahead, and those that
    nobody has used lately, as its own Activity Monitor counts them. None for another text."""
    size, pages = _PAGE_SIZE.search(text), dict(_PAGES.findall(text))
    if size is None or "free" not in pages:
        return None
    return int(size[1]) * sum(map(int, pages.values()))


def _macos_available() -> int:
    import subprocess

    installed = installed_memory()
    try:
        told = subprocess.run(
            [VM_STAT], capture_output=True, encoding="utf-8", errors="replace", timeout=VM_STAT_SECONDS, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return installed
    free = free_by_vm_stat(told)
    return installed if free is None else min(free, installed)


def _windows_memory() -> tuple[int, int]:
    """Bytes installed, and bytes available: of memory, and within what may be promised (Windows promises no more than
    memory and paging file hold together)."""
    if sys.platform != "win32":
        raise OSError("this is not Windows")
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_uint32), ("load", ctypes.c_uint32),
            *((name, ctypes.c_uint64) for name in ("total", "free", "total_page_file", "free_page_file",
                                                   "total_virtual", "free_virtual", "extended")),
        ]  # fmt: skip

    status = Status(length=ctypes.sizeof(Status))
    if not ctypes.WinDLL("kernel32", use_last_error=True).GlobalMemoryStatusEx(ctypes.byref(status)):
        raise ctypes.WinError(ctypes.get_last_error())
    return status.total, min(status.free, status.free_page_file)


def _windows_peak() -> int:
    if sys.platform != "win32":
        raise OSError("this is not Windows")
    import ctypes
    from ctypes import wintypes

    class Counters(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_uint32), ("faults", ctypes.c_uint32),
            *((name, ctypes.c_size_t) for name in ("peak", "current", "peak_paged", "paged", "peak_nonpaged",
                                                   "nonpaged", "page_file", "peak_page_file")),
        ]  # fmt: skip

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.GetCurrentProcess.restype = wintypes.HANDLE
    counters = Counters(length=ctypes.sizeof(Counters))
    process = wintypes.HANDLE(kernel.GetCurrentProcess())
    if not kernel.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.length):
        raise ctypes.WinError(ctypes.get_last_error())
    return int(counters.peak)
