"""One quantized module in a file of its own, read as the loader reads a checkpoint's."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from qwill.weights.folders.safetensors import read_safetensors
from qwill.weights.packed.schemes import read_scheme
from qwill.weights.packed.tensors import split_packed
from qwill.weights.tensor import Tensor

NAME = "model.layers.3.self_attn.o_proj"
CANONICAL = "layers.3.self_attn.o_proj.weight"


def opened(folder: Path, tensors: dict[str, torch.Tensor], quantization: dict[str, Any], name: str = NAME) -> Tensor:
    """The one matrix of a file with the tensors of a module, given by the ends of their names."""
    path = folder / "model.safetensors"
    save_file({name + ending: tensor.contiguous() for ending, tensor in tensors.items()}, path)
    plain, packed = split_packed(read_safetensors(path), read_scheme(folder, quantization), folder)
    assert not plain
    (tensor,) = packed
    assert name != NAME or tensor.name == CANONICAL
    return tensor
