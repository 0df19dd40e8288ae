"""A conversion without a loss: every tensor has the type that its values have already."""

from collections.abc import Mapping, Sequence

import numpy as np

from qwill.convert.source import SourceTensor
from qwill.errors import UnsupportedModel
from qwill.quant.types import TYPES, TensorType


def kept_types(tensors: Sequence[SourceTensor], float_types: Mapping[str, TensorType]) -> dict[str, TensorType]:
    """The type of each tensor: its own, or F32 where that has no smaller form in the order of a GGUF file.

    `float_types` are those that an unquantized file has: what is F32 there is so here, since readers expect it. Raises
    UnsupportedModel for a type that GGUF does not have, such as FP8, where it is not F32 there.
    """
    types = {}
    for tensor in tensors:
        foreign = tensor.type.gguf_id is None
        floats = float_types[tensor.name] is TYPES["F32"] and (foreign or tensor.type.name in ("F16", "BF16"))
        if foreign and not floats:
            raise UnsupportedModel(f"{tensor.source}: {tensor.type.name} has no type in GGUF to keep; give --type BF16")
        types[tensor.name] = TYPES["F32"] if floats or not tensor.can_copy(tensor.type) else tensor.type
    return types


def with_factors(tensors: Sequence[SourceTensor], types: dict[str, TensorType]) -> list[SourceTensor]:
    """The tensors, and behind each that is copied in NVFP4 the factors of its parts, `X.scale` of `X.weight`.

    Adds their type, F32, to `types`. llama.cpp multiplies by them (src/llama-model.cpp).
    """
    result = []
    for tensor in tensors:
        result.append(tensor)
        if tensor.scales is None or types[tensor.name] is not TYPES["NVFP4"] or not tensor.can_copy(TYPES["NVFP4"]):
            continue
        factors = np.array([part.flat[0] for part in tensor.scales], np.float32)
        name = tensor.name.removesuffix("weight") + "scale"
        types[name] = TYPES["F32"]
        part = factors.view(np.uint8)
        shape = (len(factors),)
        result.append(SourceTensor(name, tensor.canonical, shape, TYPES["F32"], (part,), tensor.source, len(factors)))
    return result
