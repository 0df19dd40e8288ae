"""Four-bit floats (E2M1): NVFP4 of modelopt and compressed-tensors, MXFP4 of gpt-oss, compressed-tensors and Quark.

Two codes lie in a byte, the earlier column in its lower half.

    NVFP4   weight (or weight_packed)  U8 [rows, columns / 2]
            weight_scale               F8_E4M3 [rows, columns / 16]
            weight_scale_2             F32, a factor of all; compressed-tensors has its inverse, weight_global_scale
    MXFP4   weight (or weight_packed)  U8 [rows, columns / 2]
            weight_scale               U8 [rows, columns / 32], E8M0: 2^(scale - 127)
            or, as gpt-oss has it,     X_blocks U8 [experts, rows, columns / 32, 16]
                                       X_scales U8 [experts, rows, columns / 32]
    W4A8_NVFP4_FP8 of modelopt is NVFP4 with a weight_scale [rows, columns / 32].

The layouts were read from compressed-tensors 0.20 (`compressors/nvfp4`, `mxfp4`), llama.cpp's `conversion/base.py`,
transformers' `integrations/mxfp4.py` and vLLM's `quark_ocp_mx.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qwill.errors import CheckpointError
from qwill.quant.codecs import decode
from qwill.quant.types import TYPES, TensorType
from qwill.weights.assemble import float_values
from qwill.weights.mapped import RawTensor
from qwill.weights.packed.matrix import Module, encoded, halved, require_shape, uniform_scales

NVFP4_GROUP, MXFP4_GROUP = 16, 32


@dataclass(frozen=True)
class Fp4Matrix:
    """A matrix of E2M1 codes and a scale for each group of columns.

    codes: uint8 [rows, columns / 2]; group_scales: uint8 [rows, groups], E4M3 in NVFP4, E8M0 in MXFP4. `factor`
    multiplies all values.
    """

    shape: tuple[int, int]
    source: str
    codes: np.ndarray
    group_scales: np.ndarray
    kind: TensorType
    factor: float = 1.0

    @property
    def type(self) -> TensorType:
        """NVFP4 or MXFP4; F32 for NVFP4 whose rows are no whole blocks of 64."""
        return TYPES["F32"] if self.shape[1] % self.kind.block_elements else self.kind

    @property
    def scales(self) -> np.ndarray | None:
        return uniform_scales(self.shape, self.factor)

    @property
    def stored(self) -> Sequence[np.ndarray]:
        return (self.codes.reshape(-1), self.group_scales.reshape(-1))

    def encode(self, rows: slice, tensor_type: TensorType, out: np.ndarray) -> None:
        """Fills out, uint8 [rows, row bytes], in NVFP4 or MXFP4 without the factor, or in F32 with it, rounded once."""
        if self.kind is TYPES["NVFP4"] and (self.group_scales[rows] >= 0x7F).any():  # below zero, or NaN
            raise CheckpointError(f"{self.source}: a scale is negative or NaN; the checkpoint is damaged")
        if tensor_type is TYPES["F32"]:
            out[:] = self._floats(rows).view(np.uint8)
        else:
            self._blocks(rows, out.reshape(len(out), -1, tensor_type.block_bytes))

    def _blocks(self, rows: slice, out: np.ndarray) -> None:
        """Fills out [rows, blocks, block bytes] with ggml's blocks (csrc/formats/fp4.h): scales, then codes."""
        half = (NVFP4_GROUP if self.kind is TYPES["NVFP4"] else MXFP4_GROUP) // 2
        in_block = out.shape[2] // (half + 1)
        out[..., :in_block] = self.group_scales[rows].reshape(*out.shape[:2], in_block)
        codes = np.ascontiguousarray(self.codes[rows])
        even, odd = halved(codes.reshape(*out.shape[:2], -1), half)
        out[..., in_block::2], out[..., in_block + 1 :: 2] = even, odd

    def _floats(self, rows: slice) -> np.ndarray:
        """NVFP4 only: by the decoder of whole blocks, with zeros up to their end."""
        padding = -self.shape[1] % self.kind.block_elements
        codes = np.pad(self.codes[rows], ((0, 0), (0, padding // 2)))
        scales = np.pad(self.group_scales[rows], ((0, 0), (0, padding // NVFP4_GROUP)))
        shape = (len(codes), self.shape[1] + padding)
        whole = Fp4Matrix(shape, self.source, codes, scales, self.kind)
        values = decode(self.kind, encoded(whole, self.kind), shape)[:, : self.shape[1]]
        with np.errstate(over="ignore"):  # infinities are found when the matrix is packed
            return np.ascontiguousarray(values) * np.float32(self.factor)


def nvfp4_matrix(module: Module, ending: str) -> Fp4Matrix:
    """The matrix of a module whose codes are named `ending`. Raises CheckpointError when something does not fit."""
    codes, scale = module.get(ending, ("U8",), 2), module.get(".weight_scale", ("F8_E4M3",), 2)
    rows, columns = codes.shape[0], 2 * codes.shape[1]
    if scale.shape == (rows, columns / MXFP4_GROUP):  # modelopt's W4A8_NVFP4_FP8: a scale for two groups
        scale = scale._replace(shape=(rows, columns // NVFP4_GROUP), data=np.repeat(scale.data, 2))
    require_shape(scale, (rows, -(-columns // NVFP4_GROUP)), codes)
    if columns % NVFP4_GROUP:
        raise CheckpointError(f"{codes.source}: {columns} columns are no whole groups of {NVFP4_GROUP}")
    if ".weight_global_scale" in module.tensors:
        factor = 1 / _single(module, ".weight_global_scale")
    else:
        factor = _single(module, ".weight_scale_2")
    return Fp4Matrix((rows, columns), codes.source, *_two(codes, scale), TYPES["NVFP4"], float(factor))


def mxfp4_matrix(module: Module, ending: str) -> Fp4Matrix:
    """The matrix of a module whose codes are named `ending`. Raises CheckpointError when something does not fit."""
    codes, scale = module.get(ending, ("U8",), 2), module.get(".weight_scale", ("U8", "F8_E8M0"), 2)
    rows, columns = codes.shape[0], 2 * codes.shape[1]
    require_shape(scale, (rows, columns // MXFP4_GROUP), codes)
    if columns % MXFP4_GROUP:
        raise CheckpointError(f"{codes.source}: {columns} columns are no whole groups of {MXFP4_GROUP}")
    return Fp4Matrix((rows, columns), codes.source, *_two(codes, scale), TYPES["MXFP4"])


def mxfp4_experts(module: Module) -> list[Fp4Matrix]:
    """The matrices of all experts of a module with `_blocks` and `_scales`. Errors as above."""
    blocks, scale = module.get("_blocks", ("U8",), 4), module.get("_scales", ("U8", "F8_E8M0"), 3)
    experts, rows, groups, half = blocks.shape
    if half != MXFP4_GROUP // 2:
        raise CheckpointError(f"{blocks.source}: has blocks of {half} bytes, expected {MXFP4_GROUP // 2}")
    require_shape(scale, (experts, rows, groups), blocks)
    codes, scales = blocks.data.reshape(experts, rows, groups * half), scale.data.reshape(scale.shape)
    shape = (rows, groups * MXFP4_GROUP)
    return [Fp4Matrix(shape, blocks.source, codes[i], scales[i], TYPES["MXFP4"]) for i in range(experts)]


def half_rows(matrix: Fp4Matrix, half: int) -> Fp4Matrix:
    """The first or the second half of the rows."""
    rows = matrix.shape[0] // 2
    some = slice(half * rows, (half + 1) * rows)
    return Fp4Matrix(
        (rows, matrix.shape[1]),
        matrix.source,
        matrix.codes[some],
        matrix.group_scales[some],
        matrix.kind,
        matrix.factor,
    )


def _two(codes: RawTensor, scale: RawTensor) -> tuple[np.ndarray, np.ndarray]:
    return codes.data.reshape(codes.shape), scale.data.reshape(scale.shape)


def _single(module: Module, ending: str) -> np.float32:
    """A normal number, whose inverse is one too."""
    raw = module.tensors.get(ending)
    if raw is None or raw.shape not in ((), (1,)):
        raw = module.get(ending, ("F32",), 1)
        raise CheckpointError(f"{raw.source}: has shape {list(raw.shape)}, expected a single number")
    value: np.float32 = float_values(raw)[0]
    if not 2.0**-126 <= value <= 2.0**126:
        raise CheckpointError(f"{raw.source}: is {value}, expected a positive number; the checkpoint is damaged")
    return value
