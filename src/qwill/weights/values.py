"""Values of stored matrices as float32, a few rows at a time."""

from collections.abc import Iterator

import numpy as np

from qwill.quant.codecs import decode
from qwill.weights.lazy import LazyParts
from qwill.weights.mapped import give_back
from qwill.weights.tensor import Tensor

VALUES_TOGETHER = 1 << 22
SCALE_BLOCK = 128


def pieces(tensor: Tensor, part: int = 0) -> Iterator[tuple[int, np.ndarray]]:
    """The first row of each piece of a part, and the piece: float32 [rows, columns]."""
    rows, columns = tensor.shape[-2:]
    row_bytes = tensor.type.row_bytes(columns)
    step = max(VALUES_TOGETHER // columns // SCALE_BLOCK, 1) * SCALE_BLOCK
    for begin in range(0, rows, step):
        end = min(begin + step, rows)
        if isinstance(tensor.parts, LazyParts):
            stored = tensor.parts.rows(part, np.arange(begin, end))
        else:
            stored = tensor.parts[part].reshape(-1).view(np.uint8)[begin * row_bytes : end * row_bytes]
        values = decode(tensor.type, stored, (end - begin, columns))
        if tensor.scales is not None:
            scales = tensor.scales[part][begin // SCALE_BLOCK :]
            values *= np.repeat(np.repeat(scales, SCALE_BLOCK, axis=0)[: end - begin], SCALE_BLOCK, axis=1)[:, :columns]
        yield begin, values
        if not isinstance(tensor.parts, LazyParts):
            give_back(stored)
