"""Native kernels of each instruction set, as the tests take them."""

from functools import cache

import numpy as np
from qwill._native import Cpu, available_isas

ISAS = available_isas()
EPSILON = float(np.finfo(np.float32).eps)


@cache
def cpu_of(isa: str, threads: int = 2) -> Cpu:
    return Cpu(isa, threads)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def random_starts(rng: np.random.Generator, tokens: int, sequences: int) -> np.ndarray:
    """int32 [sequences + 1]: first rows of `sequences` runs of at least one token."""
    inner = rng.choice(np.arange(1, tokens), sequences - 1, replace=False)
    return np.sort(np.concatenate([[0], inner, [tokens]])).astype(np.int32)
