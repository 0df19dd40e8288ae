"""Checkpoints in the layout of MLX, written with torch after what mlx-lm and mlx-vlm write."""

from pathlib import Path
from typing import Any

import packers
import torch
from checkpoints import edit_json, write_shards

CENTRED = ("input_layernorm.weight", "post_attention_layernorm.weight", "q_norm.weight", "k_norm.weight")


def affine(bits: int, group: int = 64, dtype: torch.dtype = torch.bfloat16) -> packers.Packer:
    """Codes in words, scales and biases; values in float32, each rounded once."""

    def pack(weight: torch.Tensor) -> packers.Packed:
        groups = weight.float().unflatten(-1, (-1, group))
        low, high = groups.amin(-1), groups.amax(-1)
        scale, bias = ((high - low) / ((1 << bits) - 1)).to(dtype), low.to(dtype)
        scale[scale == 0] = 1
        spread, start = scale.float()[..., None], bias.float()[..., None]
        codes = ((groups - start) / spread).round().clamp(0, (1 << bits) - 1)
        values = (codes.double() * spread.double()).float() + start
        words = packers.into_words(codes.flatten(-2).long().flatten(0, -2), bits)
        words = words.reshape(*weight.shape[:-1], -1).view(torch.uint32)
        return {".weight": words, ".scales": scale, ".biases": bias}, values.flatten(-2)

    return pack


def microscaled(kind: str) -> packers.Packer:
    """`mxfp4`, `nvfp4` or `mxfp8`, of a matrix or of experts."""
    group = 16 if kind == "nvfp4" else 32

    def pack(weight: torch.Tensor) -> packers.Packed:
        rows = weight.float().flatten(0, -2)
        if kind == "mxfp8":
            tensors, values = packers.mxfp8()(rows)
            codes, scales = tensors[".weight"].view(torch.uint8), tensors[".weight_scale"]
        elif kind == "mxfp4":
            scales = packers.mx_exponents(rows)
            codes, values = packers.four_bits(rows, 2.0 ** (scales.double() - 127), group)
        else:
            largest = rows.unflatten(-1, (-1, group)).abs().amax(-1) / 6
            stored = largest.clamp(2**-9, 448).to(torch.float8_e4m3fn)
            codes, values = packers.four_bits(rows, stored.double(), group)
            scales = stored.view(torch.uint8)
        lead = weight.shape[:-1]
        words = codes.contiguous().view(torch.uint32).reshape(*lead, -1)
        return {".weight": words, ".scales": scales.reshape(*lead, -1)}, values.reshape(weight.shape)

    return pack


def mlx_name(name: str) -> str:
    """MLX's name of a released one."""
    if name.startswith("lm_head."):
        return f"language_model.{name}"
    if name.startswith("model.visual."):
        return name.replace("model.visual.", "vision_tower.", 1)
    return "language_model.model." + name.removeprefix("model.").removeprefix("language_model.")


def mlx_layout(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A released state, experts in one tensor a layer, as MLX has it; without draft head."""
    result: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if name.startswith("mtp."):
            continue
        new = mlx_name(name)
        if new.endswith("gate_up_proj"):
            stem = new.removesuffix("experts.gate_up_proj") + "switch_mlp."
            result[f"{stem}gate_proj.weight"], result[f"{stem}up_proj.weight"] = tensor.chunk(2, 1)
        elif new.endswith("experts.down_proj"):
            result[new.replace("experts.", "switch_mlp.") + ".weight"] = tensor
        elif new.endswith("conv1d.weight"):
            result[new] = tensor.moveaxis(2, 1)
        elif new.endswith("patch_embed.proj.weight"):
            result[new] = tensor.moveaxis(1, 4)
        elif new.endswith(CENTRED) or new == "language_model.model.norm.weight":
            result[new] = tensor + 1
        else:
            result[new] = tensor
    return result


def quantized(
    state: dict[str, torch.Tensor], packer: packers.Packer, group: int = 64
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A state in MLX's layout, quantized wherever MLX does it, routers and shared gates in 8 bits; and its values."""
    packed, values = {}, {}
    for name, tensor in state.items():
        matrix = tensor.ndim in (2, 3) and name.endswith(".weight") and "conv1d" not in name
        if not matrix or tensor.shape[-1] % max(group, 64):
            packed[name] = values[name] = tensor
            continue
        gate = name.endswith(("mlp.gate.weight", "shared_expert_gate.weight"))
        tensors, made = (affine(8) if gate else packer)(tensor)
        packed |= {name.removesuffix(".weight") + ending: each for ending, each in tensors.items()}
        values[name] = made.float()
    return packed, values


def released(state: dict[str, torch.Tensor], like: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The values of a state in MLX's layout under the released names, zero-centred norms from `like`."""
    result: dict[str, torch.Tensor] = {}
    for name, tensor in like.items():
        new = mlx_name(name)
        if name.startswith("mtp.") or new.endswith((*CENTRED, "conv1d.weight", "patch_embed.proj.weight")):
            result[name] = tensor
        elif new.endswith("gate_up_proj"):
            stem = new.removesuffix("experts.gate_up_proj") + "switch_mlp."
            result[name] = torch.cat((state[f"{stem}gate_proj.weight"], state[f"{stem}up_proj.weight"]), 1)
        elif new.endswith("experts.down_proj"):
            result[name] = state[new.replace("experts.", "switch_mlp.") + ".weight"]
        else:
            result[name] = tensor if new == "language_model.model.norm.weight" else state[new]
    return {name: tensor for name, tensor in result.items() if not name.startswith("mtp.")}


def write(folder: Path, state: dict[str, torch.Tensor], **quantization: Any) -> None:
    """Replaces the tensors of a folder, and says what mlx-lm says of them."""
    write_shards(folder, state, 1)
    said = {"group_size": 64, "bits": 4, "mode": "affine"} | quantization
    edit_json(folder / "config.json", quantization=said, quantization_config=said)
