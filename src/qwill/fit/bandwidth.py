"""How fast this machine's memory is read."""

import time
from concurrent.futures import ThreadPoolExecutor

from qwill.system.memory import available_memory

BYTES = 512 << 20  # a thread; far more than any cache holds
PASSES = 3


def read_bandwidth(threads: int) -> float:
    """Bytes per second that `threads` threads read together, the best of three passes.

    Each looks for the greatest byte of its own array, which costs a vector instruction for each vector read. Less is
    read where a quarter of the free memory does not hold it.
    """
    import numpy as np  # not to tell of a machine

    size = max(min(BYTES, available_memory() // 4 // threads), 1)
    # Ones: pages of zeros that nobody wrote to would all be the same one.
    arrays = [np.ones(size, np.uint8) for _ in range(threads)]

    def seconds() -> float:
        start = time.perf_counter()
        list(pool.map(np.max, arrays))
        return time.perf_counter() - start

    with ThreadPoolExecutor(threads) as pool:
        return threads * size / min(seconds() for _ in range(PASSES))
