"""Pages of mapped files: what is read once need not stay in memory."""

import mmap
import sys


def give_back(mapping: mmap.mmap, address: int, begin: int, end: int) -> None:
    """Lets the system drop the whole pages from byte `begin` to `end` of a file that was mapped to read at `address`.

    A hint: nothing happens where it cannot be done.
    """
    first, last = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
    if first >= last:
        return
    if sys.platform == "win32":
        import ctypes

        # To unlock pages that are not locked takes them out of the process's working set, and fails for doing so.
        ctypes.WinDLL("kernel32").VirtualUnlock(ctypes.c_void_p(address + first), ctypes.c_size_t(last - first))
    elif hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED, first, last - first)
