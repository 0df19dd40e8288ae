"""The values of compressed-tensors' modules, by that library."""

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.quantization import QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import dequantize

FLOATS = (torch.bfloat16, torch.float16)


def dequantized(tensors: dict[str, torch.Tensor], scheme: QuantizationScheme, form: str) -> torch.Tensor:
    """A module's weight. The library computes in the type of its scales: here float32."""
    tensors = {name: each.float() if each.dtype in FLOATS else each for name, each in tensors.items()}
    if form != "nvfp4-pack-quantized":
        weight: torch.Tensor = BaseCompressor.get_value_from_registry(form).decompress(tensors, scheme)["weight"]
        return weight
    packed = tensors["weight_packed"]
    codes = unpack_fp4_from_uint8(packed, packed.shape[0], 2 * packed.shape[1], dtype=torch.float32)
    scale, factor = tensors["weight_scale"].float(), tensors["weight_global_scale"]
    return dequantize(codes, scale, args=scheme.weights, global_scale=factor, dtype=torch.float32)
