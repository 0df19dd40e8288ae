"""Independent decoders of every tensor type: the `gguf` package, and torch for FP8, which GGUF does not have."""

import gguf
import numpy as np
import torch

from qwill.quant.types import TensorType


def reference_decode(tensor_type: TensorType, rows: np.ndarray) -> np.ndarray:
    """float32 [rows, columns] of uint8 [rows, row bytes]."""
    if tensor_type.name == "F8_E4M3":
        return torch.from_numpy(rows.copy()).view(torch.float8_e4m3fn).float().numpy()
    with np.errstate(all="ignore"):  # random scales bring infinities, and infinity times zero
        values = gguf.quants.dequantize(rows, gguf.GGMLQuantizationType[tensor_type.name])
    assert values.dtype == np.float32
    return values


def assert_same_bits(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal to the bit, the sign of zero included; of NaN only that it is NaN, since payloads carry no value."""
    assert actual.dtype == expected.dtype == np.float32
    assert actual.shape == expected.shape
    both_nan = np.isnan(actual) & np.isnan(expected)
    different = (actual.view(np.uint32) != expected.view(np.uint32)) & ~both_nan
    if different.any():
        where = tuple(int(i) for i in np.argwhere(different)[0])
        raise AssertionError(
            f"{different.sum()} values differ, first at {where}: {actual[where]!r}, not {expected[where]!r}"
        )
