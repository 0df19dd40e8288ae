"""Decoding of stored tensors to float32, by the native codecs (csrc/formats). Codecs know no files."""

import math

import numpy as np

from qwill._native import decode as decode_blocks
from qwill.quant.types import TensorType

# FP8 has no id in GGUF; the native enumeration gives it this one.
_F8_E4M3_ID = 100


def native_id(tensor_type: TensorType) -> int:
    """Id of a type for the native module: the GGUF id where it has one."""
    return _F8_E4M3_ID if tensor_type.gguf_id is None else tensor_type.gguf_id


def decode(tensor_type: TensorType, data: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a stored tensor as a new float32 array of `shape`.

    `data` holds the stored bytes, of any dtype and layout: rows along the last axis of `shape`, each of whole blocks,
    one after the other. Bit-exact to ggml's decoding (NaN payloads aside). FP8 comes without its block scales.
    """
    rows, columns = math.prod(shape[:-1]), shape[-1]
    stored = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    expected = rows * tensor_type.row_bytes(columns)
    assert stored.nbytes == expected, f"{tensor_type.name} of shape {shape} takes {expected} bytes, not {stored.nbytes}"
    values: np.ndarray = decode_blocks(native_id(tensor_type), stored, rows * columns)
    return values.reshape(shape)
