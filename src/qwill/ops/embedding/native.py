"""Rows of the embedding table by the native decoders."""

import numpy as np

from qwill._native import Cpu
from qwill.ops.arrays import empty
from qwill.quant.codecs import native_id
from qwill.weights.mapped import give_back
from qwill.weights.tensor import Tensor, spread_scales

# Looked up before pages are given back. A system maps 64 KiB around each, where its cache has large pages up to 2 MiB.
ROWS_TOGETHER = 64


def embedding(cpu: Cpu, table: Tensor, ids: np.ndarray) -> np.ndarray:
    """The rows of `table` [vocab, hidden], still in its file's type, for int32 ids [tokens] → [tokens, hidden] f32.

    Pages of a mapped file are given back, which costs about 10 microseconds: in time the whole table would count as
    memory of this process, which has it packed as the head as well.
    """
    rows, columns = table.shape
    row_bytes = table.type.row_bytes(columns)
    out = empty(len(ids), columns)
    for begin in range(0, len(ids), ROWS_TOGETHER):
        some = slice(begin, begin + ROWS_TOGETHER)
        cpu.embedding(native_id(table.type), table.parts[0], rows, row_bytes, ids[some], out[some])
        give_back(table.parts[0])
    if table.scales is not None:
        out *= spread_scales(table.scales[0], table.shape, ids)
    return out
