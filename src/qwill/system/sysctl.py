"""What macOS tells under names such as hw.memsize."""

from contextlib import suppress


def sysctl_number(name: str) -> int | None:
    """A whole number; None where the system has none of that name."""
    value = _value(name)
    return int.from_bytes(value, "little") if value is not None and len(value) in (4, 8) else None


def sysctl_text(name: str) -> str:
    """A text; empty where the system has none of that name."""
    return (_value(name) or b"").partition(b"\0")[0].decode("utf-8", "replace").strip()


def _value(name: str) -> bytes | None:
    import ctypes

    with suppress(OSError, AttributeError):  # no such function: not macOS
        ask = ctypes.CDLL(None).sysctlbyname
        size = ctypes.c_size_t(0)
        if ask(name.encode(), None, ctypes.byref(size), None, ctypes.c_size_t(0)) == 0:
            room = ctypes.create_string_buffer(size.value)
            if ask(name.encode(), room, ctypes.byref(size), None, ctypes.c_size_t(0)) == 0:
                return room.raw[: size.value]
    return None
