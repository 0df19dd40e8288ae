"""bitsandbytes: four bits that stand for the numbers of a table (NF4, FP4), and eight-bit whole numbers (LLM.int8).

    weight                                 any dtype, bytes of two codes each, the earlier one in the upper half, over
                                           the matrix as one row
    weight.quant_state.bitsandbytes__nf4   U8, JSON: shape, blocksize (values that share an absmax), and with nested
                                           absmax nested_blocksize and nested_offset; or bitsandbytes__fp4
    weight.quant_map                       F32 [16], the table
    weight.absmax                          F32 [blocks]; nested: U8, codes of weight.nested_quant_map, F32 [256], times
                                           weight.nested_absmax, F32 [blocks of blocks], plus the offset

    weight                                 I8 [rows, columns]
    SCB                                    F32 [rows], the largest magnitude of the row: value = code * SCB / 127
    weight_format                          U8, 0: by rows

The layout was read from bitsandbytes 0.50 (`functional.py`, `nn/modules.py`, `backends/default/ops.py`).
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.weights.mapped import RawTensor
from qwill.weights.packed.floats import Floats
from qwill.weights.packed.matrix import Module, require_shape

_STATES = (".weight.quant_state.bitsandbytes__nf4", ".weight.quant_state.bitsandbytes__fp4")
_ABSMAX, _MAP = ".weight.absmax", ".weight.quant_map"
_NESTED_ABSMAX, _NESTED_MAP = ".weight.nested_absmax", ".weight.nested_quant_map"
ENDINGS = (*_STATES, _ABSMAX, _MAP, _NESTED_ABSMAX, _NESTED_MAP, ".SCB", ".weight_format")
BLOCK_SIZES = tuple(1 << power for power in range(5, 13))
_PART_OF_INT8 = np.float32(7.874015718698502e-3)  # 1 / 127, as the library multiplies


def bitsandbytes_matrix(module: Module) -> Floats:
    """The matrix of a module. Raises CheckpointError or UnsupportedModel when a tensor is missing or does not fit."""
    return _int8(module) if ".SCB" in module.tensors else _four_bits(module)


def _int8(module: Module) -> Floats:
    weight, scale = module.get(".weight", ("I8",), 2), module.get(".SCB", ("F32",), 1)
    rows, columns = weight.shape
    require_shape(scale, (rows,), weight)
    form = module.tensors.get(".weight_format")
    if form is not None and form.data.any():
        raise UnsupportedModel(f"{form.source}: only codes that lie by rows are supported; save the model again")
    codes, largest = weight.data.view(np.int8).reshape(rows, columns), scale.data.view(np.float32)

    def values(some: slice) -> np.ndarray:
        return codes[some].astype(np.float32) * _finite(scale, largest[some])[:, None] * _PART_OF_INT8

    return Floats((rows, columns), weight.source, (weight.data, scale.data), values)


def _four_bits(module: Module) -> Floats:
    raw_state = next((module.tensors[name] for name in _STATES if name in module.tensors), None)
    if raw_state is None:
        raw_state = module.get(_STATES[0], ("U8",), 1)
    state = _State(raw_state)
    weight = module.tensors.get(".weight")
    if weight is None:
        weight = module.get(".weight", ("U8",), 2)
    rows, columns = state.shape
    if weight.data.nbytes != -(-rows * columns // 2):
        raise CheckpointError(
            f"{weight.source}: holds {weight.data.nbytes} bytes, {rows} x {columns} codes of 4 bits need"
            f" {-(-rows * columns // 2)}; the checkpoint is damaged"
        )
    table = _table(module, _MAP, 16)
    pairs = np.stack((table.repeat(16), np.tile(table, 16)), axis=1)  # of each byte, the upper half first
    absmax = _absmax(module, state)
    size = state.size

    def values(some: slice) -> np.ndarray:
        begin, end = some.start * columns, some.stop * columns
        first, last = begin // size, -(-end // size)
        flat = pairs[weight.data[first * size // 2 : last * size // 2]].reshape(-1)
        whole = np.zeros((last - first, size), np.float32)  # the last block may be shorter
        whole.reshape(-1)[: len(flat)] = flat
        whole *= absmax(first, last)[:, None]
        return whole.reshape(-1)[begin - first * size : end - first * size].reshape(-1, columns)

    return Floats((rows, columns), weight.source, (weight.data, module.tensors[_ABSMAX].data), values)


class _State:
    """What the JSON of a module says.

    Raises CheckpointError when it is torn or says what cannot be. `shape` rows and columns, `size` values of a block,
    `nested` whether absmax is quantized; then its own blocks' `nested_size` and `offset`.
    """

    def __init__(self, raw: RawTensor) -> None:
        self.raw = raw
        try:
            said = json.loads(raw.data.tobytes())
        except (ValueError, RecursionError) as error:
            raise self._wrong("is no JSON") from error
        if not isinstance(said, dict):
            raise self._wrong("is no object")
        shape = said.get("shape")
        if not isinstance(shape, list) or len(shape) != 2 or not all(type(n) is int and 0 < n < 2**32 for n in shape):
            raise self._wrong(f"says the shape {shape!r}, expected rows and columns")
        self.shape = (shape[0], shape[1])
        self.size = self._block_size(said, "blocksize")
        self.nested = "nested_blocksize" in said
        self.nested_size, self.offset = 0, np.float32(0)
        if self.nested:
            self.nested_size = self._block_size(said, "nested_blocksize")
            offset = said.get("nested_offset")
            if not isinstance(offset, (int, float)) or not abs(offset) < 1e30:
                raise self._wrong(f"says the nested_offset {offset!r}, expected a number")
            self.offset = np.float32(offset)

    @property
    def blocks(self) -> int:
        return -(-self.shape[0] * self.shape[1] // self.size)

    def _block_size(self, said: dict[str, Any], key: str) -> int:
        size = said.get(key)
        if size not in BLOCK_SIZES or type(size) is not int:
            raise self._wrong(f"says the {key} {size!r}, expected a power of two from 32 to 4096")
        return size

    def _wrong(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.raw.source}: {what}; the checkpoint is damaged")


def _absmax(module: Module, state: _State) -> Callable[[int, int], np.ndarray]:
    """What gives the largest magnitudes of blocks first to last - 1, float32."""
    if not state.nested:
        raw = module.get(_ABSMAX, ("F32",), 1)
        require_shape(raw, (state.blocks,), state.raw)
        every = raw.data.view(np.float32)
        return lambda first, last: _finite(raw, every[first:last])
    raw = module.get(_ABSMAX, ("U8",), 1)
    require_shape(raw, (state.blocks,), state.raw)
    above = module.get(_NESTED_ABSMAX, ("F32",), 1)
    require_shape(above, (-(-state.blocks // state.nested_size),), raw)
    table, largest = _table(module, _NESTED_MAP, 256), above.data.view(np.float32)

    def nested(first: int, last: int) -> np.ndarray:
        groups = np.arange(first, last) // state.nested_size
        return table[raw.data[first:last]] * _finite(above, largest[groups]) + state.offset

    return nested


def _table(module: Module, ending: str, count: int) -> np.ndarray:
    raw = module.get(ending, ("F32",), 1)
    if raw.shape != (count,):
        raise CheckpointError(f"{raw.source}: has {raw.shape[0]} numbers, expected {count}; the checkpoint is damaged")
    return _finite(raw, raw.data.view(np.float32))


def _finite(raw: RawTensor, values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise CheckpointError(f"{raw.source}: holds NaN or infinity; the checkpoint is damaged")
    return values
