"""MXFP8: eight-bit floats (E4M3) with a power of two for each 32 columns.

    weight        F8_E4M3 [rows, columns]
    weight_scale  U8 or F8_E8M0 [rows, columns / 32], E8M0: 2^(scale - 127)

The layout was read from compressed-tensors 0.20 (`compressors/mxfp8`), modelopt 0.47 and the OCP's specification of
microscaling formats.
"""

import numpy as np

from qwill.errors import CheckpointError
from qwill.quant.codecs import decode
from qwill.quant.types import TYPES
from qwill.weights.packed.floats import Floats
from qwill.weights.packed.matrix import Module, require_shape

GROUP = 32
SCALE_DTYPES = ("U8", "F8_E8M0")


def mxfp8_matrix(module: Module) -> Floats:
    """The matrix of a module. Raises CheckpointError when the scales do not fit it."""
    weight, scale = module.get(".weight", ("F8_E4M3",), 2), module.get(".weight_scale", SCALE_DTYPES, 2)
    rows, columns = weight.shape
    require_shape(scale, (rows, -(-columns // GROUP)), weight)
    if columns % GROUP:
        raise CheckpointError(f"{weight.source}: {columns} columns are no whole groups of {GROUP}")
    codes, exponents = weight.data.reshape(weight.shape), scale.data.reshape(scale.shape)

    def values(some: slice) -> np.ndarray:
        if (exponents[some] == 255).any():
            raise CheckpointError(f"{scale.source}: holds NaN; the checkpoint is damaged")
        numbers = decode(TYPES["F8_E4M3"], np.ascontiguousarray(codes[some]), (some.stop - some.start, columns))
        powers = np.ldexp(np.float32(1), exponents[some].astype(np.int32) - 127)
        scaled: np.ndarray = numbers.reshape(len(numbers), -1, GROUP) * powers[..., None]
        return scaled.reshape(numbers.shape)

    return Floats((rows, columns), weight.source, (weight.data, scale.data), values)
