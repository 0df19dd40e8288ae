"""What one step computes, and the arrays that sequences keep between steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from qwill.model.adapters import Span
from qwill.model.config import TextConfig
from qwill.model.parameters import kv_bytes_per_token, state_bytes
from qwill.quant.types import TensorType

LINE = 64  # bytes of a cache line

# How keys and values can be kept, by tensor type.
KV_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "Q8_0": np.dtype(np.uint8),
}


class Batch(NamedTuple):
    """The tokens of one step: some of each of several sequences, one sequence after the other.

    token_ids [tokens] int32; positions [3, tokens] int32 (T, H, W); starts [sequences + 1] int32, the first row of each
    sequence; contexts [sequences] int32, tokens already cached; slots [sequences] int32, rows of the recurrent states;
    block_tables [sequences, pages] int32; replayed [sequences] int32, drafts of the step before that were right and now
    enter the states; kept [sequences] int32, rows that enter them too, while the others are drafts; media: rows whose
    embedding is replaced, with the rows' embeddings; adapted: rows that are computed with adapters.
    """

    token_ids: np.ndarray
    positions: np.ndarray
    starts: np.ndarray
    contexts: np.ndarray
    slots: np.ndarray
    block_tables: np.ndarray
    replayed: np.ndarray
    kept: np.ndarray
    media: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    adapted: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Cache:
    """Keys, values and recurrent states of all sequences; which page or slot belongs to whom is the engine's matter.

    keys, values: per attention layer [pages, kv_heads, page, head_dim], f32 or f16, or uint8 with the bytes of
    Q8_0 rows; the MTP layer's come last.
    conv_states, states: per DeltaNet layer [slots, kernel - 1, channels] and [slots, V heads, key_dim, value_dim] f32.
    pending: per DeltaNet layer [slots, drafts, channels + 2 V heads] f32, the inputs of drafts, not in the states.
    """

    keys: list[np.ndarray]
    values: list[np.ndarray]
    conv_states: list[np.ndarray]
    states: list[np.ndarray]
    pending: list[np.ndarray]

    def clear_slot(self, slot: int) -> None:
        """A sequence starts from zero states."""
        for array in (*self.conv_states, *self.states):
            array[slot] = 0


def cache_bytes(
    config: TextConfig, pages: int, page_size: int, slots: int, kv_type: TensorType, drafts: int = 0
) -> int:
    """Bytes that `allocate_cache` takes."""
    draft_layers = 2 * config.mtp_layers * config.kv_heads * kv_type.row_bytes(config.head_dim)
    token = kv_bytes_per_token(config, kv_type) + draft_layers
    pending = 4 * drafts * config.layer_types.count("linear_attention") * _pending_width(config)
    return pages * page_size * token + slots * (state_bytes(config) + pending)


def allocate_cache(
    config: TextConfig, pages: int, page_size: int, slots: int, kv_type: TensorType, drafts: int = 0
) -> Cache:
    """Zeroed arrays for `pages` pages and `slots` sequences, each with at most `drafts` drafts in a step; memory is
    only touched as it is used.
    """
    kv_dtype = KV_DTYPES[kv_type.name]
    attention_layers = config.layer_types.count("full_attention") + config.mtp_layers
    linear_layers = config.layer_types.count("linear_attention")
    kv_shape = (pages, config.kv_heads, page_size, kv_type.row_bytes(config.head_dim) // kv_dtype.itemsize)
    conv_shape = (slots, config.conv_kernel - 1, config.linear_channels)
    pending_shape = (slots, drafts, _pending_width(config))
    state_shape = (slots, config.linear_value_heads, config.linear_key_dim, config.linear_value_dim)
    of_layers = [
        (kv_shape, kv_dtype, attention_layers),
        (kv_shape, kv_dtype, attention_layers),
        (conv_shape, np.dtype(np.float32), linear_layers),
        (state_shape, np.dtype(np.float32), linear_layers),
        (pending_shape, np.dtype(np.float32), linear_layers),
    ]
    return Cache(*_zeroed(of_layers))


def _zeroed(of_layers: Sequence[tuple[tuple[int, ...], np.dtype[Any], int]]) -> list[list[np.ndarray]]:
    """For each shape and type as many arrays as layers have them, each on a cache line's boundary.

    They share one piece of memory, so large that the system gives it fresh. Smaller ones would come from where weights
    were made before, and would be cleared at once.
    """
    sizes = [-(-prod(shape) * dtype.itemsize // LINE) * LINE for shape, dtype, _ in of_layers]
    memory = np.zeros(
        LINE + sum(size * layers for size, (_, _, layers) in zip(sizes, of_layers, strict=True)), np.uint8
    )
    place = -memory.ctypes.data % LINE
    result = []
    for size, (shape, dtype, layers) in zip(sizes, of_layers, strict=True):
        begins = range(place, place + size * layers, size) if size else [place] * layers
        of_size = prod(shape) * dtype.itemsize
        result.append([memory[begin : begin + of_size].view(dtype).reshape(shape) for begin in begins])
        place += size * layers
    return result


def _pending_width(config: TextConfig) -> int:
    return config.linear_channels + 2 * config.linear_value_heads
