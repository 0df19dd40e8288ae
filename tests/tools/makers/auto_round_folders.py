"""AutoRound: every scheme in every format of folders, of each folder that is named, rounded to nearest.

Arguments: target, folders.
"""

import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path

import torch
from auto_round import AutoRound
from auto_round.export.export_to_awq.utils import dequantize_gemm
from auto_round_extension.torch.qlinear_torch_zp import QuantLinear
from compressed import dequantized
from compressed_tensors.quantization import QuantizationScheme, preset_name_to_scheme
from folders import Tensors, store_values_of_files
from transformers import AutoModelForImageTextToText, PreTrainedTokenizerFast

# Name: scheme, format, whether zeros are in the middle.
SCHEMES = {
    "int2": ("W2A16", "auto_round", True),
    "int3": ("W3A16", "auto_round", True),
    "int4": ("W4A16", "auto_round", True),
    "int8": ("W8A16", "auto_round", True),
    "int4-asymmetric": ("W4A16", "auto_round", False),
    "int4-as-gptq": ("W4A16", "auto_gptq", True),
    "int8-as-gptq": ("W8A16", "auto_gptq", True),
    "int4-as-awq": ("W4A16", "auto_awq", True),
    "int4-asymmetric-as-awq": ("W4A16", "auto_round:auto_awq", False),
    "int4-as-compressed": ("W4A16", "llm_compressor", True),
    "int5-as-compressed": ("W5A16", "llm_compressor", True),
    "int8-as-compressed": ("INT8", "llm_compressor", True),
    "float8-tensor": ("FPW8A16", "auto_round", True),
    "float8-blocks": ("FP8_BLOCK", "auto_round", True),
    "float8-blocks-as-released": ("FP8_BLOCK", "fp8", True),
    "mxfp4": ("MXFP4", "auto_round", True),
    "mxfp4-as-compressed": ("MXFP4", "llm_compressor", True),
    "mxfp8": ("MXFP8", "auto_round", True),
    "nvfp4": ("NVFP4", "auto_round", True),
    "unquantized": ("INT8", "auto_round", True),
    # Not read.
    "mxint4": ("MXINT4", "auto_round", True),
    "nvfp4-e5m3": ("NVFP4_E5M3", "auto_round", True),
}
# Of members with experts, of which each is a module: one of each layout, for they take minutes.
MIXTURE = ("int4", "int4-as-gptq", "mxfp4")


def of_module(tensors: Tensors, scheme: QuantizationScheme | None, form: str) -> torch.Tensor | None:
    """A weight by the code that AutoRound computes with; scales go in as float32."""
    if "qweight" in tensors:
        scales = tensors["scales"].float()
        bits = tensors["qzeros"].shape[1] * 32 // scales.shape[1]  # modules may differ
        if form == "awq":
            return dequantize_gemm(tensors["qweight"], tensors["qzeros"], scales, bits, GROUP).T
        rows, columns = scales.shape[1], tensors["qweight"].shape[0] * 32 // bits
        layer = QuantLinear(bits, GROUP, columns, rows, bias=False)
        layer.qweight, layer.qzeros, layer.scales = tensors["qweight"], tensors["qzeros"], scales
        return layer(torch.eye(columns)).T
    if "weight_scale_inv" in tensors:
        scale = tensors["weight_scale_inv"].float().repeat_interleave(128, 0).repeat_interleave(128, 1)
        return tensors["weight"].float() * scale[: tensors["weight"].shape[0], : tensors["weight"].shape[1]]
    if "weight_scale" not in tensors:
        return None
    if scheme is None:
        return tensors["weight"].float() * tensors["weight_scale"].float()
    return dequantized(tensors, scheme, form)


GROUP = 128


def layout(config: dict) -> tuple[QuantizationScheme | None, str]:
    """By what the modules' tensors are read: a scheme of compressed-tensors and its form, or the name of another."""
    quantization = config["quantization_config"]
    numbers, bits = quantization.get("data_type"), quantization.get("bits")
    if quantization["quant_method"] == "compressed-tensors":
        (group,) = quantization["config_groups"].values()
        return QuantizationScheme(**group), quantization["format"]
    if (numbers, bits) in FLOATS:
        preset, form = FLOATS[numbers, bits]
        return preset_name_to_scheme(preset, ["Linear"]), form
    return None, "awq" if "awq" in (quantization["quant_method"] + quantization.get("packing_format", "")) else "gptq"


FLOATS = {
    ("mx_fp", 4): ("MXFP4", "mxfp4-pack-quantized"),
    ("mx_fp", 8): ("MXFP8", "mxfp8-quantized"),
    ("nv_fp", 4): ("NVFP4", "nvfp4-pack-quantized"),
}


def main() -> None:
    target, *sources = map(Path, sys.argv[1:])
    target.mkdir(parents=True, exist_ok=True)
    os.chdir(target)  # it leaves a folder where it runs
    ids = torch.randint(0, 256, (8, 64), generator=torch.Generator().manual_seed(0))
    for source in sources:
        for name, (scheme, form, symmetric) in SCHEMES.items():
            if source.name != "dense" and name not in MIXTURE:
                continue
            folder = target / source.name / name
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(source / "tokenizer.json"))
            model = AutoModelForImageTextToText.from_pretrained(source, dtype=torch.bfloat16)
            rounder = AutoRound(
                model, tokenizer, processor=tokenizer, scheme=scheme, sym=symmetric, iters=0, disable_opt_rtn=True,
                nsamples=8, seqlen=64, dataset=[{"input_ids": row[None]} for row in ids], device_map="cpu",
            )  # fmt: skip
            rounder.quantize_and_save(output_dir=str(folder), format=form)
            inner = list(folder.iterdir())
            if len(inner) == 1:  # it writes into a folder within
                for file in inner[0].iterdir():
                    shutil.move(file, folder)
                inner[0].rmdir()
            config = json.loads((folder / "config.json").read_text())
            if name not in ("mxint4", "nvfp4-e5m3"):
                scheme_of, form_of = layout(config)
                store_values_of_files(folder, partial(of_module, scheme=scheme_of, form=form_of))


main()
