"""Adapters for tests, in the layout of peft's folders, and the models that they make of a tiny checkpoint.

What is written follows peft 0.21 and shares no code with qwill; the merged model is computed here in float64.
"""

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

DENSE = ("q_proj", "k_proj", "v_proj", "o_proj", "in_proj_qkv", "in_proj_z", "in_proj_a", "in_proj_b", "out_proj",
         "gate_proj", "up_proj", "down_proj")  # fmt: skip
SHARED = ("shared_expert_gate",)
TABLES = ("embed_tokens", "lm_head")
EXPERTS = ("experts.gate_up_proj", "experts.down_proj")
ROUTER = "mlp.gate"


@dataclass
class Recipe:
    """What to make. `targets` are the last parts of modules' names, or parameters of experts and routers."""

    targets: Sequence[str]
    rank: int = 4
    alpha: float = 6.0
    rslora: bool = False
    dora: bool = False
    bias: bool = False
    scale: float = 1.0  # that it is to be given with
    turned: bool = False  # experts as peft before 0.19 wrote them
    dtype: torch.dtype = torch.float32
    prefix: str = "base_model.model."
    middle: str = ""  # the adapter's name in names of tensors, which older programs left there
    config: dict[str, Any] = field(default_factory=dict)


def save_peft(folder: Path, model: torch.nn.Module, recipe: Recipe, seed: int) -> torch.nn.Module:
    """Writes a random adapter of a model, and returns the model with it."""
    merged = copy.deepcopy(model)
    if merged.get_output_embeddings().weight is merged.get_input_embeddings().weight:
        head = merged.get_output_embeddings()
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, torch.Tensor] = {}

    def draw(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=generator) * shape[-1] ** -0.5).to(recipe.dtype)

    for name, module in merged.named_modules():
        last = name.rpartition(".")[2]
        if last in recipe.targets and isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            _change(recipe, state, draw, name, module)
        if name.endswith(".mlp.experts"):
            _change_experts(recipe, state, draw, name, module)
        if name.endswith(ROUTER) and ROUTER in recipe.targets:
            _change(recipe, state, draw, name, module)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({recipe.prefix + name: tensor.contiguous() for name, tensor in state.items()},
              folder / "adapter_model.safetensors")  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(_config(recipe)))
    return merged


def _config(recipe: Recipe) -> dict[str, Any]:
    return {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "somebody/tiny", "r": recipe.rank,
        "lora_alpha": recipe.alpha, "use_rslora": recipe.rslora, "use_dora": recipe.dora, "bias": "none",
        "target_modules": [name for name in recipe.targets if "." not in name], "modules_to_save": None,
        "peft_version": "0.18.1" if recipe.turned else "0.21.2", "alpha_pattern": {}, "rank_pattern": {},
    } | recipe.config  # fmt: skip


def _factor(recipe: Recipe, rank: int, alpha: float | None = None) -> float:
    alpha = recipe.alpha if alpha is None else alpha
    return alpha / (math.sqrt(rank) if recipe.rslora else rank)


def _change(recipe: Recipe, state: dict[str, torch.Tensor], draw: Any, name: str, module: torch.nn.Module) -> None:
    rows, columns = module.weight.shape
    weight = module.weight.detach().double()
    scale = recipe.scale * _factor(recipe, recipe.rank)
    middle = recipe.middle
    if isinstance(module, torch.nn.Embedding):
        a, b = draw(recipe.rank, rows), draw(columns, recipe.rank)
        state[f"{name}.lora_embedding_A{middle}"], state[f"{name}.lora_embedding_B{middle}"] = a, b
        state[f"{name}.base_layer.weight"] = module.weight.detach().clone()
        changed = weight + scale * (b.double() @ a.double()).T
        length = changed.norm(dim=0, keepdim=True)
    else:
        a, b = draw(recipe.rank, columns), draw(rows, recipe.rank)
        state[f"{name}.lora_A{middle}.weight"], state[f"{name}.lora_B{middle}.weight"] = a, b
        if name.endswith("lm_head"):
            state[f"{name}.base_layer.weight"] = module.weight.detach().clone()
        changed = weight + scale * (b.double() @ a.double())
        length = changed.norm(dim=1, keepdim=True)
    if recipe.dora:
        magnitude = (length.float() * (1 + 0.3 * draw(*length.shape).float())).abs().reshape(-1)
        state[f"{name}.lora_magnitude_vector{middle}"] = magnitude
        changed = changed / length * magnitude.double().reshape(length.shape)
    if recipe.bias:
        bias = draw(rows)
        state[f"{name}.lora_B{middle}.bias"] = bias
        module.bias = torch.nn.Parameter((scale * bias.double()).float())
    module.weight = torch.nn.Parameter(changed.float())


def _change_experts(
    recipe: Recipe, state: dict[str, torch.Tensor], draw: Any, name: str, module: torch.nn.Module
) -> None:
    """Of both parameters the one that comes first is wrapped in the other's wrapper."""
    wanted = [target.partition(".")[2] for target in EXPERTS if target in recipe.targets]
    for number, parameter in enumerate(wanted):
        weight = getattr(module, parameter)
        experts, rows, columns = weight.shape
        if recipe.turned:
            a, b = draw(experts * recipe.rank, rows), draw(columns, experts * recipe.rank)
        else:
            a, b = draw(experts * recipe.rank, columns), draw(rows, experts * recipe.rank)
        stem = name + ".base_layer" * (len(wanted) - 1 - number)
        state[f"{stem}.lora_A.weight"], state[f"{stem}.lora_B.weight"] = a, b
        first = a.double().reshape(experts, recipe.rank, -1)
        last = b.double().reshape(-1, recipe.rank, experts)
        added = torch.einsum("ore,eri->eio" if recipe.turned else "ore,eri->eoi", last, first)
        changed = weight.detach().double() + recipe.scale * _factor(recipe, recipe.rank) * added
        setattr(module, parameter, torch.nn.Parameter(changed.float()))
