"""Signals, and what Windows has in place of some."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WAKE_SECONDS = 0.1
# CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT; after its handler Windows ends the process.
_ENDS = (2, 5, 6)


@contextmanager
def woken() -> Iterator[None]:
    """Interrupts what waits inside again and again: input() misses a Ctrl-C that comes just before it waits."""
    if sys.platform == "win32":
        yield
        return
    before = signal.signal(signal.SIGALRM, lambda _number, _frame: None)
    signal.setitimer(signal.ITIMER_REAL, WAKE_SECONDS, WAKE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def told_of_closing(close: Callable[[], None], seconds: float) -> Iterator[None]:
    """Calls `close`, on another thread, when a console of Windows is closed or its user logs off, and holds the system
    up until the block is left, for so many seconds at most; the system itself waits for about five. Elsewhere such
    things come as signals."""
    if sys.platform != "win32":
        yield
        return
    import ctypes
    from ctypes import wintypes

    left = threading.Event()

    @ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.DWORD)
    def handler(event: int) -> bool:
        if event not in _ENDS:
            return False
        close()
        left.wait(seconds)
        return True

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.SetConsoleCtrlHandler(handler, True)
    try:
        yield
    finally:
        kernel.SetConsoleCtrlHandler(handler, False)
        left.set()
