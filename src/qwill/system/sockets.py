"""A server's socket and its event loop."""

import asyncio
import socket
import sys


def own_address(listening: socket.socket) -> None:
    """Before it is bound: the address can be had at once after a server has ended, and by nobody else meanwhile."""
    if sys.platform == "win32":  # there SO_REUSEADDR lets any program take an address away
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's, where there is one: it sends a piece of a stream in half of the time."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    try:
        import uvloop
    except ImportError:  # it has no wheels for some Pythons and systems
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
