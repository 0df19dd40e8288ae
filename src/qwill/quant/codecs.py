"""Stored tensors to float32 and back, by the native codecs (csrc/formats, csrc/encode). Codecs know no files."""

import math
import os

import numpy as np

from qwill._native import Cpu, available_isas
from qwill._native import decode as decode_blocks
from qwill.errors import InvalidArgument
from qwill.quant.types import TensorType

# What has no id in GGUF has one in the native enumeration (csrc/formats/decode.h).
_OWN_IDS = {
    "F8_E4M3": 100, "MXFP8": 101,
    "AFFINE2_64": 110, "AFFINE3_64": 111, "AFFINE4_64": 112, "AFFINE5_64": 113, "AFFINE6_64": 114, "AFFINE8_64": 115,
    "AFFINE2_32": 120, "AFFINE3_32": 121, "AFFINE4_32": 122, "AFFINE5_32": 123, "AFFINE6_32": 124, "AFFINE8_32": 125,
    "AFFINE8_32_F16": 130,
}  # fmt: skip


def native_id(tensor_type: TensorType) -> int:
    """Id of a type for the native module: the GGUF id where it has one."""
    return _OWN_IDS[tensor_type.name] if tensor_type.gguf_id is None else tensor_type.gguf_id


def decode(tensor_type: TensorType, data: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a stored tensor as a new float32 array of `shape`.

    `data` holds the stored bytes, of any dtype and layout: rows along the last axis of `shape`, each of whole blocks,
    one after the other. Bit-exact to ggml's decoding (NaN payloads aside), of affine types to MLX's in float32. Without
    the scales that a tensor has beside its blocks.
    """
    rows, columns = math.prod(shape[:-1]), shape[-1]
    stored = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    expected = rows * tensor_type.row_bytes(columns)
    assert stored.nbytes == expected, f"{tensor_type.name} of shape {shape} takes {expected} bytes, not {stored.nbytes}"
    values: np.ndarray = decode_blocks(native_id(tensor_type), stored, rows * columns)
    return values.reshape(shape)


def encode(
    tensor_type: TensorType, values: np.ndarray, importance: np.ndarray | None = None, threads: int = 1, isa: str = ""
) -> np.ndarray:
    """float32 [rows, columns], finite, to stored rows: uint8 [rows, row bytes] of `tensor_type`.

    Minimises the squared error, weighted by column when `importance` says how much each matters: float32 [columns], not
    negative, the mean square of what the column is multiplied by. Part of the weight stays even, see
    csrc/encode/encode.h. The bytes depend neither on `threads` nor on `isa`, an instruction set of this processor
    (empty: the best). FP8 takes `encode_fp8`.
    Raises InvalidArgument for a type that has no encoder and for rows that are not whole blocks of it.
    """
    cpu = _cpu(threads, isa)
    columns = values.shape[1]
    if not cpu.can_encode(native_id(tensor_type)):
        raise InvalidArgument(f"there is no encoder for {tensor_type.name}")
    if columns % tensor_type.block_elements:
        blocks = f"whole blocks of {tensor_type.block_elements}"
        raise InvalidArgument(f"rows of {columns} elements are not {blocks}, which {tensor_type.name} takes")
    values = np.ascontiguousarray(values, np.float32)
    assert cpu.is_finite(values), "values to encode are finite"
    if importance is not None:
        importance = np.ascontiguousarray(importance, np.float32)
        assert importance.shape == (columns,), (importance.shape, columns)
        assert np.isfinite(importance).all(), "importance is finite"
        assert (importance >= 0).all(), "importance is not negative"
    stored: np.ndarray = cpu.encode(native_id(tensor_type), values, importance)
    return stored


def can_encode(tensor_type: TensorType) -> bool:
    """Whether `encode` knows the type."""
    return bool(_cpu(1, "").can_encode(native_id(tensor_type)))


def encode_fp8(values: np.ndarray, threads: int = 1, isa: str = "") -> tuple[np.ndarray, np.ndarray]:
    """float32 [rows, columns], finite, as E4M3 bytes [rows, columns] and float32 scales [rows / 128, columns / 128].

    The layout of the official FP8 releases: a value is its number times the scale of its block of 128 x 128 (the last
    ones may be smaller), there called `weight_scale_inv`.
    """
    cpu = _cpu(threads, isa)
    values = np.ascontiguousarray(values, np.float32)
    assert cpu.is_finite(values), "values to encode are finite"
    numbers, scales = cpu.encode_fp8(values)
    return numbers, scales


def is_finite(values: np.ndarray, threads: int = 1) -> bool:
    """Whether no value of a float32 matrix is NaN or infinite, as fast as memory gives them."""
    return bool(_cpu(threads, "").is_finite(np.ascontiguousarray(values, np.float32)))


def _cpu(threads: int, isa: str) -> Cpu:
    return Cpu(isa or os.environ.get("QWILL_ISA") or available_isas()[-1], threads)
