"""What wakes a program that waits, and what is left as it was."""

import signal
import sys
import time

import pytest

from qwill.system.signals import told_of_closing, woken


def test_what_waits_is_woken_and_goes_on() -> None:
    """Where there are such signals; the handler before is the handler after."""
    before = signal.getsignal(signal.SIGALRM) if sys.platform != "win32" else None
    with woken():
        time.sleep(0.25)
    if sys.platform != "win32":
        assert signal.getsignal(signal.SIGALRM) is before
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_console_that_stays_open_closes_nothing() -> None:
    closed: list[bool] = []
    with told_of_closing(lambda: closed.append(True), 1.0):
        pass
    with pytest.raises(ZeroDivisionError), told_of_closing(lambda: closed.append(True), 1.0):
        raise ZeroDivisionError
    assert closed == []
