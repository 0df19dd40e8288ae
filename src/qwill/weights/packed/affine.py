"""Affine groups, MLX's own: value = code * scale + bias, a scale and a bias for each row and group of columns.

    weight  U32 [rows, columns * bits / 32], codes of 2, 3, 4, 5, 6 or 8 bits from the lowest bit on, across words
    scales  BF16, F16 or F32 [rows, groups], groups of 32, 64 or 128 columns
    biases  likewise

In BF16 they are held as they are, groups of 128 as two of 64. In F16 they are Q4_1, Q5_1 or bytes under F16, whose
values are the same numbers; in F32, unless all are BF16 or F16 numbers, nothing smaller than F32 holds them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from qwill.errors import CheckpointError
from qwill.quant.codecs import decode
from qwill.quant.types import TYPES, TensorType
from qwill.weights.mapped import RawTensor
from qwill.weights.packed.bits import unpack
from qwill.weights.packed.matrix import Module, halved, require_shape

BITS, GROUPS = (2, 3, 4, 5, 6, 8), (32, 64, 128)
DTYPES = ("BF16", "F16", "F32")


@dataclass(frozen=True)
class AffineMatrix:
    """A matrix of codes, uint8 [rows, bytes], with scales and biases [rows, groups] as they are stored."""

    shape: tuple[int, int]
    source: str
    codes: np.ndarray
    scale: RawTensor
    bias: RawTensor
    bits: int

    @property
    def group(self) -> int:
        """Columns of a scale."""
        return self.shape[1] // self.scale.shape[1]

    @property
    def scales(self) -> None:
        """There is no factor beside those of the blocks."""

    @property
    def stored(self) -> Sequence[np.ndarray]:
        return (self.codes.reshape(-1), self.scale.data, self.bias.data)

    @cached_property
    def form(self) -> str | None:
        """Of which 16-bit floats all scales and biases are, BF16 or F16; None where they are of neither."""
        return next((form for form in ("BF16", "F16") if all(_are(raw, form) for raw in (self.scale, self.bias))), None)

    @property
    def type(self) -> TensorType:
        """The affine type of its bits and groups, one with scales in F16, or F32."""
        match self.form:
            case "BF16":
                return TYPES[f"AFFINE{self.bits}_{min(self.group, 64)}"]
            case "F16":
                return TYPES["Q4_1" if self.bits <= 4 else "Q5_1" if self.bits == 5 else "AFFINE8_32_F16"]
        return TYPES["F32"]

    def encode(self, rows: slice, tensor_type: TensorType, out: np.ndarray) -> None:
        """Fills out, uint8 [rows, row bytes], in `type` or F32."""
        if tensor_type is TYPES["F32"]:
            out[:] = self._floats(rows).view(np.uint8)
            return
        assert self.form is not None, self.source
        # Copied field by field: a loop over the bytes of each block takes several times as long.
        size = tensor_type.block_bytes
        blocks = out.view(np.dtype([("scale", "<u2"), ("bias", "<u2"), ("codes", f"V{size - 4}")]))
        repeats = self.group // tensor_type.block_elements
        for field, raw in (("scale", self.scale), ("bias", self.bias)):
            numbers = _halves(raw, rows, self.form)
            blocks[field] = numbers if repeats == 1 else np.repeat(numbers, repeats, axis=1)
        codes = np.ascontiguousarray(self.codes[rows])
        if self.form == "BF16":
            blocks["codes"] = codes.view(f"V{size - 4}")
        else:
            self._half_blocks(codes, tensor_type, out.reshape(len(out), -1, size))

    def _half_blocks(self, codes: np.ndarray, tensor_type: TensorType, blocks: np.ndarray) -> None:
        """Codes in the order of ggml's blocks (csrc/formats/q4.h, q5.h), or a byte each."""
        if self.bits == 4:
            even, odd = halved(codes.reshape(*blocks.shape[:2], 16), 16)
            blocks[..., 4::2], blocks[..., 5::2] = even, odd
            return
        numbers = unpack(codes, self.bits, self.shape[1]).reshape(*blocks.shape[:2], 32)
        if tensor_type.name == "AFFINE8_32_F16":
            blocks[..., 4:] = numbers
            return
        if tensor_type is TYPES["Q5_1"]:
            blocks[..., 4:8] = np.packbits(numbers > 15, axis=-1, bitorder="little")
            numbers = numbers & 15
        blocks[..., -16:] = numbers[..., :16] | numbers[..., 16:] << 4

    def _floats(self, rows: slice) -> np.ndarray:
        codes = unpack(np.ascontiguousarray(self.codes[rows]), self.bits, self.shape[1])
        scale, bias = (np.repeat(_floats_of(raw, rows), self.group, axis=1) for raw in (self.scale, self.bias))
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found when the matrix is packed
            return codes.astype(np.float32) * scale + bias


def _are(raw: RawTensor, form: str) -> bool:
    """Whether all numbers of a tensor are 16-bit floats of that form."""
    if raw.dtype != "F32":
        return raw.dtype == form
    if form == "BF16":
        return not (raw.data.view(np.uint32) & np.uint32(0xFFFF)).any()
    values = raw.data.view(np.float32)
    with np.errstate(over="ignore"):
        return bool((values.astype(np.float16) == values).all())


def _halves(raw: RawTensor, rows: slice, form: str) -> np.ndarray:
    """uint16 [rows, groups], the bits of numbers that are of that form."""
    if raw.dtype == form:
        return raw.data.view(np.uint16).reshape(raw.shape)[rows]
    values = raw.data.view(np.float32).reshape(raw.shape)[rows]
    return (
        values.astype(np.float16).view(np.uint16) if form == "F16" else (values.view(np.uint32) >> 16).astype(np.uint16)
    )


def _floats_of(raw: RawTensor, rows: slice) -> np.ndarray:
    """float32 [rows, groups]"""
    some = raw.data.reshape(raw.shape[0], -1)[rows]
    return decode(TYPES[raw.dtype], some, (len(some), raw.shape[1]))


def affine_matrix(module: Module, columns: int) -> AffineMatrix:
    """The matrix of a module that has so many columns. Raises CheckpointError when something does not fit."""
    weight = module.get(".weight", ("U32",), 2)
    scale, bias = module.get(".scales", DTYPES, 2), module.get(".biases", DTYPES, 2)
    rows, words = weight.shape
    groups = scale.shape[1]
    bits, group = words * 32 // columns, columns // groups
    if bits not in BITS or group not in GROUPS or words * 32 != bits * columns or groups * group != columns:
        raise CheckpointError(
            f"{weight.source}: {words} words and {groups} scales a row are no codes and groups of {columns} columns"
        )
    require_shape(scale, (rows, groups), weight)
    require_shape(bias, (rows, groups), weight)
    if scale.dtype != bias.dtype:
        raise CheckpointError(f"{bias.source}: is {bias.dtype}, its scales are {scale.dtype}")
    return AffineMatrix((rows, columns), weight.source, weight.data.reshape(rows, -1), scale, bias, bits)
