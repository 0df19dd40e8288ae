"""Windows' list of cores: https://learn.microsoft.com/windows/win32/api/winnt/ns-winnt-processor_relationship

More than 64 logical processors stand in several groups; a process is in all of them from Windows 11 on, unless its
affinity says otherwise, which is told for one group only.
"""

import struct
import sys
from collections.abc import Sequence
from typing import NamedTuple

CORES = 0  # RelationProcessorCore
_HEAD = struct.Struct("<II")  # relationship, size
_CORE = struct.Struct("<BB20xH")  # flags, efficiency class, groups
_GROUP = struct.Struct("<QH6x")  # mask, group


class WindowsCore(NamedTuple):
    """`efficiency`: the greater, the faster; `processors`: pairs of a group and a number in it."""

    efficiency: int
    processors: frozenset[tuple[int, int]]


def read_cores(data: bytes) -> list[WindowsCore]:
    """The cores in what GetLogicalProcessorInformationEx gives; what is cut off is left out."""
    cores, place = [], 0
    while place + _HEAD.size <= len(data):
        relationship, size = _HEAD.unpack_from(data, place)
        entry = data[place + _HEAD.size : place + size]
        if size < _HEAD.size or place + size > len(data):
            break
        place += size
        if relationship != CORES or len(entry) < _CORE.size:
            continue
        _, efficiency, groups = _CORE.unpack_from(entry)
        processors: set[tuple[int, int]] = set()
        for begin in range(
            _CORE.size, min(_CORE.size + groups * _GROUP.size, len(entry) - _GROUP.size + 1), _GROUP.size
        ):
            mask, group = _GROUP.unpack_from(entry, begin)
            processors.update((group, bit) for bit in range(64) if mask >> bit & 1)
        cores.append(WindowsCore(efficiency, frozenset(processors)))
    return cores


def within_affinity(cores: Sequence[WindowsCore], group: int | None, mask: int) -> list[WindowsCore]:
    """The cores that a process may use, with the processors of each that it may. group: the only one that the process
    is in; None where it is in several, which no mask is told of."""
    if group is None:
        return list(cores)
    allowed = {(group, bit) for bit in range(64) if mask >> bit & 1}
    return [core._replace(processors=core.processors & allowed) for core in cores if core.processors & allowed]


def fastest(cores: Sequence[WindowsCore]) -> list[WindowsCore]:
    """Those of the highest efficiency class."""
    best = max((core.efficiency for core in cores), default=0)
    return [core for core in cores if core.efficiency == best]


def usable_cores() -> list[WindowsCore]:
    """The cores that this process may use; none where they are not told, or elsewhere than on Windows."""
    if sys.platform != "win32":
        return []
    import ctypes
    from ctypes import wintypes

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    size = wintypes.DWORD(0)
    kernel.GetLogicalProcessorInformationEx(CORES, None, ctypes.byref(size))
    room = ctypes.create_string_buffer(size.value)
    if not size.value or not kernel.GetLogicalProcessorInformationEx(CORES, room, ctypes.byref(size)):
        return []
    kernel.GetCurrentProcess.restype = wintypes.HANDLE
    process = wintypes.HANDLE(kernel.GetCurrentProcess())
    count, groups = wintypes.USHORT(64), (wintypes.USHORT * 64)()
    mask, whole = ctypes.c_size_t(0), ctypes.c_size_t(0)
    alone = bool(kernel.GetProcessGroupAffinity(process, ctypes.byref(count), groups)) and count.value == 1
    told = bool(kernel.GetProcessAffinityMask(process, ctypes.byref(mask), ctypes.byref(whole))) and mask.value != 0
    return within_affinity(read_cores(room.raw[: size.value]), groups[0] if alone and told else None, mask.value)
