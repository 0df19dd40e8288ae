"""Apple's chips, as macOS tells of them: texts of `sysctl` and `ioreg`, read apart.

Never run on a Mac: the texts are those that others have published.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from qwill.fit.machines import GIB, Gpu, known_mac

# Names that a system does not have cost a complaint each; the others are told all the same.
SYSCTL = (
    "sysctl", "machdep.cpu.brand_string", "hw.memsize", "iogpu.wired_limit_mb", "debug.iogpu.wired_limit",
    "kern.hv_vmm_present",
)  # fmt: skip
IOREG = ("ioreg", "-rc", "AGXAccelerator", "-d1")
PROFILER = ("system_profiler", "SPDisplaysDataType")  # takes a second, and is asked where ioreg says nothing

# That graphics processors may use of the memory unless iogpu.wired_limit_mb says otherwise, as Metal recommends it: the
# least that has been told of any macOS. Newer ones lend more: 84% of 128 GiB.
SHARE, SHARE_OF_SMALL, SMALL = 3 / 4, 2 / 3, 36 * GIB


@dataclass(frozen=True)
class Chip:
    """name: as the processor calls itself, "Apple M3 Max". memory, gpu_limit: bytes installed, and those that the
    graphics processor may use. gpu_cores: None where nobody tells."""

    name: str
    memory: int
    gpu_cores: int | None
    gpu_limit: int
    virtual: bool


def chip(ask: Callable[[Sequence[str]], str]) -> Chip | None:
    """That of this machine; None for Macs with other processors. ask: what a program prints, failed or not."""
    told = read_names(ask(SYSCTL))
    name = told.get("machdep.cpu.brand_string", "")
    memory = _whole(told.get("hw.memsize"))
    if not name.startswith("Apple ") or not memory:
        return None
    cores = gpu_cores(ask(IOREG)) or gpu_cores(ask(PROFILER))
    # A virtual machine's processor calls itself "Apple M1 (Virtual)", or as the host's does.
    virtual = "(Virtual)" in name or told.get("kern.hv_vmm_present") == "1"
    return Chip(name, memory, cores, _limit(told, memory), virtual)


def mac_gpu(chip: Chip, free: int) -> Gpu | None:
    """Its graphics processor, with what it may use of `free` bytes; None where its rates are not known here, and in
    virtual machines, which have a likeness of one."""
    gpu = None if chip.virtual else known_mac(chip.name, chip.memory, chip.gpu_cores)
    return None if gpu is None else replace(gpu, memory_bytes=min(free, chip.gpu_limit))


def read_names(text: str) -> dict[str, str]:
    """Lines of `name: value`, as sysctl prints them. Others are passed over."""
    pairs = (line.partition(": ") for line in text.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def gpu_cores(text: str) -> int | None:
    """From what ioreg or system_profiler print; None where it is not in it."""
    found = re.search(r'"gpu-core-count" = ([0-9]{1,4})\b|Total Number of Cores: ([0-9]{1,4})\b', text)
    return int(found[1] or found[2]) or None if found else None


def _limit(told: dict[str, str], memory: int) -> int:
    """0 is the system's own choice. Before macOS 14 the limit had another name, and was in bytes."""
    limit = _whole(told.get("iogpu.wired_limit_mb")) << 20 or _whole(told.get("debug.iogpu.wired_limit"))
    return min(limit, memory) if limit else int(memory * (SHARE_OF_SMALL if memory < SMALL else SHARE))


def _whole(text: str | None) -> int:
    return int(text) if text and re.fullmatch("[0-9]{1,18}", text) else 0
