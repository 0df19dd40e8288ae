"""Digests of results, for what must be the same to the bit everywhere."""

import hashlib

import numpy as np


def digest(*arrays: np.ndarray) -> str:
    result = hashlib.sha256()
    for array in arrays:
        result.update(array.tobytes())
    return result.hexdigest()[:16]
