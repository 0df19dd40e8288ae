"""Values of stored matrices as float32, a few rows at a time."""

from collections.abc import Iterator

import numpy as np

from qwill.quant.codecs import decode
from qwill.weights.lazy import ROWS_TOGETHER, LazyParts
from qwill.weights.mapped import give_back
from qwill.weights.tensor import Tensor, spread_scales

VALUES_TOGETHER = 1 << 22


def pieces(tensor: Tensor, part: int = 0) -> Iterator[tuple[int, np.ndarray]]:
    """The first row of each piece of a part, and the piece: float32 [rows, columns]."""
    rows, columns = tensor.shape[-2:]
    row_bytes = tensor.type.row_bytes(columns)
    step = max(VALUES_TOGETHER // columns // ROWS_TOGETHER, 1) * ROWS_TOGETHER
    for begin in range(0, rows, step):
        end = min(begin + step, rows)
        if isinstance(tensor.parts, LazyParts):
            stored = tensor.parts.rows(part, np.arange(begin, end))
        else:
            stored = tensor.parts[part].reshape(-1).view(np.uint8)[begin * row_bytes : end * row_bytes]
        values = decode(tensor.type, stored, (end - begin, columns))
        if tensor.scales is not None:
            values *= spread_scales(tensor.scales[part], (rows, columns), np.arange(begin, end))
        yield begin, values
        if not isinstance(tensor.parts, LazyParts):
            give_back(stored)
