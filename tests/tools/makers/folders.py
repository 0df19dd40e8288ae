"""What the makers of quantized folders share: the tool's own values are stored beside what it writes."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]


def store_values(
    folder: Path, model: torch.nn.Module, dequantized: Callable[[torch.nn.Module], torch.Tensor | None]
) -> None:
    """Writes the values of all parameters in float32 under their names; `dequantized` gives those of a quantized
    module's weight, and None for others.
    """
    values: Tensors = {}
    for name, module in model.named_modules():
        weight = dequantized(module)
        if weight is not None:
            values[f"{name}.weight"] = weight.float()
        for part, parameter in module.named_parameters(recurse=False):
            if weight is None or part != "weight":
                values[f"{name}.{part}"] = parameter.detach().float()
    write_values(folder, values)


def store_values_of_files(folder: Path, dequantized: Callable[[Tensors], torch.Tensor | None]) -> None:
    """The same from the tensors of a folder's files: `dequantized` is given those of a module, by the ends of their
    names.
    """
    modules: dict[str, Tensors] = defaultdict(dict)
    for file in sorted(folder.glob("*.safetensors")):
        for name, tensor in load_file(file).items():
            modules[name.rpartition(".")[0]][name.rpartition(".")[2]] = tensor
    values: Tensors = {}
    for name, tensors in modules.items():
        weight = dequantized(tensors)
        if weight is None:
            values |= {f"{name}.{part}": tensor.float() for part, tensor in tensors.items()}
        else:
            values[f"{name}.weight"] = weight.float()
            if "bias" in tensors:
                values[f"{name}.bias"] = tensors["bias"].float()
    write_values(folder, values)


def write_values(folder: Path, values: Mapping[str, torch.Tensor]) -> None:
    """Beside the folder, as FOLDER-values.safetensors."""
    path = folder.with_name(f"{folder.name}-values.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in values.items()}, path)
