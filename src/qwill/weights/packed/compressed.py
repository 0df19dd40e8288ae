"""Whole numbers of compressed-tensors: `pack-quantized` and `int-quantized`.

    weight_packed      I32 [rows, ceil(columns * bits / 32)], unsigned codes (the number + half their range) from the
                       lowest bit on, running across words
    weight_shape       I64 or I32 [2], rows and columns
    weight_scale       [rows, groups], one group for each row when scales are by channel, or of one element
    weight_zero_point  absent, or I32 [ceil(rows * bits / 32), groups] of codes packed along the rows; older files have
                       I8 [rows, groups], the zero as a signed number
    weight_g_idx       I32 [columns], the group of each column; may be absent

    weight             I8 [rows, columns] in `int-quantized`, with scale and zero point (I8) as above

The layout was read from compressed-tensors 0.20 (`compressors/pack_quantized`, `naive_quantized`) and llama.cpp's
`conversion/base.py`.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from math import prod

import numpy as np

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.weights.mapped import RawTensor
from qwill.weights.packed.bits import unpack, words_needed
from qwill.weights.packed.levels import Levels, Scale, groups_of_columns
from qwill.weights.packed.matrix import Module, require_shape

SCALE_DTYPES = ("F16", "BF16", "F32")


def pack_quantized_matrix(module: Module, possible_bits: Collection[int]) -> Levels:
    """The matrix of a module with `weight_packed`. `possible_bits`: those that the configuration's groups say.

    Raises CheckpointError or UnsupportedModel when a tensor is missing or does not fit the others.
    """
    packed = module.get(".weight_packed", ("I32",), 2)
    shape = module.get(".weight_shape", ("I64", "I32"), 1)
    if shape.shape != (2,):
        raise CheckpointError(f"{shape.source}: has {shape.shape[0]} numbers, expected rows and columns")
    rows, columns = (int(size) for size in shape.data.view(np.int64 if shape.dtype == "I64" else np.int32))
    fitting = [bits for bits in possible_bits if packed.shape == (rows, words_needed(columns, bits)) and columns > 0]
    if not fitting and any(columns > 0 and packed.shape == (rows, _padded(columns, bits)) for bits in possible_bits):
        raise UnsupportedModel(
            f"{packed.source}: codes that do not run across words, of an older compressed-tensors, are not supported;"
            " quantize the model again, or use a GGUF file of its size"
        )
    if not fitting:
        raise CheckpointError(
            f"{packed.source}: has shape {list(packed.shape)}, which does not hold {rows} x {columns} codes of"
            f" {' or '.join(map(str, sorted(possible_bits)))} bits; the checkpoint is damaged"
        )
    bits = fitting[0]

    def stored_rows(some: slice) -> np.ndarray:
        return packed.data.reshape(rows, -1)[some]

    whole = columns % (32 // bits) == 0
    return _levels(
        module,
        packed,
        (rows, columns),
        bits,
        lambda some: unpack(stored_rows(some), bits, columns),
        nibbles=stored_rows if bits == 4 and whole else None,
    )


def int_quantized_matrix(module: Module, bits: int = 8) -> Levels:
    """The matrix of a module with an I8 `weight`, whose numbers have so many bits. Errors as above."""
    weight = module.get(".weight", ("I8",), 2)
    rows, columns = weight.shape
    middle = np.uint8(1 << (bits - 1))

    def codes(some: slice) -> np.ndarray:
        numbers = weight.data.reshape(rows, columns)[some] + middle
        if bits < 8 and (numbers >> np.uint8(bits)).any():
            raise CheckpointError(f"{weight.source}: holds numbers of more than {bits} bits; the checkpoint is damaged")
        return numbers

    return _levels(module, weight, (rows, columns), bits, codes)


def _padded(columns: int, bits: int) -> int:
    """Words of a row when each holds whole codes."""
    return -(-columns // (32 // bits))


def _levels(
    module: Module,
    weight: RawTensor,
    shape: tuple[int, int],
    bits: int,
    codes: Callable[[slice], np.ndarray],
    nibbles: Callable[[slice], np.ndarray] | None = None,
) -> Levels:
    rows, columns = shape
    scale = _row_scales(module, rows)
    groups = scale.shape[1]
    middle = 1 << (bits - 1)
    levels = Levels(
        shape=shape,
        source=weight.source,
        stored=(weight.data, scale.data),
        bits=bits,
        group_of=groups_of_columns(columns, groups, scale, module.tensors.get(".weight_g_idx")),
        scale=Scale(scale, by_groups=False),
        codes=codes,
        zeros=lambda some: np.full((some.stop - some.start, groups), middle, np.uint8),
        zero_range=(middle, middle),
        nibbles=nibbles,
    )
    raw = module.tensors.get(".weight_zero_point")
    if raw is None:
        return levels
    zeros = _zeros(raw, rows, groups, bits, scale)
    every = zeros(slice(0, rows))
    return replace(levels, zeros=zeros, zero_range=(int(every.min()), int(every.max())))


def _row_scales(module: Module, rows: int) -> RawTensor:
    """The scales as [rows, groups]; one that is for the whole matrix is repeated."""
    tensors = dict(module.tensors)
    raw = tensors.get(".weight_scale")
    if raw is not None and len(raw.shape) < 2:
        tensors[".weight_scale"] = raw._replace(shape=(prod(raw.shape), 1))
    scale = Module(module.name, tensors).get(".weight_scale", SCALE_DTYPES, 2)
    if scale.shape == (1, 1):
        scale = scale._replace(shape=(rows, 1), data=np.tile(scale.data, rows))
    if scale.shape[0] != rows:
        raise CheckpointError(f"{scale.source}: has shape {list(scale.shape)} for a matrix of {rows} rows")
    return scale


def _zeros(raw: RawTensor, rows: int, groups: int, bits: int, scale: RawTensor) -> Callable[[slice], np.ndarray]:
    """What gives the zeros of some rows, uint8 [rows, groups], as codes."""
    middle = np.uint8(1 << (bits - 1))
    if raw.dtype == "I8":
        if raw.data.nbytes == 1:
            raw = raw._replace(shape=(rows, groups), data=np.broadcast_to(raw.data, rows * groups))
        elif raw.shape == (rows,) and groups == 1:
            raw = raw._replace(shape=(rows, 1))
        require_shape(raw, (rows, groups), scale)
        signed = raw.data.reshape(rows, groups)
        return lambda some: signed[some] + middle
    if raw.dtype != "I32":
        raise UnsupportedModel(f"{raw.source}: is stored as {raw.dtype}, expected I32 or I8")
    require_shape(raw, (words_needed(rows, bits), groups), scale)

    def packed(some: slice) -> np.ndarray:
        words = raw.data.view(np.uint32).reshape(raw.shape)[some.start * bits // 32 : words_needed(some.stop, bits)]
        columns = np.ascontiguousarray(words.T).view(np.uint8)
        return np.ascontiguousarray(unpack(columns, bits, some.stop - some.start).T)

    return packed
