"""INT4 of modelopt (W4A16_AWQ, W4A8_AWQ): two rows a byte, the earlier one in its lower half.

    weight        U8 [rows / 2, columns], signed codes
    weight_scale  F32, F16 or BF16 [rows, groups], or [rows]

Beside them W4A8 has a weight_scale_2, by which the values are divided where they are rounded to FP8 for a product in
FP8: it is no part of them. The layout was read from modelopt 0.47 (`export/quant_utils.py`).
"""

from math import prod

import numpy as np

from qwill.errors import CheckpointError
from qwill.weights.packed.compressed import SCALE_DTYPES
from qwill.weights.packed.levels import Levels, Scale, groups_of_columns
from qwill.weights.packed.matrix import Module


def int4_rows_matrix(module: Module) -> Levels:
    """The matrix of a module. Raises CheckpointError or UnsupportedModel when the scales do not fit it."""
    weight = module.get(".weight", ("U8",), 2)
    rows, columns = 2 * weight.shape[0], weight.shape[1]
    raw = module.tensors[".weight_scale"]
    if len(raw.shape) < 2:
        module = Module(module.name, module.tensors | {".weight_scale": raw._replace(shape=(prod(raw.shape), 1))})
    scale = module.get(".weight_scale", SCALE_DTYPES, 2)
    if scale.shape[0] != rows:
        raise CheckpointError(f"{scale.source}: has shape {list(raw.shape)} for a matrix of {rows} rows")
    groups = scale.shape[1]

    def codes(some: slice) -> np.ndarray:
        pairs = weight.data.reshape(weight.shape)[some.start // 2 : some.stop // 2]
        both = np.stack((pairs & np.uint8(15), pairs >> np.uint8(4)), axis=1)
        return both.reshape(-1, columns) ^ np.uint8(8)  # from -8 to 7 as 0 to 15

    return Levels(
        shape=(rows, columns),
        source=weight.source,
        stored=(weight.data, scale.data),
        bits=4,
        group_of=groups_of_columns(columns, groups, scale, None),
        scale=Scale(scale, by_groups=False),
        codes=codes,
        zeros=lambda some: np.full((some.stop - some.start, groups), 8, np.uint8),
        zero_range=(8, 8),
    )
