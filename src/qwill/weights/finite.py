"""Looking for NaN and infinity in weights of any type without decoding them: in floats or in the blocks' scales."""

import numpy as np

from qwill.errors import CheckpointError
from qwill.weights.tensor import Tensor

CHUNK_BYTES = 1 << 24

# Byte positions of the half-precision scales inside a block, read from ggml's block layouts (`ggml-common.h`).
_HALF_SCALES = {
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,),
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
    "IQ2_XXS": (0,), "IQ2_XS": (0,), "IQ2_S": (0,), "IQ3_XXS": (0,), "IQ3_S": (0,), "IQ1_S": (0,),
    "IQ4_NL": (0,), "IQ4_XS": (0,), "AFFINE8_32_F16": (0, 2),
}  # fmt: skip
_IQ1_M_SCALES = 48  # four u16 whose top nibbles, first the lowest, make up one half-precision scale
_E8M0_OVERFLOW = 0xFD  # 2^126, of which the largest code makes 6 * 2^126; 0xFF is NaN
_MXFP8_OVERFLOW = 0xF7  # 2^120, of which the largest code makes 448 * 2^120
_AFFINE_OVERFLOW = 0x7B00  # 2^119 in BF16, of which no code of eight bits makes infinity
_HALF_EXPONENT, _BFLOAT_EXPONENT = 0x7C00, 0x7F80


def check_finite(tensor: Tensor, sample: bool = False) -> None:
    """Raises CheckpointError naming the tensor when a value or scale in it is NaN or infinite.

    `sample` looks only at the first 16 MiB of every part, enough to notice a file that is not what it says.
    """
    block = tensor.type.block_bytes
    step = CHUNK_BYTES // block * block
    for number, part in enumerate(tensor.parts):
        for begin in range(0, step if sample else part.nbytes, step):
            if not is_finite(part[begin : begin + step], tensor.type.name, block):
                expert = f" (expert {number})" if len(tensor.parts) > 1 else ""
                raise CheckpointError(f"{tensor.source}: {tensor.name}{expert} holds NaN or infinity; it is damaged")


def is_finite(data: np.ndarray, type_name: str, block: int) -> bool:
    """Whether all values of stored blocks are numbers. data: flat uint8, whole blocks of `block` bytes."""
    if type_name == "F32":
        return bool(np.isfinite(data.view(np.float32)).all())
    if type_name == "F16":
        return _no_full_exponent(data.view(np.uint16), _HALF_EXPONENT)
    if type_name == "BF16":
        return _no_full_exponent(data.view(np.uint16), _BFLOAT_EXPONENT)
    if type_name == "F8_E4M3":
        return not _has_nan(data)
    blocks = data.reshape(-1, block)
    if type_name == "MXFP4":
        return not (blocks[:, 0] >= _E8M0_OVERFLOW).any()
    if type_name == "MXFP8":
        return not (blocks[:, 0] >= _MXFP8_OVERFLOW).any() and not _has_nan(blocks[:, 1:])
    if type_name == "NVFP4":
        return True  # every bit pattern of its scales is a number to ggml
    if type_name == "IQ1_M":
        words = np.ascontiguousarray(blocks[:, _IQ1_M_SCALES:]).view(np.uint16)
        scales = words[:, 0] >> 12 | words[:, 1] >> 8 & 0x00F0 | words[:, 2] >> 4 & 0x0F00 | words[:, 3] & 0xF000
        return _no_full_exponent(scales, _HALF_EXPONENT)
    if type_name.startswith("AFFINE") and type_name not in _HALF_SCALES:
        return not ((np.ascontiguousarray(blocks[:, :4]).view(np.uint16) & 0x7FFF) >= _AFFINE_OVERFLOW).any()
    return all(
        _no_full_exponent(np.ascontiguousarray(blocks[:, at : at + 2]).view(np.uint16), _HALF_EXPONENT)
        for at in _HALF_SCALES[type_name]
    )


def _has_nan(numbers: np.ndarray) -> bool:
    """Of E4M3."""
    return bool(((numbers & 0x7F) == 0x7F).any())


def _no_full_exponent(words: np.ndarray, mask: int) -> bool:
    return not ((words & mask) == mask).any()
