"""From the raw tensors of a quantized checkpoint to canonical ones: modules are gathered, read and placed."""

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from math import prod
from pathlib import Path

import numpy as np

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.quant.codecs import decode
from qwill.quant.types import TYPES, TensorType
from qwill.weights.lazy import LazyParts
from qwill.weights.mapped import RawTensor, give_back
from qwill.weights.names import Kind, Place, place_hf
from qwill.weights.packed.fp4 import half_rows, mxfp4_experts
from qwill.weights.packed.matrix import Module, PackedMatrix, encoded, parts_of
from qwill.weights.packed.schemes import UNUSED_ENDINGS, Scheme
from qwill.weights.tensor import SCALE_BLOCK, Tensor, row_scaled, spread_scales

log = logging.getLogger("qwill")

# From the smallest type to the one that holds what all the others do.
_WIDENING = ("Q4_0", "Q5_0", "Q8_0", "F32")


def split_packed(
    raw_tensors: Iterable[RawTensor], scheme: Scheme, folder: Path
) -> tuple[list[RawTensor], list[Tensor]]:
    """The tensors that are not quantized, and the canonical ones of those that are.

    The bytes of the latter are made when they are asked for. One line of the log says how much memory is taken by those
    that no quantized type holds exactly. Raises CheckpointError and UnsupportedModel as `assemble_hf` does.
    """
    plain, modules = _gather(raw_tensors, scheme)
    placed: dict[str, tuple[Kind, dict[int | None, PackedMatrix]]] = {}
    for module in modules:
        place = place_hf(module.name if scheme.fused else f"{module.name}.weight")
        if place is None:
            raise CheckpointError(f"{module.source}: {module.name} belongs to no part of this model")
        for name, part, matrix in _matrices(module, place, scheme):
            parts = placed.setdefault(name, (place.kind, {}))[1]
            if part in parts:
                raise CheckpointError(f"{matrix.source}: {name} is stored twice")
            parts[part] = matrix
    tensors = [_tensor(name, kind, parts) for name, (kind, parts) in placed.items()]
    _tell_of_widened(tensors, folder)
    return plain, tensors


def _gather(raw_tensors: Iterable[RawTensor], scheme: Scheme) -> tuple[list[RawTensor], list[Module]]:
    others: list[RawTensor] = []
    modules: dict[str, Module] = {}
    for raw in raw_tensors:
        ending = scheme.ending_of(raw.name)
        if ending is None:
            others.append(raw)
            continue
        name = raw.name.removesuffix(ending)
        modules.setdefault(name, Module(name, {})).tensors[ending] = raw
    plain = []
    for raw in others:
        if raw.name.endswith(UNUSED_ENDINGS):
            continue
        module = modules.get(raw.name.removesuffix(".weight")) if raw.name.endswith(".weight") else None
        if module is None:
            plain.append(raw)
        else:
            module.tensors[".weight"] = raw
    return plain, list(modules.values())


def _matrices(module: Module, place: Place, scheme: Scheme) -> list[tuple[str, int | None, PackedMatrix]]:
    """The matrices of a module: canonical name, number of the expert or None, matrix."""
    if scheme.stacked and place.kind is Kind.EXPERTS and place.part is None:
        return [(place.name, number, scheme.read(part)) for number, part in enumerate(parts_of(module))]
    if not scheme.fused:
        if place.kind not in (Kind.MATRIX, Kind.EXPERTS, Kind.GATE_ROW) or (
            place.kind is Kind.EXPERTS and place.part is None
        ):
            raise UnsupportedModel(f"{module.source}: a quantized tensor of this kind ({place.name}) is not supported")
        return [(place.name, place.part, scheme.read(module))]
    experts = mxfp4_experts(module)
    if place.kind is Kind.EXPERTS:
        return [(place.name, number, matrix) for number, matrix in enumerate(experts)]
    if place.kind is not Kind.GATE_UP or experts[0].shape[0] % 2:
        raise UnsupportedModel(f"{module.source}: is no tensor of experts with gate and up rows in equal halves")
    return [
        (place.name.replace("gate_up_proj", projection), number, half_rows(matrix, half))
        for half, projection in enumerate(("gate_proj", "up_proj"))
        for number, matrix in enumerate(experts)
    ]


def _tensor(name: str, kind: Kind, parts: dict[int | None, PackedMatrix]) -> Tensor:
    if kind is Kind.MATRIX or kind is Kind.GATE_ROW:
        matrix = parts[None]
        if kind is Kind.GATE_ROW:
            return _small(name, matrix)
        return _lazy(name, matrix.shape, [matrix])
    numbers = sorted(part for part in parts if part is not None)
    first = parts[numbers[0]]
    if numbers[-1] + 1 != len(numbers):
        missing = next(number for number in range(len(numbers)) if number not in parts)
        raise CheckpointError(f"{first.source}: expert {missing} of {name} is missing or not quantized")
    matrices = [parts[number] for number in numbers]
    for matrix in matrices:
        if matrix.shape != first.shape:
            raise CheckpointError(f"{matrix.source}: is {list(matrix.shape)}, unlike the other experts")
    return _lazy(name, (len(matrices), *first.shape), matrices)


def _lazy(name: str, shape: tuple[int, ...], matrices: Sequence[PackedMatrix]) -> Tensor:
    tensor_type = _common_type(matrices)
    scales = None
    if tensor_type is not TYPES["F32"] and any(matrix.scales is not None for matrix in matrices):
        scales = _common_scales(matrices)
    parts: Sequence[np.ndarray]
    if tensor_type is TYPES["F8_E4M3"]:  # they lie so in the file
        parts = tuple(array for matrix in matrices for array in matrix.stored)
    else:
        makers = [partial(_encoded, matrix, tensor_type) for matrix in matrices]
        parts = LazyParts(makers, shape[-2], [array for matrix in matrices for array in matrix.stored])
    return Tensor(name, shape, tensor_type, parts, matrices[0].source, scales)


def _common_scales(matrices: Sequence[PackedMatrix]) -> tuple[np.ndarray, ...]:
    """Scales of all parts, where some have none of their own; of rows where any has those."""
    rows, columns = matrices[0].shape
    by_row = any(matrix.scales is not None and row_scaled(matrix.scales, rows) for matrix in matrices)
    shape = (rows, 1) if by_row else tuple(-(-size // SCALE_BLOCK) for size in (rows, columns))
    result = []
    for matrix in matrices:
        scales = np.ones(shape, np.float32) if matrix.scales is None else matrix.scales
        if scales.shape != shape:
            if (scales != scales.flat[0]).any():
                raise UnsupportedModel(f"{matrix.source}: experts have scales of rows and of blocks")
            scales = np.full(shape, scales.flat[0])
        result.append(scales)
    return tuple(result)


def _encoded(matrix: PackedMatrix, tensor_type: TensorType, begin: int, end: int) -> np.ndarray:
    """uint8 [rows, row bytes]; the pages of the file that the last rows were made of are given back."""
    made = encoded(matrix, tensor_type, begin, end)
    if end == matrix.shape[0]:
        for array in matrix.stored:
            give_back(array)
    return made


def _small(name: str, matrix: PackedMatrix) -> Tensor:
    """One row, as float32 like all of its kind."""
    if matrix.shape[0] != 1:
        raise CheckpointError(f"{matrix.source}: has {matrix.shape[0]} rows, expected one")
    values = decode(matrix.type, encoded(matrix, matrix.type), matrix.shape)
    if matrix.scales is not None and matrix.type is not TYPES["F32"]:
        values *= spread_scales(matrix.scales, matrix.shape)
    if not np.isfinite(values).all():
        raise CheckpointError(f"{matrix.source}: holds values that are not finite; the checkpoint is damaged")
    return Tensor(name, matrix.shape, TYPES["F32"], (values.reshape(-1).view(np.uint8),), matrix.source)


def _common_type(matrices: Sequence[PackedMatrix]) -> TensorType:
    types = {matrix.type.name for matrix in matrices}
    if len(types) == 1:
        return matrices[0].type
    if types <= set(_WIDENING):
        return TYPES[max(types, key=_WIDENING.index)]
    raise UnsupportedModel(f"{matrices[0].source}: experts are quantized in several ways ({', '.join(sorted(types))})")


def _tell_of_widened(tensors: Sequence[Tensor], folder: Path) -> None:
    wide = [tensor for tensor in tensors if tensor.type is TYPES["F32"] and prod(tensor.shape[:-1]) > 1]
    if not wide:
        return
    stored = sum(array.nbytes for tensor in wide for array in tensor.stored)
    log.warning(
        "%s: %s%s held exactly by no quantized type: %.1f GB as F32 instead of %.1f GB in the file",
        folder,
        wide[0].name,
        f" and {len(wide) - 1} more are" if len(wide) > 1 else " is",
        sum(tensor.nbytes for tensor in wide) / 1e9,
        stored / 1e9,
    )
