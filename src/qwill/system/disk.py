"""Reading a file past the system's cache, to see how fast its disk is."""

import os
import sys
from pathlib import Path

_READ, _SHARE_ALL, _EXISTING, _NO_BUFFERING = 0x80000000, 7, 3, 0x20000000  # of CreateFileW


def open_past_cache(file: Path) -> int:
    """A descriptor to read whole pieces of pages with, into memory that begins at a page. Raises OSError where the
    system or the file system has no such thing."""
    if sys.platform == "win32":
        return _open_unbuffered(file)
    if sys.platform == "darwin":
        import fcntl

        opened = os.open(file, os.O_RDONLY)
        try:
            fcntl.fcntl(opened, fcntl.F_NOCACHE, 1)
        except OSError:
            os.close(opened)
            raise
        return opened
    return os.open(file, os.O_RDONLY | os.O_DIRECT)  # file systems in memory refuse it


def _open_unbuffered(file: Path) -> int:
    if sys.platform != "win32":
        raise OSError("this is not Windows")
    import ctypes
    import msvcrt
    from ctypes import wintypes

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.CreateFileW.restype = wintypes.HANDLE
    handle = kernel.CreateFileW(str(file), _READ, _SHARE_ALL, None, _EXISTING, _NO_BUFFERING, None)
    if handle is None or handle == wintypes.HANDLE(-1).value:
        raise ctypes.WinError(ctypes.get_last_error())
    return msvcrt.open_osfhandle(handle, os.O_RDONLY)
