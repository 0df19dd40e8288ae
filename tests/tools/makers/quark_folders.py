"""Quark: every scheme of weights that it exports, of each folder that is named. Arguments: target, folders."""

import json
import sys
from functools import partial
from pathlib import Path

import torch
from folders import Tensors, store_values_of_files
from quark.torch import ModelQuantizer, export_safetensors
from quark.torch.quantization.config.config import (
    DataTypeSpec,
    FP8E4M3PerChannelSpec,
    FP8E4M3PerTensorSpec,
    Int2PerGroupSpec,
    Int4PerGroupSpec,
    Int8PerChannelSpec,
    Int8PerTensorSpec,
    OCP_MXFP4Spec,
    OCP_MXFP6E2M3Spec,
    QConfig,
    QLayerConfig,
    Uint4PerGroupSpec,
)
from quark.torch.utils.pack import create_pack_method
from transformers import AutoModelForImageTextToText

KEPT = ["lm_head", "*visual*", "*in_proj_a", "*in_proj_b", "*mlp.gate", "*shared_expert_gate"]
FLOAT = {"scale_type": "float", "is_dynamic": False}
GROUP = {"ch_axis": -1, "group_size": 128} | FLOAT
SCHEMES: dict[str, DataTypeSpec] = {
    "int4": Int4PerGroupSpec(symmetric=True, **GROUP),
    "uint4": Uint4PerGroupSpec(symmetric=False, **GROUP),
    "int8-rows": Int8PerChannelSpec(ch_axis=0, symmetric=True, **FLOAT),
    "int8-tensor": Int8PerTensorSpec(symmetric=True, **FLOAT),
    "fp8": FP8E4M3PerTensorSpec(**FLOAT),
    "fp8-rows": FP8E4M3PerChannelSpec(ch_axis=0, **FLOAT),
    "mxfp4": OCP_MXFP4Spec(ch_axis=-1, is_dynamic=False),
    # Not read.
    "int2": Int2PerGroupSpec(symmetric=True, **GROUP),
    "mxfp6": OCP_MXFP6E2M3Spec(ch_axis=-1, is_dynamic=False),
}


def dequantized(tensors: Tensors, dtype: str, scheme: str) -> torch.Tensor | None:
    """A weight in float32: codes as the library unpacks them, times scales."""
    if "weight_scale" not in tensors:
        return None
    pack = create_pack_method(qscheme=scheme, dtype=dtype)
    weight, scale = tensors["weight"], tensors["weight_scale"]
    if dtype == "fp4":
        codes = pack.unpack(weight, False)
        return codes.float() * torch.exp2(scale.float() - 127).repeat_interleave(32, 1)
    if dtype not in ("int4", "uint4"):
        zero = tensors.get("weight_zero_point", torch.zeros((), dtype=torch.int8)).float()
        return (weight.float() - (zero[:, None] if zero.ndim else zero)) * (
            scale.float()[:, None] if scale.ndim else scale.float()
        )
    codes, zeros = pack.unpack(weight, True), pack.unpack(tensors["weight_zero_point"], True)
    group = codes.shape[1] // zeros.shape[1]
    return (codes.float() - zeros.float().repeat_interleave(group, 1)) * scale.float().T.repeat_interleave(group, 1)


def main() -> None:
    target, *sources = map(Path, sys.argv[1:])
    ids = torch.randint(0, 256, (2, 16), generator=torch.Generator().manual_seed(0))
    for source in sources:
        for name, spec in SCHEMES.items():
            folder = target / source.name / name
            model = AutoModelForImageTextToText.from_pretrained(source, dtype=torch.bfloat16)
            config = QConfig(global_quant_config=QLayerConfig(weight=spec.to_quantization_spec()), exclude=KEPT)
            quantizer = ModelQuantizer(config)
            model = quantizer.freeze(quantizer.quantize_model(model, [ids]))
            with torch.no_grad():
                export_safetensors(model, str(folder))
            said = json.loads((folder / "config.json").read_text())["quantization_config"]["global_quant_config"]
            dtype, scheme = said["weight"]["dtype"], said["weight"]["qscheme"]
            if name not in ("int2", "mxfp6"):
                store_values_of_files(folder, partial(dequantized, dtype=dtype, scheme=scheme))


main()
