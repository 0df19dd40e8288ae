"""GPTQModel: its formats of GPTQ and AWQ, of each folder that is named. Arguments: target, folders.

It quantizes towers' folders only with a processor, so these are of the text model alone.
"""

import os
import sys
from pathlib import Path

os.environ["GPTQMODEL_CPU_WORKERS"] = "2"  # with one it does not start

import torch
from folders import write_values
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
from gptqmodel.nn_modules.qlinear.torch_awq import AwqTorchLinear, dequantize_gemm
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

SCHEMES = {
    "int4": {"bits": 4, "group_size": 32},
    "int3": {"bits": 3, "group_size": 32},
    "int4-asymmetric": {"bits": 4, "group_size": 32, "sym": False},
    "int4-v2": {"bits": 4, "group_size": 32, "format": "gptq_v2"},
    "int4-act-order": {"bits": 4, "group_size": 32, "desc_act": True},
    "awq": {"bits": 4, "group_size": 32, "method": "awq", "format": "gemm"},
}
MIXTURE = ("int4",)  # each expert is a module


def store(folder: Path) -> None:
    """By the library's own layers in torch, as it loads the folder; but scales go in as they are stored, in float32,
    for it rounds them to the type of the model.
    """
    backend = BACKEND.AWQ_TORCH if folder.name == "awq" else BACKEND.TORCH
    loaded = GPTQModel.load(str(folder), device="cpu", backend=backend).model
    layers = {name: module for name, module in loaded.named_modules() if hasattr(module, "qweight")}
    assert layers
    stored = load_file(folder / "model.safetensors")
    values = {
        f"{name}.weight": dequantized(layer, stored[f"{name}.scales"].float()).T for name, layer in layers.items()
    }
    rest = {name: tensor.float() for name, tensor in stored.items() if name.rpartition(".")[0] not in layers}
    write_values(folder, values | rest)


def dequantized(layer: torch.nn.Module, scales: torch.Tensor) -> torch.Tensor:
    layer.scales = scales
    if isinstance(layer, AwqTorchLinear):
        return dequantize_gemm(layer.qweight, layer.qzeros, scales, layer.bits, layer.group_size)
    return layer.dequantize_weight()


def main() -> None:
    target, *sources = map(Path, sys.argv[1:])
    target.mkdir(parents=True, exist_ok=True)
    os.chdir(target)  # it leaves a folder where it runs
    ids = torch.randint(0, 256, (4, 32), generator=torch.Generator().manual_seed(0))
    texts = [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in ids]
    for source in sources:
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(source / "tokenizer.json"))
        for name, options in SCHEMES.items():
            if source.name != "dense" and name not in MIXTURE:
                continue
            folder = target / source.name / name
            model = GPTQModel.load(str(source), QuantizeConfig(**options), device="cpu")
            model.quantize(texts, tokenizer=tokenizer, batch_size=1)
            model.save(str(folder))
            store(folder)


main()
