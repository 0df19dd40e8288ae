"""Rows of the embedding table by the native decoders."""

import numpy as np

from qwill._native import Cpu
from qwill.quant.codecs import native_id
from qwill.weights.tensor import Tensor


def embedding(cpu: Cpu, table: Tensor, ids: np.ndarray) -> np.ndarray:
    """The rows of `table` [vocab, hidden], still in its file's type, for int32 ids [tokens] → [tokens, hidden] f32."""
    rows, columns = table.shape
    out = np.empty((len(ids), columns), np.float32)
    cpu.embedding(native_id(table.type), table.parts[0], rows, table.type.row_bytes(columns), ids, out)
    if table.scales is not None:
        out *= np.repeat(table.scales[0], 128, axis=1)[ids // 128, :columns]
    return out
