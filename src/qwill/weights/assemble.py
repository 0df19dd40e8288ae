"""From the tensors of a file to the canonical set: names, shapes and small values; big matrices stay mapped."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.quant.types import TYPES
from qwill.weights.lazy import LazyParts
from qwill.weights.mapped import RawTensor
from qwill.weights.names import Kind, Place, is_ignored_hf, place_gguf, place_hf
from qwill.weights.tensor import Tensor, TensorSet

FP8_BLOCK = 128
_FLOATS = ("F32", "F16", "BF16")
_OTHER_HEADS = {
    ".score.": "a classifier or reward model", ".classifier.": "a classifier", ".qa_outputs.": "a finder of answers",
    ".v_head.": "a critic", ".value_head.": "a critic",
}  # fmt: skip
_THIRDS = {0, 1, 2}  # parts of a tensor that holds queries, keys and values


@dataclass(frozen=True)
class _Values:
    """What a file's small values are already: zero-centred norms with their 1, decays -exp(A_log)."""

    norms_with_one: bool
    decays_made: bool


@dataclass
class _Group:
    """All raw tensors that make up one canonical tensor; key None for a whole one, a number for a part of it."""

    kind: Kind
    weights: dict[int | None, RawTensor] = field(default_factory=dict)
    scales: dict[int | None, RawTensor] = field(default_factory=dict)


def assemble_hf(
    raw_tensors: Iterable[RawTensor], folder: Path, packed: Iterable[Tensor] = (), norms_with_one: bool = False
) -> TensorSet:
    """The canonical tensors of a safetensors checkpoint; `packed` are those that were read from quantized modules.

    `norms_with_one`: zero-centred norms have their 1 added already. Known buffers are left out. Raises CheckpointError
    for an unknown or doubled name, a wrong shape or values that are not finite, UnsupportedModel for a foreign dtype.
    """
    placed = []
    for raw in raw_tensors:
        place = place_hf(raw.name)
        if place is None and is_ignored_hf(raw.name):
            continue
        if place is None:
            raise _unknown(raw)
        placed.append((raw, place))
    values = _Values(norms_with_one, decays_made=False)
    return _assemble(placed, str(folder), values, packed)


def assemble_gguf(raw_tensors: Iterable[RawTensor], path: Path, layers: int) -> TensorSet:
    """The canonical tensors of a GGUF file and of its vision file if there is one. Errors as for `assemble_hf`."""
    placed = []
    for raw in raw_tensors:
        if raw.name.endswith(".input_scale"):  # of activations, which are rounded by the values at hand
            continue
        place = place_gguf(raw.name, layers)
        if place is None:
            raise _unknown(raw)
        placed.append((raw, place))
    tensors = _assemble(placed, str(path), _Values(norms_with_one=True, decays_made=True))
    if "mtp.fc.weight" in tensors and "mtp.norm.weight" not in tensors:
        # llama.cpp falls back on the model's own final norm when a file leaves this one out.
        final = tensors.peek("norm.weight")
        shared = Tensor("mtp.norm.weight", final.shape, final.type, final.parts, final.source)
        tensors = TensorSet({tensor.name: tensor for tensor in (*tensors, shared)}, str(path))
    return tensors


def _unknown(raw: RawTensor) -> CheckpointError:
    for ending in (".qweight", ".qzeros", ".scales", ".g_idx", ".weight_packed", ".weight_scale", "_blocks"):
        if raw.name.endswith(ending):
            return UnsupportedModel(
                f"{raw.source}: is part of a quantized weight, which config.json's quantization_config says nothing of"
            )
    if ".lora_" in raw.name or ".modules_to_save." in raw.name or ".base_layer." in raw.name:
        return UnsupportedModel(
            f"{raw.source}: is part of an adapter that was not merged; merge it first, as peft's merge_and_unload does"
        )
    if head := next((what for part, what in _OTHER_HEADS.items() if part in f".{raw.name}"), None):
        return UnsupportedModel(
            f"{raw.source}: is the head of {head}, which writes no text; take the language model that it was made from"
        )
    return CheckpointError(f"{raw.file}: tensor {raw.name} belongs to no part of this model")


def _assemble(
    placed: list[tuple[RawTensor, Place]], source: str, values: _Values, packed: Iterable[Tensor] = ()
) -> TensorSet:
    groups: dict[str, _Group] = {}
    for raw, place in placed:
        group = groups.setdefault(place.name, _Group(place.kind))
        pieces = group.scales if place.is_scale else group.weights
        if place.part in pieces:
            raise CheckpointError(f"{raw.file}: tensors {pieces[place.part].name} and {raw.name} are the same one")
        pieces[place.part] = raw
    tensors = {tensor.name: tensor for tensor in packed}
    for name, group in groups.items():
        for tensor in _convert(name, group, values):
            if tensor.name in tensors:
                raise CheckpointError(f"{tensor.source}: {tensor.name} is stored twice, in two forms")
            tensors[tensor.name] = tensor
    return TensorSet(tensors, source)


def _convert(name: str, group: _Group, stored: _Values) -> list[Tensor]:
    if not group.weights:
        raw = next(iter(group.scales.values()))
        raise CheckpointError(f"{raw.source}: the scales have no weight beside them; download the file again")
    match group.kind:
        case Kind.MATRIX:
            return [_matrix(name, group)]
        case Kind.EXPERTS:
            return [_experts(name, group)]
        case Kind.GATE_UP:
            return _gate_up(name, group)
        case Kind.PATCH:
            return [_patch(name, group)]
    if group.kind is Kind.VECTOR and group.weights.keys() == _THIRDS:
        return [_joined_vector(name, group)]
    raw = _single(group)
    if group.scales:
        raise UnsupportedModel(f"{raw.source}: scales on a tensor of this kind are not supported")
    shape = _small_shape(raw, group.kind)
    values = float_values(raw)
    if group.kind is Kind.NORM and not stored.norms_with_one:
        values = values + np.float32(1)
    elif group.kind is Kind.DECAY and not stored.decays_made:
        values = -np.exp(values)
    if not np.isfinite(values).all():
        raise CheckpointError(f"{raw.source}: holds values that are not finite; the checkpoint is damaged")
    return [Tensor(name, shape, TYPES["F32"], (values.view(np.uint8),), raw.source)]


def _small_shape(raw: RawTensor, kind: Kind) -> tuple[int, ...]:
    shape = raw.shape
    if kind is Kind.CONV and len(shape) == 3 and shape[1] == 1:
        shape = (shape[0], shape[2])
    if kind is Kind.GATE_ROW and len(shape) == 1:
        shape = (1, shape[0])
    if len(shape) != (2 if kind in (Kind.CONV, Kind.GATE_ROW) else 1) or 0 in shape:
        raise CheckpointError(f"{raw.source}: has shape {list(raw.shape)}, which does not fit its place")
    return shape


def float_values(raw: RawTensor) -> np.ndarray:
    """The values of an F32, F16 or BF16 tensor as a flat float32 array of their own. Raises UnsupportedModel."""
    if raw.dtype == "F32":
        return raw.data.view(np.float32).astype(np.float32)
    if raw.dtype == "F16":
        return raw.data.view(np.float16).astype(np.float32)
    if raw.dtype == "BF16":
        return (raw.data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    raise UnsupportedModel(f"{raw.source}: is stored as {raw.dtype}; only F32, F16 and BF16 are supported here")


def _single(group: _Group) -> RawTensor:
    raw = group.weights.get(None)
    if raw is None or len(group.weights) > 1:
        some = next(raw for part, raw in group.weights.items() if part is not None)
        raise CheckpointError(f"{some.source}: is one part of a tensor that is also stored whole or cannot be divided")
    return raw


def _checked(raw: RawTensor, dimensions: int) -> RawTensor:
    if raw.dtype not in TYPES:
        raise UnsupportedModel(f"{raw.source}: is stored as {raw.dtype}, which is not supported for weights")
    if len(raw.shape) != dimensions or 0 in raw.shape:
        raise CheckpointError(f"{raw.source}: has shape {list(raw.shape)}, expected {dimensions} dimensions")
    return raw


def _joined_vector(name: str, group: _Group) -> Tensor:
    values = np.concatenate([float_values(group.weights[part]) for part in sorted(_THIRDS)])
    source = group.weights[0].source
    if not np.isfinite(values).all():
        raise CheckpointError(f"{source}: holds values that are not finite; the checkpoint is damaged")
    return Tensor(name, values.shape, TYPES["F32"], (values.view(np.uint8),), source)


def _joined_matrix(name: str, group: _Group) -> Tensor:
    """Queries, keys and values under each other; they are joined when they are asked for."""
    raws = [_checked(group.weights[part], 2) for part in sorted(_THIRDS)]
    first = raws[0]
    if group.scales or any((raw.shape[1], raw.dtype) != (first.shape[1], first.dtype) for raw in raws):
        raise CheckpointError(f"{first.source}: queries, keys and values differ in type or columns")
    height, stored = sum(raw.shape[0] for raw in raws), [raw.data.reshape(raw.shape[0], -1) for raw in raws]
    parts = LazyParts([lambda begin, end: np.concatenate(stored)[begin:end]], height, stored)
    return Tensor(name, (height, first.shape[1]), TYPES[first.dtype], parts, first.source)


def _matrix(name: str, group: _Group) -> Tensor:
    if group.weights.keys() == _THIRDS:
        return _joined_matrix(name, group)
    raw = _checked(_single(group), 2)
    scales = scales_of(raw, group.scales.get(None), 1, raw.shape)
    return Tensor(name, raw.shape, TYPES[raw.dtype], (raw.data,), raw.source, scales)


def _experts(name: str, group: _Group) -> Tensor:
    if None in group.weights:
        raw = _checked(_single(group), 3)
        scales = scales_of(raw, group.scales.get(None), raw.shape[0], raw.shape[1:])
        return Tensor(name, raw.shape, TYPES[raw.dtype], tuple(raw.data.reshape(raw.shape[0], -1)), raw.source, scales)
    count = max(part for part in group.weights if part is not None) + 1
    if len(group.weights) != count:
        missing = next(part for part in range(count) if part not in group.weights)
        raise CheckpointError(f"{group.weights[count - 1].file}: expert {missing} of {name} is missing")
    raws = [_checked(group.weights[part], 2) for part in range(count)]
    first = raws[0]
    for raw in raws:
        if (raw.shape, raw.dtype) != (first.shape, first.dtype):
            raise CheckpointError(f"{raw.source}: is {raw.dtype} {list(raw.shape)}, unlike the other experts")
    gathered: list[np.ndarray] = []
    for part, raw in enumerate(raws):
        gathered.extend(scales_of(raw, group.scales.get(part), 1, raw.shape) or ())
    if len(group.scales) != len(gathered):
        raise CheckpointError(f"{first.source}: {len(group.scales)} scales for {len(gathered)} experts")
    return Tensor(
        name,
        (count, *first.shape),
        TYPES[first.dtype],
        tuple(raw.data for raw in raws),
        first.source,
        tuple(gathered) if gathered else None,
    )


def _gate_up(name: str, group: _Group) -> list[Tensor]:
    raw = _checked(_single(group), 3)
    experts, rows, columns = raw.shape
    if rows % 2:
        raise CheckpointError(f"{raw.source}: has {rows} rows per expert, gate and up must be equal halves")
    data = raw.data.reshape(experts, 2, -1)
    scales = scales_of(raw, group.scales.get(None), experts, (rows, columns))
    if scales and rows // 2 % FP8_BLOCK:
        raise UnsupportedModel(f"{raw.source}: a block of scales spans gate and up rows")
    tensors = []
    for half, projection in enumerate(("gate_proj", "up_proj")):
        halves = tuple(np.split(scale, 2)[half] for scale in scales) if scales else None
        tensors.append(
            Tensor(
                name.replace("gate_up_proj", projection),
                (experts, rows // 2, columns),
                TYPES[raw.dtype],
                tuple(data[:, half]),
                raw.source,
                halves,
            )
        )
    return tensors


def scales_of(
    raw: RawTensor, scale: RawTensor | None, parts: int, shape: tuple[int, ...]
) -> tuple[np.ndarray, ...] | None:
    """Per part, float32 scales [ceil(rows / 128), ceil(columns / 128)] of an FP8 matrix, or of NVFP4 with a factor for
    each part; None for other types.
    """
    if raw.dtype not in ("F8_E4M3", "NVFP4"):
        if scale is not None:
            raise CheckpointError(f"{scale.source}: scales beside a tensor of type {raw.dtype}")
        return None
    blocks = tuple(-(-size // FP8_BLOCK) for size in shape)
    if raw.dtype == "NVFP4":
        return None if scale is None else tuple(np.full(blocks, factor) for factor in _factors(scale, parts))
    if scale is None:
        raise CheckpointError(f"{raw.source}: the FP8 weight has no weight_scale_inv beside it")
    if prod(scale.shape) != parts * prod(blocks) or scale.shape[-2:] != blocks:
        raise CheckpointError(f"{scale.source}: has shape {list(scale.shape)}, blocks of 128 x 128 need {list(blocks)}")
    return tuple(_finite(scale).reshape(parts, *blocks))


def _factors(scale: RawTensor, parts: int) -> np.ndarray:
    """A number for each part."""
    if scale.shape != (parts,):
        raise CheckpointError(f"{scale.source}: has shape {list(scale.shape)}, expected {parts}")
    return _finite(scale)


def _finite(scale: RawTensor) -> np.ndarray:
    values = float_values(scale)
    if not np.isfinite(values).all():
        raise CheckpointError(f"{scale.source}: holds values that are not finite; the checkpoint is damaged")
    return values


def _patch(name: str, group: _Group) -> Tensor:
    """[out, C, T, H, W] in one piece, or one [out, C, H, W] for each T: flattened to [out, C * T * H * W]."""
    first = next(iter(group.weights.values()))
    if group.scales or first.dtype not in _FLOATS:
        raise UnsupportedModel(f"{first.source}: is stored as {first.dtype}; only F32, F16 and BF16 are supported here")
    if None in group.weights:
        raw = _checked(_single(group), 5)
        return Tensor(name, (raw.shape[0], prod(raw.shape[1:])), TYPES[raw.dtype], (raw.data,), raw.source)
    if sorted(part for part in group.weights if part is not None) != [0, 1]:
        raise CheckpointError(f"{first.source}: the patch embedding needs both time slices, one is missing")
    slices = [_checked(group.weights[part], 4) for part in (0, 1)]
    if (slices[0].shape, slices[0].dtype) != (slices[1].shape, slices[1].dtype):
        raise CheckpointError(f"{first.source}: the two time slices of the patch embedding differ in shape or type")
    out, channels, height, width = slices[0].shape
    joined = np.stack([raw.data.reshape(out, channels, -1) for raw in slices], axis=2)
    shape = (out, channels * 2 * height * width)
    return Tensor(name, shape, TYPES[first.dtype], (joined.reshape(-1),), first.source)
