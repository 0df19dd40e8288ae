"""The canonical tensors that a tiny checkpoint must give, worked out from its released tensors with torch."""

from collections.abc import Iterable

import numpy as np
import torch
from checkpoints import TinyCheckpoint, dequantize_fp8, text_config
from gguf_checkpoints import tiled_order

from qwill.weights.tensor import Tensor


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().numpy()


def expected(source: TinyCheckpoint) -> dict[str, np.ndarray]:
    """float32 values by canonical name, V heads in released order."""
    result: dict[str, np.ndarray] = {}
    experts: dict[str, dict[int, np.ndarray]] = {}
    for name, tensor in source.state.items():
        if name.endswith("_scale_inv"):
            continue
        scale = source.state.get(f"{name}_scale_inv")
        values = array(tensor) if scale is None else array(dequantize_fp8(tensor, scale))
        name = name.replace("model.language_model.", "").removeprefix("model.")
        stem, found, rest = name.partition(".mlp.experts.")
        if found and rest == "gate_up_proj":
            half = values.shape[1] // 2
            result[f"{stem}.mlp.experts.gate_proj"] = values[:, :half]
            result[f"{stem}.mlp.experts.up_proj"] = values[:, half:]
        elif found and rest != "down_proj":
            number, projection, _ = rest.split(".")
            experts.setdefault(f"{stem}.mlp.experts.{projection}", {})[int(number)] = values
        elif name.endswith("A_log"):
            result[name.replace("A_log", "A")] = -np.exp(values)
        elif name.endswith("conv1d.weight") or name == "visual.patch_embed.proj.weight":
            result[name] = values.reshape(values.shape[0], -1)
        elif is_zero_centred(name):
            result[name] = values + 1
        else:
            result[name] = values
    for name, numbered in experts.items():
        result[name] = np.stack([numbered[number] for number in range(len(numbered))])
    return result


def is_zero_centred(name: str) -> bool:
    if name.startswith("mtp.pre_fc"):
        return True
    return name.endswith("norm.weight") and "linear_attn" not in name and "visual" not in name


def untiled(name: str, values: np.ndarray, source: TinyCheckpoint) -> np.ndarray:
    """A tensor of a GGUF with its V heads back in released order."""
    config = text_config(source.config)
    if "linear_attn" not in name or name.endswith("norm.weight"):
        return values
    heads, width = config.linear_num_value_heads, config.linear_value_head_dim
    back = np.argsort(tiled_order(config))
    if name.endswith("out_proj.weight"):
        return values.reshape(-1, heads, width)[:, back].reshape(values.shape)
    keys = 2 * config.linear_num_key_heads * config.linear_key_head_dim if "qkv" in name or "conv1d" in name else 0
    part = values[keys:].reshape(heads, -1)[back].reshape(values[keys:].shape)
    return np.concatenate((values[:keys], part))


def decoded(tensor: Tensor) -> np.ndarray:
    """float32 values of an unquantized or FP8 tensor, by torch."""
    dtype = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn}
    parts = []
    for number, part in enumerate(tensor.parts):
        values = torch.from_numpy(part.copy()).view(dtype[tensor.type.name])
        values = values.reshape(-1, tensor.shape[-1])
        if tensor.scales is not None:
            values = dequantize_fp8(values, torch.from_numpy(tensor.scales[number].copy()))
        parts.append(array(values))
    return np.concatenate(parts).reshape(tensor.shape)


def by_name(tensors: Iterable[Tensor]) -> dict[str, Tensor]:
    return {tensor.name: tensor for tensor in tensors}
