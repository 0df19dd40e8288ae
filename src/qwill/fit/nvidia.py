"""NVIDIA's cards, as the driver tells of them: by name where that is known, else by what their memory is made of.

The driver's program tells clocks, and its library (NVML) how wide the memory is:
https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html.
"""

import csv
import ctypes
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from qwill.fit.machines import GIB, OPERATIONS_A_BYTE, Gpu, known_gpu, known_unified

log = logging.getLogger("qwill")

_FORMAT = ("--format=csv,noheader,nounits",)
SMI = ("nvidia-smi", "--query-gpu=name,memory.free,memory.total", *_FORMAT)
SMI_CLOCKS = ("nvidia-smi", "--query-gpu=name,memory.free,memory.total,clocks.max.memory,clocks.max.sm", *_FORMAT)
MIB = 1 << 20
LIBRARIES = ("libnvidia-ml.so.1", "nvml.dll")

# Where nobody tells a memory's width, the narrowest that is usual: chips of 2 GiB and 32 bits, or stacks of 16 GiB and
# 1024 bits, whose clocks are slow.
CHIP_BITS_A_GIB, STACK_BITS_A_GIB = 16, 64
STACKS_BELOW = 3000  # MHz
USUAL_MEGAHERTZ = 7000  # of GDDR6, where nobody tells the clock
OPERATIONS_A_CORE = 4  # and clock, of the tensor cores beside it, sums in 32 bits


@dataclass(frozen=True)
class Chip:
    """What NVML tells of a card: bits of its memory bus, and how many CUDA cores it has."""

    bus_bits: int | None
    cores: int | None


def nvidia_gpus(listing: str, clocks: str | None = None, chips: Sequence[Chip] = ()) -> tuple[Gpu, ...]:
    """From the CSV of `nvidia-smi`: a name, free and installed MiB in each line. Other lines are passed over.

    clocks: the same with MHz of memory and processors, asked for when a card is not known by name.
    """
    with_clocks = list(_rows(clocks or "", 5))
    found = []
    for index, row in enumerate(_rows(listing, 3)):
        gpu = known_gpu(row[0], int(row[1]) * MIB, int(row[2]) * MIB)
        if gpu is None and clocks is not None:
            told = with_clocks[index] if index < len(with_clocks) else [*row, "", ""]
            gpu = _by_clocks(told, chips[index] if index < len(chips) else Chip(None, None))
        if gpu is not None:
            found.append(gpu)
    return tuple(found)


def unified_gpus(listing: str, installed: int) -> tuple[Gpu, ...]:
    """Those of the same CSV that have the machine's memory, of which the driver tells nothing."""
    rows = csv.reader(listing.splitlines(), skipinitialspace=True)
    found = (known_unified(row[0], installed) for row in rows if len(row) == 3 and not row[2].strip().isdecimal())
    return tuple(gpu for gpu in found if gpu is not None)


def cards(listing: str) -> int:
    """How many `nvidia-smi` lists."""
    return sum(1 for _ in _rows(listing, 3))


def read_chips(load: Callable[[str], ctypes.CDLL] = ctypes.CDLL) -> list[Chip]:
    """Of all cards in the driver's order; none where there is no such library."""
    for name in LIBRARIES:
        try:
            nvml = load(name)
            break
        except OSError:
            continue
    else:
        return []
    count = ctypes.c_uint()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return []
    try:
        return [_chip(nvml, index) for index in range(count.value)]
    finally:
        nvml.nvmlShutdown()


def _chip(nvml: ctypes.CDLL, index: int) -> Chip:
    device = ctypes.c_void_p()
    if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(device)):
        return Chip(None, None)

    def number(function: str) -> int | None:
        value = ctypes.c_uint()
        try:
            failed = getattr(nvml, function)(device, ctypes.byref(value))
        except AttributeError:  # an old driver's library
            return None
        return None if failed else value.value or None

    return Chip(number("nvmlDeviceGetMemoryBusWidth"), number("nvmlDeviceGetNumGpuCores"))


def _by_clocks(row: Sequence[str], chip: Chip) -> Gpu:
    """Memory sends twice a clock, as the driver counts clocks."""
    free, installed = int(row[1]) * MIB, int(row[2]) * MIB
    megahertz = int(row[3]) if row[3].isdecimal() else USUAL_MEGAHERTZ
    a_gib = STACK_BITS_A_GIB if megahertz < STACKS_BELOW else CHIP_BITS_A_GIB
    bits = chip.bus_bits or max(round(installed / GIB) * a_gib, 64)
    bandwidth = 2e6 * megahertz * bits / 8
    if not row[3].isdecimal():
        log.warning(
            "%s is not known, nor its memory's clock: taken to read %.0f GB/s; --hardware takes it by numbers, such as"
            ' "%.0fGB VRAM at %.0fGB/s"', row[0], bandwidth / 1e9, installed / GIB, bandwidth / 1e9,
        )  # fmt: skip
    compute = bandwidth * OPERATIONS_A_BYTE
    if chip.cores and row[4].isdecimal():
        compute = 1e6 * int(row[4]) * chip.cores * OPERATIONS_A_CORE
    return Gpu(row[0], free, bandwidth, compute)


def _rows(listing: str, columns: int) -> Iterator[list[str]]:
    """Lines of so many values, with sizes as whole numbers; others are "[N/A]", or a complaint of the driver."""
    for row in csv.reader(listing.splitlines(), skipinitialspace=True):
        values = [value.strip() for value in row]
        if len(values) == columns and values[1].isdecimal() and values[2].isdecimal():
            yield values
