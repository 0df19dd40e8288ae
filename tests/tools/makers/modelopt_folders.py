"""modelopt: every scheme that a CPU can make, of each folder that is named. Arguments: target, folders."""

import copy
import sys
from pathlib import Path

import modelopt.torch.quantization as mtq
import torch
from folders import Tensors, store_values_of_files
from modelopt.torch.export import export_hf_checkpoint
from modelopt.torch.quantization.qtensor import FP8QTensor, MXFP4QTensor, MXFP8QTensor, NVFP4QTensor
from transformers import AutoModelForImageTextToText

SCHEMES = {
    "fp8": "FP8_DEFAULT_CFG",
    "fp8-rows": "FP8_PER_CHANNEL_PER_TOKEN_CFG",
    "fp8-blocks": "FP8_2D_BLOCKWISE_WEIGHT_ONLY_CFG",
    "int8": "INT8_DEFAULT_CFG",
    "int8-weights": "INT8_WEIGHT_ONLY_CFG",
    "int4": "INT4_BLOCKWISE_WEIGHT_ONLY_CFG",
    "int4-awq": "INT4_AWQ_CFG",
    "w4a8-awq": "W4A8_AWQ_BETA_CFG",
    "mxfp4": "MXFP4_DEFAULT_CFG",
    "mxfp8": "MXFP8_DEFAULT_CFG",
    "w4a8-mxfp4": "W4A8_MXFP4_FP8_CFG",
    "nvfp4": "NVFP4_DEFAULT_CFG",
    "nvfp4-weights": "W4A16_NVFP4_CFG",
    "w4a8-nvfp4": "W4A8_NVFP4_FP8_CFG",
    "nvfp4-experts": "NVFP4_EXPERTS_ONLY_CFG",
    "int8-smoothquant": "INT8_SMOOTHQUANT_CFG",
}
DENSE_ALONE = ("int4", "int4-awq", "w4a8-awq", "int8-smoothquant")  # it cannot export experts of these


def dequantized(tensors: Tensors) -> torch.Tensor | None:
    """A weight in float32; what inputs are multiplied by goes into it."""
    if "weight_scale" not in tensors:
        return None
    factors = tensors.get("pre_quant_scale", torch.ones(1))
    return without_factors(tensors) * factors.float()


def without_factors(tensors: Tensors) -> torch.Tensor:
    """By the library's quantized tensors; INT4 and INT8, for which it has none, as its packing undone, times scales."""
    weight, scale = tensors["weight"], tensors["weight_scale"]
    if weight.dtype == torch.int8:
        return weight.float() * scale[:, None]
    if weight.dtype == torch.float8_e4m3fn:
        shape = torch.Size(weight.shape)
        if scale.dtype == torch.uint8:
            return MXFP8QTensor(shape, torch.float32, weight).dequantize(scale=scale)
        if scale.ndim == 4:  # of blocks of 128 x 128
            return FP8QTensor(shape, torch.float32, weight).dequantize(
                scale=scale.squeeze((1, 3)), block_sizes={-1: 128, -2: 128}
            )
        return weight.float() * (scale[:, None] if scale.ndim else scale)
    if scale.dtype == torch.uint8:
        shape = torch.Size((weight.shape[0], 2 * weight.shape[1]))
        return MXFP4QTensor(shape, torch.float32, weight).dequantize(scale=scale, block_sizes={-1: 32})
    if scale.dtype == torch.float8_e4m3fn:
        shape, group = torch.Size((weight.shape[0], 2 * weight.shape[1])), 2 * weight.shape[1] // scale.shape[1]
        double = tensors["weight_scale_2"]
        quantized = NVFP4QTensor(shape, torch.float32, weight)
        return quantized.dequantize(scale=scale, double_scale=double, block_sizes={-1: group}, fast=False)
    low, high = weight & 15, weight >> 4
    codes = torch.stack((low, high), 1).reshape(-1, weight.shape[1]).to(torch.int8)
    codes = torch.where(codes > 7, codes - 16, codes)
    return codes.float() * scale.repeat_interleave(weight.shape[1] // scale.shape[1], 1)


def main() -> None:
    target, *sources = map(Path, sys.argv[1:])
    ids = torch.randint(0, 256, (4, 32), generator=torch.Generator().manual_seed(0))
    for source in sources:
        for name, preset in SCHEMES.items():
            if (source.name != "dense" and name in DENSE_ALONE) or (source.name == "dense" and "experts" in name):
                continue
            folder = target / source.name / name
            model = AutoModelForImageTextToText.from_pretrained(source, dtype=torch.bfloat16)
            mtq.quantize(model, copy.deepcopy(getattr(mtq, preset)), lambda each: each(input_ids=ids))
            export_hf_checkpoint(model, export_dir=str(folder))
            store_values_of_files(folder, dequantized)


main()
