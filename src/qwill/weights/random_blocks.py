"""Random weights in their stored form: drawn as blocks, never quantized, so as fast as bytes are drawn."""

import math

import numpy as np

from qwill.quant.types import TensorType

STANDARD_DEVIATION = 0.02  # of a trained model's size, so nothing overflows

# Where a block's half-precision scales lie, and what of the standard deviation each is, when all other bits are random.
# A value is a product of independent uniform numbers: its variance is the product of their mean squares.
# - Q4_K, Q5_K: scale * (6 bits) * (4 or 5 bits) - minimum * (6 bits), centred when the minimum is 7.5 or 15.5 scales
# - Q2_K: the same with four bits for scale and minimum; Q4_1, Q5_1: scale * (4 or 5 bits) + minimum
# - Q6_K, Q3_K, IQ4_XS: scale * (8 or 6 bits, signed) * (6 or 3 bits, signed, or one of the 16 levels)
# - IQ2, IQ3: scale * (4 bits) * (a point of the grid), measured with the `gguf` package
_SCALES: dict[str, tuple[tuple[int, float], ...]] = {
    "Q8_0": ((0, 1 / 73.9),),
    "Q6_K": ((208, 1 / 1366),),
    "Q5_K": ((0, 1 / 527), (2, 15.5 / 527)),
    "Q4_K": ((0, 1 / 258), (2, 7.5 / 258)),
    "Q3_K": ((108, 1 / 43.4),),
    "Q2_K": ((80, 1 / 13.9), (82, 1.5 / 13.9)),
    "Q5_0": ((0, 1 / 9.25),),
    "Q5_1": ((0, 1 / 9.23), (2, -15.5 / 9.23)),
    "Q4_0": ((0, 1 / 4.63),),
    "Q4_1": ((0, 1 / 4.61), (2, -7.5 / 4.61)),
    "IQ4_NL": ((0, 1 / 67.4),),
    "IQ4_XS": ((0, 1 / 1246),),
    "IQ3_S": ((0, 1 / 140),),
    "IQ3_XXS": ((0, 1 / 143),),
    "IQ2_S": ((0, 1 / 56.4),),
    "IQ2_XS": ((0, 1 / 56),),
    "IQ2_XXS": ((0, 1 / 53.3),),
}
_MXFP4_LEVELS = 5.85  # root mean square of its 16 levels, twice the values of the format
_MXFP8_LEVELS = 100.1  # of all numbers of E4M3
_MXFP8_UNIT = 127
_MXFP4_UNIT = 128  # the exponent's code at which a level counts as it is


def random_blocks(
    tensor_type: TensorType,
    elements: int,
    rng: np.random.Generator,
    standard_deviation: float = STANDARD_DEVIATION,
) -> np.ndarray:
    """Stored bytes, flat uint8, of `elements` values of about that standard deviation and a mean near 0.

    MXFP4 and MXFP8 have powers of two for scales, so their deviation may be off by a factor of √2. Types: F32, F16,
    BF16, those of `_SCALES` and all that MLX has.
    """
    if tensor_type.name in ("F32", "F16", "BF16"):
        values = rng.standard_normal(elements, np.float32) * np.float32(standard_deviation)
        if tensor_type.name == "F16":
            return values.astype(np.float16).view(np.uint8)
        return (
            values.view(np.uint8) if tensor_type.name == "F32" else values.view(np.uint16)[1::2].copy().view(np.uint8)
        )
    total = tensor_type.row_bytes(elements)
    words = rng.integers(0, 2**64, -(-total // 8), np.uint64)
    stored: np.ndarray = words.view(np.uint8)[:total]
    blocks = stored.reshape(-1, tensor_type.block_bytes)
    if tensor_type.name == "MXFP4":
        blocks[:, 0] = _MXFP4_UNIT + round(math.log2(standard_deviation / _MXFP4_LEVELS))
    elif tensor_type.name == "MXFP8":
        blocks[:, 1:][(blocks[:, 1:] & 0x7F) == 0x7F] = 0  # NaN
        blocks[:, 0] = _MXFP8_UNIT + round(math.log2(standard_deviation / _MXFP8_LEVELS))
    elif tensor_type.name.startswith("AFFINE"):
        codes = 1 << int(tensor_type.name.removeprefix("AFFINE")[0])
        scale = standard_deviation / math.sqrt((codes**2 - 1) / 12)
        for offset, number in ((0, scale), (2, -(codes - 1) / 2 * scale)):
            half = np.array([number], np.float16).view(np.uint8)
            brain = np.array([number], np.float32).view(np.uint8)[2:]
            blocks[:, offset : offset + 2] = half if tensor_type.name.endswith("F16") else brain
    else:
        for offset, share in _SCALES[tensor_type.name]:
            blocks[:, offset : offset + 2] = np.array([standard_deviation * share], np.float16).view(np.uint8)
    return stored
