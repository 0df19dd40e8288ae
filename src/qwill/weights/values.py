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
    step = max(VALUES_TOGETHER // columns // ROWS_TOGETHER, 1) * ROWS_TOGETHER
    for begin in range(0, rows, step):
        end = min(begin + step, rows)
        stored = stored_rows(tensor, begin, end, part)
        values = row_values(tensor, stored, begin, end, part)
        yield begin, values
        if not isinstance(tensor.parts, LazyParts):
            give_back(stored)


def stored_rows(tensor: Tensor, begin: int, end: int, part: int = 0) -> np.ndarray:
    """Some rows of a part as they are stored, uint8 [end - begin, row bytes]."""
    if isinstance(tensor.parts, LazyParts):
        return tensor.parts.rows(part, np.arange(begin, end))
    return tensor.parts[part].reshape(-1).view(np.uint8).reshape(tensor.shape[-2], -1)[begin:end]


def row_values(tensor: Tensor, stored: np.ndarray, begin: int, end: int, part: int = 0) -> np.ndarray:
    """The values of rows that `stored_rows` gave, float32 [end - begin, columns]."""
    shape = (tensor.shape[-2], tensor.shape[-1])
    values = decode(tensor.type, stored, (end - begin, shape[1]))
    if tensor.scales is not None:
        values *= spread_scales(tensor.scales[part], shape, np.arange(begin, end))
    return values
