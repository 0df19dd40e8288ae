"""torchao through transformers: every scheme that a CPU can make, of each folder that is named.

Arguments: target, folders.
"""

import sys
from pathlib import Path

import torch
from folders import store_values
from torchao.prototype.mx_formats import MXDynamicActivationMXWeightConfig, NVFP4WeightOnlyConfig
from torchao.quantization import (
    Float8WeightOnlyConfig,
    FqnToConfig,
    Int8DynamicActivationInt8WeightConfig,
    Int8DynamicActivationIntxWeightConfig,
    Int8WeightOnlyConfig,
    IntxWeightOnlyConfig,
    MappingType,
    PerGroup,
    PerTensor,
)
from torchao.quantization.quant_primitives import dequantize_affine
from torchao.utils import TorchAOBaseTensor
from transformers import AutoModelForImageTextToText, TorchAoConfig

FOUR, TWO, GROUP = torch.int4, torch.int2, PerGroup(32)
SCHEMES = {
    "int8-rows": Int8WeightOnlyConfig(),
    "int8-groups": Int8WeightOnlyConfig(granularity=PerGroup(64)),
    "int8-tensor": Int8WeightOnlyConfig(granularity=PerTensor()),
    "int8-dynamic": Int8DynamicActivationInt8WeightConfig(),
    "float8-rows": Float8WeightOnlyConfig(),
    "int4": IntxWeightOnlyConfig(weight_dtype=FOUR, granularity=GROUP),
    "int4-asymmetric": IntxWeightOnlyConfig(weight_dtype=FOUR, granularity=GROUP, mapping_type=MappingType.ASYMMETRIC),
    "int2": IntxWeightOnlyConfig(weight_dtype=TWO, granularity=GROUP),
    "int4-dynamic": Int8DynamicActivationIntxWeightConfig(weight_dtype=FOUR, weight_granularity=GROUP),
    "mxfp8": MXDynamicActivationMXWeightConfig(),
    "mxfp4": MXDynamicActivationMXWeightConfig(
        activation_dtype=torch.float4_e2m1fn_x2, weight_dtype=torch.float4_e2m1fn_x2
    ),
    "nvfp4": NVFP4WeightOnlyConfig(),
    "mixed": FqnToConfig(
        {
            r"re:.*self_attn\..*_proj": Int8WeightOnlyConfig(),
            r"re:.*mlp\.(shared_expert\.)?(gate|up|down)_proj": IntxWeightOnlyConfig(
                weight_dtype=FOUR, granularity=GROUP
            ),
        }
    ),
}
# One row: NVFP4 wants 16.
KEPT = {"nvfp4": ["lm_head", ".*shared_expert_gate"]}


def dequantized(module: torch.nn.Module) -> torch.Tensor | None:
    """In float32, before the library rounds to the type that it computes in."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, TorchAOBaseTensor):
        return None
    if hasattr(weight, "target_dtype"):  # IntxUnpackedToInt8Tensor
        whole = (weight.qdata, tuple(weight.block_size), weight.scale.float(), weight.zero_point)
        return dequantize_affine(*whole, torch.int8, output_dtype=torch.float32)
    return weight.dequantize(torch.float32)


def main() -> None:
    target, *sources = map(Path, sys.argv[1:])
    for source in sources:
        for name, scheme in SCHEMES.items():
            folder = target / source.name / name
            options = TorchAoConfig(scheme, modules_to_not_convert=KEPT.get(name))
            model = AutoModelForImageTextToText.from_pretrained(
                source, dtype=torch.bfloat16, quantization_config=options
            )
            model.save_pretrained(folder)
            store_values(folder, model, dequantized)


main()
