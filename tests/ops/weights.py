"""Random weights of every storage type, and what a projection by them must give."""

import numpy as np
from kernels import EPSILON

from qwill.ops.linear.reference import pack as decoded
from qwill.quant.types import TYPES, TensorType
from qwill.weights.tensor import Tensor

FLOATS = ("F32", "F16", "BF16", "F8_E4M3", "MXFP8")
AFFINE = tuple(name for name in TYPES if name.startswith("AFFINE"))
PACKED = (
    "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "IQ4_XS", "MXFP4",
    *AFFINE,
)  # fmt: skip
UNPACKED = tuple(name for name in TYPES if name not in FLOATS + PACKED)

# Where a block's half-precision scales lie, by type; 0 for all that are not listed.
SCALE_PLACES = {
    "Q4_1": (0, 2), "Q5_1": (0, 2), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q2_K": (80, 82), "Q3_K": (108,), "Q6_K": (208,),
    "IQ1_M": (), "MXFP4": (), "NVFP4": (), "MXFP8": (),
}  # fmt: skip
SCALE_PLACES |= dict.fromkeys(AFFINE, (0, 2))


def odd_columns(tensor_type: TensorType) -> int:
    """Columns that are whole blocks and nothing rounder."""
    return {1: 131, 32: 9 * 32, 64: 5 * 64, 256: 512}[tensor_type.block_elements]


def random_tensor(
    rng: np.random.Generator, name: str, rows: int, columns: int, experts: int = 0, by_row: bool = False
) -> Tensor:
    """Every code at random, scales finite and of ordinary size. `experts` makes the tensor three-dimensional.

    `by_row`: a scale for each row beside those of the blocks, in FP8 in place of those of its blocks.
    """
    parts = tuple(_random_part(rng, TYPES[name], rows, columns) for _ in range(experts or 1))
    shape = (experts, rows, columns) if experts else (rows, columns)
    scales = None
    if by_row:
        scales = tuple(rng.uniform(0.001, 0.003, (rows, 1)).astype(np.float32) for _ in parts)
    elif name == "F8_E4M3":
        blocks = (-(-rows // 128), -(-columns // 128))
        scales = tuple(rng.uniform(0.001, 0.003, blocks).astype(np.float32) for _ in parts)
    return Tensor(f"weight.{name}", shape, TYPES[name], parts, "random", scales)


def _random_part(rng: np.random.Generator, tensor_type: TensorType, rows: int, columns: int) -> np.ndarray:
    values = rng.standard_normal((rows, columns), dtype=np.float32)
    match tensor_type.name:
        case "F32":
            return values.view(np.uint8).reshape(-1)
        case "F16":
            return values.astype(np.float16).view(np.uint8).reshape(-1)
        case "BF16":
            return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8).reshape(-1)
    data = rng.integers(0, 256, rows * tensor_type.row_bytes(columns), dtype=np.uint8)
    blocks = data.reshape(-1, tensor_type.block_bytes)
    for place in SCALE_PLACES.get(tensor_type.name, (0,)) if tensor_type.block_elements > 1 else ():
        scales = rng.uniform(0.001, 0.01, len(blocks))
        if tensor_type.name in AFFINE and not tensor_type.name.endswith("F16"):
            halves = (scales.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        else:
            halves = scales.astype(np.float16).view(np.uint16)
        blocks[:, place : place + 2] = halves.view(np.uint8).reshape(-1, 2)
    match tensor_type.name:
        case "F8_E4M3":
            data[data & 0x7F == 0x7F] = 0  # NaN
        case "MXFP4":
            blocks[:, 0] = rng.integers(118, 124, len(blocks))
        case "MXFP8":
            blocks[:, 1:][blocks[:, 1:] & 0x7F == 0x7F] = 0
            blocks[:, 0] = rng.integers(112, 118, len(blocks))
        case "NVFP4":
            blocks[:, :4] &= 0x3F
        case "IQ1_M":
            blocks[:, 55] = blocks[:, 55] & 0x0F | 0x20  # the exponent's nibble of a scale that lies in four pieces
    return data


def rounded_to_int8(x: np.ndarray, scaled: int) -> np.ndarray:
    """The activations that a quantized weight is multiplied by, in float64: int8, a scale for `scaled` columns each."""
    blocks = x.reshape(len(x), -1, scaled)
    largest = np.abs(blocks).max(axis=-1, keepdims=True)
    quants = np.rint(blocks * (np.float32(127) / largest))
    return (quants.astype(np.float64) * (largest / np.float32(127)).astype(np.float64)).reshape(x.shape)


def rounded_to_bf16(x: np.ndarray) -> np.ndarray:
    """float32 to the nearest BF16, ties to even, as float32."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16 << 16).view(np.float32)


def expected_linear(x: np.ndarray, tensor: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """x Wᵀ of a matrix in float64 [tokens, rows], and the rounding error that its float32 sums may have."""
    weight = decoded(tensor).array.astype(np.float64)
    columns = x.shape[1]
    if tensor.type.name in PACKED:
        x = rounded_to_int8(x, 128 if tensor.type.block_elements == 256 else 32)
        # Each 32 columns (or 16) are exact integers, scaled in at most three roundings and added twice. Scale by code
        # exceeds the value by the block's minimum, less than three times the row's largest value. No error of that size
        # meets all the others of the sum: a tenth of the bound is a hundred times what is seen.
        largest = np.abs(weight).max(axis=-1)
        error = (columns / 16 + 8) * EPSILON * 4 * np.abs(x).sum(-1, keepdims=True) * largest
        return x @ weight.T, 0.1 * error
    # F16 that loses nothing as BF16 is multiplied as BF16; few values may all be such by chance.
    narrow = tensor.type.name == "F16" and bool((weight == rounded_to_bf16(weight.astype(np.float32))).all())
    x = (rounded_to_bf16(x) if narrow or tensor.type.name == "BF16" else x).astype(np.float64)
    # Two sums of 64 columns each, added, scaled and added to the other 128s; decoding rounds once.
    return x @ weight.T, (64 + columns / 128 + 4) * EPSILON * (np.abs(x) @ np.abs(weight).T)
