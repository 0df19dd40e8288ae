"""Independent decoders of every tensor type: the `gguf` package, and torch for what GGUF does not have."""

import gguf
import numpy as np
import torch

from qwill.quant.types import TensorType


def reference_decode(tensor_type: TensorType, rows: np.ndarray) -> np.ndarray:
    """float32 [rows, columns] of uint8 [rows, row bytes]."""
    if tensor_type.name == "F8_E4M3":
        return torch.from_numpy(rows.copy()).view(torch.float8_e4m3fn).float().numpy()
    if tensor_type.gguf_id is None:
        blocks = torch.from_numpy(rows.reshape(len(rows), -1, tensor_type.block_bytes).copy())
        values = _mxfp8(blocks) if tensor_type.name == "MXFP8" else _affine(blocks, tensor_type)
        return values.reshape(len(rows), -1).numpy()
    with np.errstate(all="ignore"):  # random scales bring infinities, and infinity times zero
        values = gguf.quants.dequantize(rows, gguf.GGMLQuantizationType[tensor_type.name])
    assert values.dtype == np.float32
    return values


def _mxfp8(blocks: torch.Tensor) -> torch.Tensor:
    """The largest exponent is 2^128 here, infinity, where torch has NaN."""
    power = torch.exp2(blocks[..., :1].double() - 127).float()
    return blocks[..., 1:].contiguous().view(torch.float8_e4m3fn).float() * power


def _affine(blocks: torch.Tensor, tensor_type: TensorType) -> torch.Tensor:
    bits = int(tensor_type.name.removeprefix("AFFINE")[0])
    dtype = torch.float16 if tensor_type.name.endswith("F16") else torch.bfloat16
    scale, bias = (blocks[..., place : place + 2].contiguous().view(dtype).float() for place in (0, 2))
    stream = (blocks[..., 4:, None] >> torch.arange(8) & 1).flatten(-2)
    codes = (stream.unflatten(-1, (-1, bits)).int() << torch.arange(bits)).sum(-1)
    return codes.float() * scale + bias


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
