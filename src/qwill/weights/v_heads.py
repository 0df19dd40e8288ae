"""The order of V heads, in which the two file formats differ."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def v_head_order(name: str, shape: Sequence[int], text: dict[str, Any]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Rows and columns of a canonical tensor in the order of GGUF, where the V heads of one K head stand K apart.

    int64, the stored index at each place; None where the order stays. Released order is [K head, its V heads].
    """
    keys, heads, size = (text[f"linear_{part}"] for part in ("num_key_heads", "num_value_heads", "value_head_dim"))
    if keys == heads:
        return None, None
    order = np.arange(heads).reshape(keys, heads // keys).T.reshape(-1)
    channels = (order[:, None] * size + np.arange(size)).reshape(-1)
    match name.partition("linear_attn.")[2]:
        case "in_proj_qkv.weight" | "conv1d.weight":
            before = shape[0] - len(channels)  # rows of queries and keys
            return np.concatenate((np.arange(before), before + channels)), None
        case "in_proj_z.weight":
            return channels, None
        case "out_proj.weight":
            return None, channels
        case "in_proj_a.weight" | "in_proj_b.weight" | "A" | "dt_bias":
            return order, None
    return None, None
