"""Terminals: what has been typed, how it is kept unseen, and whether styles can be shown."""

import os
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from types import ModuleType
from typing import Any

Modes = list[Any]  # of a terminal
_VIRTUAL_TERMINAL = 4  # ENABLE_VIRTUAL_TERMINAL_PROCESSING


def line_editor() -> ModuleType | None:
    """The module that gives `input` its editing and history; None where the terminal does that, or nobody.

    A module of that name that somebody installed on Windows lacks what goes with it: a terminal's modes.
    """
    if sys.platform == "win32" or not find_spec("readline") or not find_spec("termios"):
        return None
    import readline

    return readline


def more_waits(seconds: float) -> bool:
    """Whether there is more to read from the terminal by then."""
    if sys.platform == "win32":
        import msvcrt

        until = time.perf_counter() + seconds
        while not msvcrt.kbhit():
            if time.perf_counter() >= until:
                return False
            time.sleep(0.005)
        return True
    import select

    return bool(select.select([sys.stdin], [], [], seconds)[0])


def hide_typing() -> Modes | None:
    """Keeps what is typed from now on unseen and whole for who reads next; Ctrl-C stays a signal. Returns the modes to
    go back to; None where the terminal is gone or has none."""
    if sys.platform == "win32":
        return None
    import termios

    try:
        before, modes = termios.tcgetattr(sys.stdin), termios.tcgetattr(sys.stdin)
        # Ctrl-C throws away nothing of what was typed.
        modes[3] = modes[3] & ~(termios.ICANON | termios.ECHO) | termios.NOFLSH
        modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
        termios.tcsetattr(sys.stdin, termios.TCSANOW, modes)
    except termios.error:
        return None
    return before


def show_typing(before: Modes) -> None:
    """Goes back to the modes that `hide_typing` has returned."""
    if sys.platform != "win32":
        import termios

        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


def bytes_waiting() -> int:
    """How much was typed that nobody has read. Raises OSError when the terminal is gone."""
    if sys.platform == "win32":
        return 0
    import fcntl
    import struct
    import termios

    return int(struct.unpack("i", fcntl.ioctl(sys.stdin, termios.FIONREAD, b"\0" * 4))[0])


def take_typed(quiet_seconds: float) -> bytes:
    """All that is typed until nothing comes for so long. Raises OSError when the terminal is gone."""
    taken = b""
    while more_waits(quiet_seconds):
        data = os.read(sys.stdin.fileno(), 65_536)
        if not data:
            break
        taken += data
    return taken


def shows_styles() -> bool:
    """Whether a terminal on standard output understands escape sequences; asks Windows' console to."""
    if os.environ.get("TERM") == "dumb":
        return False
    if sys.platform != "win32":
        return True
    import ctypes
    import msvcrt
    from ctypes import wintypes

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    try:
        handle = wintypes.HANDLE(msvcrt.get_osfhandle(sys.stdout.fileno()))
    except (OSError, ValueError):
        return False
    mode = wintypes.DWORD(0)
    if not kernel.GetConsoleMode(handle, ctypes.byref(mode)):
        return True  # a terminal that is none of Windows' own
    return bool(kernel.SetConsoleMode(handle, mode.value | _VIRTUAL_TERMINAL))
