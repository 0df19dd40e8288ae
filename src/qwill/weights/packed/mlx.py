"""Folders that mlx-lm and mlx-vlm write, quantized or not.

Names are those of their modules, `language_model.model.*`, `language_model.lm_head.*` and `vision_tower.*`
(weights/names.py knows them); the experts of a projection lie in one tensor, `mlp.switch_mlp.gate_proj`. What is
convolved has its channels last, and zero-centred norms have their 1 added.

A quantized module has `X.weight` U32, `X.scales` and, where its groups are affine, `X.biases`:

    affine  weights/packed/affine.py
    mxfp4   scales U8 [rows, columns / 32], E8M0; nvfp4: U8 [rows, columns / 16], E4M3
    mxfp8   scales U8 [rows, columns / 32], E8M0, of E4M3 values
    nvfp4 of experts may have `X.global_scale` F32 [experts], 448 * 6 times the factor of an expert's values

How many bits a code has and columns a group is known from the shapes, as mlx-lm infers it where config.json says
nothing. Layouts were read from mlx-lm 0.32's `utils.py` and `models/qwen3_5.py` and mlx-vlm 0.7's `models/qwen3_5`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qwill.errors import CheckpointError
from qwill.quant.types import TYPES
from qwill.weights.mapped import RawTensor
from qwill.weights.names import Kind, belongs_to_draft_head, place_hf
from qwill.weights.packed.affine import affine_matrix
from qwill.weights.packed.fp4 import MXFP4_GROUP, NVFP4_GROUP, Fp4Matrix
from qwill.weights.packed.matrix import Module, PackedMatrix, require_shape
from qwill.weights.packed.mxfp8 import mxfp8_matrix
from qwill.weights.packed.schemes import Scheme
from qwill.weights.shapes import text_shapes, vision_shapes

log = logging.getLogger("qwill")

ENDINGS = (".scales", ".biases", ".global_scale")
# The largest number of E4M3 times that of E2M1: what a tensor's largest value becomes before it is divided by scales.
_GLOBAL = 448 * 6


def has_mlx_layout(raw_tensors: Sequence[RawTensor]) -> bool:
    """Whether convolutions of a folder have their channels last: what mlx-lm and mlx-vlm tell their own files by."""
    return any(
        raw.name.endswith("conv1d.weight") and len(raw.shape) == 3 and raw.shape[2] == 1 < raw.shape[1]
        for raw in raw_tensors
    )


def is_mlx_quantized(raw_tensors: Sequence[RawTensor]) -> bool:
    """Whether there are weights in words with scales beside them."""
    scaled = {raw.name.removesuffix(".scales") for raw in raw_tensors if raw.name.endswith(".scales")}
    return any(raw.dtype == "U32" and raw.name.removesuffix(".weight") in scaled for raw in raw_tensors)


def released_layout(raw_tensors: Sequence[RawTensor], config: Mapping[str, Any], folder: Path) -> list[RawTensor]:
    """The tensors of a folder in MLX's layout, with convolutions as they are released.

    A draft head is left out: no version of MLX says whether its norms have their 1. Raises CheckpointError for a patch
    embedding that does not fit the configuration.
    """
    drafts = [raw for raw in raw_tensors if belongs_to_draft_head(raw.name)]
    if drafts:
        log.warning("%s: %s and the rest of the draft head are left out of this MLX folder", folder, drafts[0].name)
    dropped = {raw.name for raw in drafts}
    return [_released(raw, config) for raw in raw_tensors if raw.name not in dropped]


def _released(raw: RawTensor, config: Mapping[str, Any]) -> RawTensor:
    place = place_hf(raw.name)
    if place is None:
        return raw
    if place.kind is Kind.CONV and len(raw.shape) == 3 and raw.shape[2] == 1:
        return raw._replace(shape=raw.shape[:2])
    if place.kind is Kind.PATCH and len(raw.shape) == 5 and raw.dtype in ("F32", "F16", "BF16"):
        return _channels_first(raw, config)
    return raw


def _channels_first(raw: RawTensor, config: Mapping[str, Any]) -> RawTensor:
    """A patch embedding as it is released; mlx-vlm tells by the channels, too, whether one is so already."""
    vision = config.get("vision_config")
    channels = vision.get("in_channels", 3) if isinstance(vision, dict) else 3
    if channels not in (raw.shape[1], raw.shape[4]):
        raise CheckpointError(f"{raw.source}: has shape {list(raw.shape)}, config.json says {channels} channels")
    if raw.shape[4] != channels:
        return raw
    numbers = raw.data.view(np.uint32 if raw.dtype == "F32" else np.uint16).reshape(raw.shape)
    moved = np.ascontiguousarray(np.moveaxis(numbers, 4, 1))
    return raw._replace(shape=moved.shape, data=moved.reshape(-1).view(np.uint8))


def mlx_scheme(config: Mapping[str, Any]) -> Scheme:
    """How the quantized matrices of a model with that config.json are read. Raises CheckpointError for its sizes."""
    text = config.get("text_config", config)
    shapes = text_shapes(text)
    if isinstance(config.get("vision_config"), dict):
        shapes += vision_shapes(config["vision_config"])
    columns = {shape.name: shape.shape[-1] for shape in shapes}
    return Scheme("MLX", ENDINGS, partial(_matrix, columns=columns), stacked=True)


def _matrix(module: Module, columns: Mapping[str, int]) -> PackedMatrix:
    """The matrix of a module. Raises CheckpointError when its tensors do not fit each other or the model."""
    weight, scale = module.get(".weight", ("U32",), 2), module.get(".scales", ("U8", "BF16", "F16", "F32"), 2)
    place = place_hf(f"{module.name}.weight")
    width = columns.get(place.name) if place is not None else None
    if width is None:
        raise CheckpointError(f"{weight.source}: belongs to no part of the model that config.json describes")
    if scale.dtype != "U8":
        return affine_matrix(module, width)
    bits, groups = weight.shape[1] * 32 // width, scale.shape[1]
    match bits, width // groups:
        case 4, 32:
            return _fp4(module, weight, scale, MXFP4_GROUP)
        case 4, 16:
            return _fp4(module, weight, scale, NVFP4_GROUP)
        case 8, 32:
            return mxfp8_matrix(module, ".scales")
    raise CheckpointError(
        f"{weight.source}: {weight.shape[1]} words and {groups} scales a row are no codes and groups of {width} columns"
    )


def _fp4(module: Module, weight: RawTensor, scale: RawTensor, group: int) -> Fp4Matrix:
    rows, columns = weight.shape[0], weight.shape[1] * 8
    if columns % group:
        raise CheckpointError(f"{weight.source}: {columns} columns are no whole groups of {group}")
    require_shape(scale, (rows, columns // group), weight)
    codes, scales = weight.data.reshape(rows, -1), scale.data.reshape(scale.shape)
    kind = TYPES["MXFP4" if group == MXFP4_GROUP else "NVFP4"]
    matrix = Fp4Matrix((rows, columns), weight.source, codes, scales, kind)
    whole = module.tensors.get(".global_scale")
    if whole is None:
        return matrix
    if whole.dtype != "F32" or whole.data.size != 4 or group != NVFP4_GROUP:
        raise CheckpointError(
            f"{whole.source}: is {whole.dtype} {list(whole.shape)}, expected a number for each expert"
        )
    return replace(matrix, factor=float(whole.data.view(np.float32)[0] / np.float32(_GLOBAL)))
