"""What the makers of quantized folders share: the tool's own values are stored beside what it writes."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

VALUES = "values.safetensors"


def store_values(
    folder: Path, model: torch.nn.Module, dequantized: Callable[[torch.nn.Module], torch.Tensor | None]
) -> None:
    """Writes the values of all parameters in float32 under their names; `dequantized` gives those of a quantized
    module's weight, and None for others.
    """
    values: dict[str, torch.Tensor] = {}
    for name, module in model.named_modules():
        weight = dequantized(module)
        if weight is not None:
            values[f"{name}.weight"] = weight.float()
        for part, parameter in module.named_parameters(recurse=False):
            if weight is None or part != "weight":
                values[f"{name}.{part}"] = parameter.detach().float()
    write_values(folder, values)


def write_values(folder: Path, values: Mapping[str, torch.Tensor]) -> None:
    save_file({name: tensor.contiguous() for name, tensor in values.items()}, folder / VALUES)
