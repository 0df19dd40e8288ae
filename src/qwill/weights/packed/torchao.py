"""torchao's tensors as transformers stores them, `X.weight` in parts.

    X._weight_qdata             what the others multiply, of the kinds below
    X._weight_scale             scales
    X._weight_zero_point        I8 like the scales: Int8Tensor, IntxUnpackedToInt8Tensor
    X._weight_per_tensor_scale  F32, a factor of all: NVFP4Tensor; may be absent

    Int8Tensor, IntxUnpackedToInt8Tensor  qdata I8 [rows, columns], scale [rows, groups] or of one element
    Float8Tensor                          qdata F8_E4M3 [rows, columns], scale F32 [rows, 1] or [1, 1]
    MXTensor                              qdata F8_E4M3, or U8 with two codes of E2M1 a byte; scale F8_E8M0
    NVFP4Tensor                           qdata U8, scale F8_E4M3

Scales of the last two are [rows, groups], or swizzled: tiles of 128 rows and 4 groups, in each row 32 j + i behind
row i, as [32 * tiles down, 16 * tiles across]. Shapes and dtypes tell all of them apart. The layout was read from
torchao 0.18 (`prototype/safetensors`, `prototype/mx_formats`, `quantization/quantize_/workflows`).
"""

from typing import Any

import numpy as np

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.weights.mapped import RawTensor
from qwill.weights.packed.compressed import int_quantized_matrix
from qwill.weights.packed.fp4 import MXFP4_GROUP, NVFP4_GROUP, mxfp4_matrix, nvfp4_matrix
from qwill.weights.packed.fp8 import fp8_matrix
from qwill.weights.packed.matrix import Module, PackedMatrix
from qwill.weights.packed.mxfp8 import mxfp8_matrix

_QDATA, _SCALE, _ZERO, _FACTOR = "._weight_qdata", "._weight_scale", "._weight_zero_point", "._weight_per_tensor_scale"
# Layouts of int4 that torchao makes for a device alone, by what tells them.
_TILES, _CHANNEL_FACTORS = "._weight_scale_and_zero", "._weight_act_pre_scale"
ENDINGS = (_QDATA, _SCALE, _ZERO, _FACTOR, _TILES, _CHANNEL_FACTORS)
_NAMES = {_QDATA: ".weight", _SCALE: ".weight_scale", _ZERO: ".weight_zero_point", _FACTOR: ".weight_scale_2"}


def bits_of_integers(quantization: dict[str, Any]) -> int:
    """How many bits the codes have that lie in bytes each: what the one type of all modules says, else 8."""
    said: Any = quantization.get("quant_type")
    for key in ("default", "_data", "weight_dtype", "_data"):
        said = said.get(key) if isinstance(said, dict) else None
    return int(said[-1]) if said in tuple(f"int{bits}" for bits in range(1, 9)) else 8


def torchao_matrix(module: Module, bits: int) -> PackedMatrix:
    """The matrix of a module. Raises CheckpointError or UnsupportedModel when a tensor is missing or does not fit."""
    if _TILES in module.tensors:
        raise _of_a_device(module.tensors[_TILES], "Int4TilePackedTo4dTensor")
    if _CHANNEL_FACTORS in module.tensors:
        raw = module.tensors[_CHANNEL_FACTORS]
        raise UnsupportedModel(f"{raw.source}: factors of input channels (AWQ, SmoothQuant) are not supported")
    qdata = module.get(_QDATA, ("I8", "U8", "F8_E4M3", "I32"), 2)
    scale = module.tensors.get(_SCALE)
    if qdata.dtype == "I32":
        raise _of_a_device(qdata, "Int4PlainInt32Tensor")
    if scale is None:
        raise CheckpointError(f"{qdata.source}: has no {module.name}{_SCALE} beside it; download the model again")
    renamed = Module(module.name, {_NAMES[ending]: raw for ending, raw in module.tensors.items()})
    if qdata.dtype == "I8":
        return int_quantized_matrix(renamed, bits)
    if qdata.dtype == "F8_E4M3":
        if scale.dtype != "F8_E8M0":
            return fp8_matrix(renamed)
        return mxfp8_matrix(_in_rows(renamed, scale, qdata.shape[1], MXFP4_GROUP))
    if scale.dtype == "F8_E8M0":
        return mxfp4_matrix(_in_rows(renamed, scale, 2 * qdata.shape[1], MXFP4_GROUP), ".weight")
    if scale.dtype == "F8_E4M3":
        return nvfp4_matrix(_in_rows(renamed, scale, 2 * qdata.shape[1], NVFP4_GROUP), ".weight")
    raise _of_a_device(qdata, "Int4Tensor")


def _of_a_device(raw: RawTensor, kind: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"{raw.source}: torchao's {kind}, a layout for one kind of device, is not supported; use a folder quantized"
        " with IntxWeightOnlyConfig, or a GGUF file of its size, such as Q4_K_M"
    )


def _in_rows(module: Module, scale: RawTensor, columns: int, group: int) -> Module:
    """The module with scales [rows, groups], whichever way they lie."""
    rows, groups = module.tensors[".weight"].shape[0], columns // group
    down, across = -(-rows // 128), -(-groups // 4)
    if scale.shape != (32 * down, 16 * across):
        return module
    tiles = scale.data.reshape(down, across, 32, 4, 4)
    ordered = np.ascontiguousarray(tiles.transpose(0, 3, 2, 1, 4)).reshape(128 * down, 4 * across)[:rows, :groups]
    plain = scale._replace(shape=(rows, groups), data=np.ascontiguousarray(ordered).reshape(-1))
    return Module(module.name, module.tensors | {".weight_scale": plain})
