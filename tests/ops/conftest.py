"""What the tests of operations share: random numbers that are fresh in every run, and poisoned memory."""

import ctypes
import sys

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    seed = np.random.SeedSequence().entropy
    print(f"np.random.default_rng({seed})")
    return np.random.default_rng(seed)


@pytest.fixture
def poisoned_memory() -> None:
    """Leaves NaN in the free memory that the kernel's scratch and output are about to be taken from.

    The first block may be a mapping of its own; freeing it makes malloc serve the second one from the heap.
    """
    library = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)  # the C library of the kernels
    library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes = [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    size = 4 << 20
    for _ in range(2):
        block = library.malloc(size)
        ctypes.memset(block, 0xFF, size)
        library.free(block)
