"""Unsigned numbers of a few bits in little-endian words, one after the other from the lowest bit on."""

import numpy as np


def unpack(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The first `count` numbers of each row. packed: uint8 [rows, bytes], contiguous → uint8 [rows, count]."""
    if bits == 8:
        return packed[:, :count]
    rows = packed.shape[0]
    if bits in (2, 4):
        numbers = np.empty((*packed.shape, 8 // bits), np.uint8)
        for place in range(8 // bits):
            np.bitwise_and(packed >> np.uint8(bits * place), np.uint8((1 << bits) - 1), out=numbers[..., place])
        return numbers.reshape(rows, -1)[:, :count]
    single = np.unpackbits(packed, axis=1, count=count * bits, bitorder="little").reshape(rows, count, bits)
    powers = (1 << np.arange(bits)).astype(np.uint8)
    return single @ powers


def words_needed(count: int, bits: int) -> int:
    """32-bit words for `count` numbers."""
    return -(-count * bits // 32)
