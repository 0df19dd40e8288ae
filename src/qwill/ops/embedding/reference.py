"""Rows of the embedding table in NumPy."""

import numpy as np

from qwill.quant import codecs
from qwill.weights.tensor import Tensor, spread_scales


def embedding(table: Tensor, ids: np.ndarray) -> np.ndarray:
    """The rows of `table` [vocab, hidden], still in its file's type, for int32 ids [tokens] → [tokens, hidden] f32."""
    columns = table.shape[1]
    rows = table.parts[0].reshape(table.shape[0], table.type.row_bytes(columns))[ids]
    values = codecs.decode(table.type, rows.reshape(-1), (len(ids), columns))
    return values if table.scales is None else values * spread_scales(table.scales[0], table.shape, ids)
