"""Folders that mlx-lm and mlx-vlm write: values as MLX dequantizes them, logits as transformers computes with those."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import save_hf, tiny_config, tiny_model
from model.harness import Ours, assert_same_logits, random_prompt, reference_logits
from safetensors.torch import load_file

from qwill.ops.linear.reference import pack
from qwill.quant.types import TYPES
from qwill.weights.load import open_checkpoint
from qwill.weights.names import place_hf
from qwill.weights.tensor import Tensor
from tools.environments import make

pytestmark = pytest.mark.tools

# Columns in whole groups of 128.
EVEN = {"hidden_size": 128, "linear_value_head_dim": 32, "linear_key_head_dim": 32}
DENSE = EVEN | {"intermediate_size": 256}
MIXTURE = EVEN | {"moe_intermediate_size": 128, "shared_expert_intermediate_size": 128, "num_experts": 4}
VISION = {"hidden_size": 64, "intermediate_size": 128, "num_heads": 2}
# By what is asked of `convert`: the types of which the tensors then are, beside F32 and BF16.
RECIPES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "not quantized": ({}, set()),
    "default": ({"quantize": True}, {"AFFINE4_64"}),
    **{
        f"affine {bits} {group}": (
            {"quantize": True, "q_bits": bits, "q_group_size": group},
            {f"AFFINE{bits}_{min(group, 64)}"},
        )
        for bits in (2, 3, 4, 5, 6, 8)
        for group in (32, 64, 128)
    },
    "float16": ({"quantize": True, "dtype": "float16"}, {"Q4_1"}),
    "float16 2": ({"quantize": True, "dtype": "float16", "q_bits": 2}, {"Q4_1"}),
    "float16 5": ({"quantize": True, "dtype": "float16", "q_bits": 5}, {"Q5_1"}),
    "float16 8": ({"quantize": True, "dtype": "float16", "q_bits": 8}, {"AFFINE8_32_F16"}),
    "float32": ({"quantize": True, "dtype": "float32"}, set()),
    "mxfp4": ({"quantize": True, "q_mode": "mxfp4"}, {"MXFP4"}),
    "nvfp4": ({"quantize": True, "q_mode": "nvfp4"}, {"NVFP4"}),
    "mxfp8": ({"quantize": True, "q_mode": "mxfp8"}, {"MXFP8"}),
    "mixed_2_6": ({"quantize": True, "quant_predicate": "mixed_2_6", "q_group_size": 64}, {"AFFINE2_64", "AFFINE6_64"}),
    "mixed_3_4": ({"quantize": True, "quant_predicate": "mixed_3_4", "q_group_size": 64}, {"AFFINE3_64", "AFFINE4_64"}),
}
IN_BOTH = ("not quantized", "default", "affine 3 32", "float16", "mxfp4", "nvfp4", "mxfp8", "mixed_3_4")


def converted(
    folder: Path, tool: str, options: dict[str, Any], moe: bool, vision: dict[str, Any] | None = None, seed: int = 0
) -> tuple[Path, dict[str, torch.Tensor], Any]:
    """A folder that a tool made of a random model, the values of its tensors by MLX's names, and its configuration."""
    more = MIXTURE if moe else DENSE
    config = tiny_config(moe, vision=True, vision_overrides=vision or VISION, **more)
    save_hf(folder / "source", config, dtype=torch.bfloat16, seed=seed, mtp=True, tokenizer=True)
    target, values = folder / "target", folder / "values.safetensors"
    make("mlx", "mlx_folders", tool, folder / "source", target, values, json.dumps(options))
    return target, load_file(values), config


def released(name: str, values: torch.Tensor) -> torch.Tensor:
    """MLX's values as a released model has them."""
    if name.endswith("conv1d.weight"):
        return values.moveaxis(2, 1)
    if name.endswith("patch_embed.proj.weight"):
        return values.moveaxis(4, 1)
    zero_centred = "norm.weight" in name and "linear_attn" not in name and not name.startswith("vision_tower")
    return values - 1 if zero_centred else values


def canonical(name: str, values: torch.Tensor) -> np.ndarray:
    """The values as qwill's canonical tensors have them."""
    if name.endswith("A_log"):
        return -np.exp(values.numpy())
    if name.endswith("conv1d.weight"):
        return values[..., 0].numpy()
    if name.endswith("patch_embed.proj.weight"):
        return released(name, values).flatten(1).numpy()
    return values.numpy()


def decoded(tensor: Tensor) -> np.ndarray:
    return pack(tensor).array if len(tensor.shape) > 1 else tensor.float32()


def check_values(folder: Path, values: dict[str, torch.Tensor]) -> set[str]:
    """Every tensor to the bit; returns the types that they have."""
    tensors = {tensor.name: tensor for tensor in open_checkpoint(folder).tensors}
    for name, expected in values.items():
        place = place_hf(name)
        assert place is not None, name
        np.testing.assert_array_equal(decoded(tensors.pop(place.name)), canonical(name, expected), err_msg=name)
    assert not tensors
    return {tensor.type.name for tensor in open_checkpoint(folder).tensors}


def text_model(config: Any, values: dict[str, torch.Tensor]) -> Any:
    """transformers' model with the values of MLX."""
    model = tiny_model(config)
    state = {}
    for name, tensor in values.items():
        if not name.startswith("language_model."):
            continue
        stem = name.removeprefix("language_model.")
        stem = stem.replace("model.", "model.language_model.", 1) if stem.startswith("model.") else stem
        state[stem.replace("switch_mlp.", "experts.")] = released(name, tensor)
    for name in [name for name in state if ".experts.gate_proj." in name]:
        stem = name.removesuffix("gate_proj.weight")
        gate, up = state.pop(name), state.pop(f"{stem}up_proj.weight")
        state[f"{stem}gate_up_proj"] = torch.cat((gate, up), 1)
        state[f"{stem}down_proj"] = state.pop(f"{stem}down_proj.weight")
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all("visual" in name for name in missing)
    return model


@pytest.mark.parametrize(
    ("recipe", "moe"),
    [(recipe, False) for recipe in RECIPES] + [(recipe, True) for recipe in IN_BOTH],
    ids=[*RECIPES, *(f"{recipe} of a mixture" for recipe in IN_BOTH)],
)
def test_mlx_lm(recipe: str, moe: bool, tmp_path: Path) -> None:
    options, types = RECIPES[recipe]
    folder, values, config = converted(tmp_path, "lm", options, moe)
    found = check_values(folder, values)
    routers = {"AFFINE8_32_F16" if "float16" in recipe else "AFFINE8_64"} if moe and "quantize" in options else set()
    assert found - {"F32", "F16", "BF16"} == types | (routers if "mixed" not in recipe else set())
    ours = Ours(folder, "reference")
    assert ours.config.text.mtp_layers == 1
    assert ours.model.mtp is None
    prompt = random_prompt(np.random.default_rng(7), 40, 288)
    assert_same_logits(ours.logits(prompt), reference_logits(text_model(config, values), prompt))


@pytest.mark.parametrize("moe", [False, True], ids=["dense", "mixture"])
@pytest.mark.parametrize("recipe", ["not quantized", "default", "affine 6 32", "mxfp4", "nvfp4", "mxfp8"])
def test_mlx_vlm(recipe: str, moe: bool, tmp_path: Path) -> None:
    """With its vision tower, some of whose columns are in whole groups."""
    options, types = RECIPES[recipe]
    if "q_mode" in options:  # by which mlx-vlm does not choose them
        group, bits = {"mxfp4": (32, 4), "nvfp4": (16, 4), "mxfp8": (32, 8)}[recipe]
        options = options | {"q_group_size": group, "q_bits": bits}
    folder, values, _ = converted(tmp_path, "vlm", options, moe)
    found = check_values(folder, values)
    assert types <= found
    assert TYPES["F32"].name in found
    assert any(name.startswith("vision_tower.") for name in values)
