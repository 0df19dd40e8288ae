"""bitsandbytes through transformers: every scheme, of each folder that is named. Arguments: target, folders."""

import sys
from pathlib import Path

import torch
from bitsandbytes.functional import QuantState, dequantize_4bit, int8_vectorwise_dequant
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from folders import store_values
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig

SCHEMES = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "fp4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
    "nf4-nested": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "nf4-in-bfloat16": {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_quant_storage": "bfloat16",
    },
    "int8": {"load_in_8bit": True},
    # As Unsloth's exports have it: nested NF4, and modules that stay as they are.
    "unsloth": {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": torch.bfloat16,
        "llm_int8_skip_modules": ["lm_head", "visual", "layers.1.mlp", "shared_expert_gate"],
    },
}


def dequantized(module: torch.nn.Module) -> torch.Tensor | None:
    """In float32, before the library rounds to the type that it computes in."""
    if isinstance(module, Linear4bit):
        state: QuantState = module.weight.quant_state
        state.dtype = torch.float32
        return dequantize_4bit(module.weight.data, state)
    if isinstance(module, Linear8bitLt):
        return int8_vectorwise_dequant(module.weight.data, module.weight.SCB)
    return None


def main() -> None:
    target, *sources = map(Path, sys.argv[1:])
    for source in sources:
        for name, options in SCHEMES.items():
            folder = target / source.name / name
            model = AutoModelForImageTextToText.from_pretrained(
                source, dtype=torch.bfloat16, quantization_config=BitsAndBytesConfig(**options)
            )
            model.save_pretrained(folder)
            store_values(folder, model, dequantized)
        # Unsloth's merged_16bit is the released layout.
        merged = AutoModelForImageTextToText.from_pretrained(source, dtype=torch.bfloat16)
        merged.save_pretrained(target / source.name / "merged-16bit")
        store_values(target / source.name / "merged-16bit", merged, lambda _: None)


main()
