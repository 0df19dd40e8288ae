"""Arrays for what kernels write."""

import sys
from math import prod
from threading import Lock

import numpy as np

# Smaller arrays come from the heap, where memory is used again anyhow. Larger ones are an image's and go back to the
# system.
SMALLEST, LARGEST = 256 << 10, 64 << 20
_LINE = 64


class _Block:
    """`size` bytes from a cache line's boundary on, within an array that every view of them refers to."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.memory = np.empty(size + _LINE, np.uint8)
        self.start = -self.memory.ctypes.data % _LINE
        self._unused = self._references()

    def _references(self) -> int:
        return sys.getrefcount(self.memory)

    @property
    def idle(self) -> bool:
        return self._references() == self._unused


_blocks: list[_Block] = []
_lock = Lock()


def empty(*shape: int) -> np.ndarray:
    """Uninitialised float32 values.

    Large arrays begin on a cache line's boundary, and their memory is used again once nothing refers to them: clearing
    fresh pages took the system a twentieth of the time of a prompt. There are as many blocks as arrays that were in use
    together.
    """
    size = prod(shape) * 4
    if not SMALLEST <= size <= LARGEST:
        return np.empty(shape, np.float32)
    with _lock:
        block = _idle_block(size)
        return block.memory[block.start : block.start + size].view(np.float32).reshape(shape)


def _idle_block(size: int) -> _Block:
    idle = [block for block in _blocks if block.idle]
    fitting = [block for block in idle if block.size >= size]
    if fitting:
        return min(fitting, key=lambda block: block.size)
    if idle:
        _blocks.remove(max(idle, key=lambda block: block.size))
    _blocks.append(_Block(size))
    return _blocks[-1]
