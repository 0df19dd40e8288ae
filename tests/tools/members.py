"""Members of the family that quantizers are given: small, of sizes that all of them accept, every weight random."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checkpoints import save_hf, tiny_config

from tools.environments import make

# Whole groups of 128 everywhere but in the heads' decays and the shared expert's gate.
SIZES: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "linear_num_key_heads": 8,
    "linear_key_head_dim": 16,
    "linear_num_value_heads": 16,
    "linear_value_head_dim": 16,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000000.0,
        "partial_rotary_factor": 0.25,
        "mrope_section": [4, 2, 2],
        "mrope_interleaved": True,
    },
}
TOWER = {"hidden_size": 128, "intermediate_size": 256}
MEMBERS: dict[str, dict[str, Any]] = {
    "dense": {"intermediate_size": 384},
    "mixture": {
        "moe": True,
        "num_experts": 4,
        "moe_intermediate_size": 128,
        "shared_expert_intermediate_size": 128,
    },
}


@dataclass
class Made:
    """Folders that were quantized, by member, and what was made of them: `folder` / member / scheme."""

    sources: dict[str, Path]
    folder: Path


def made_by(environment: str, maker: str, folder: Path, *, mtp: bool = False, vision: bool = True) -> Made:
    """Fresh members, and what a maker makes of them. Arguments of the maker: where to, then the members' folders."""
    seed = int(np.random.default_rng().integers(2**31))
    print("seed", seed)
    sources = save_members(folder / "sources", seed, mtp, vision)
    print(make(environment, maker, folder / "made", *sources.values()))
    return Made(sources, folder / "made")


def save_members(folder: Path, seed: int, mtp: bool, vision: bool) -> dict[str, Path]:
    """Each member as a folder in the released layout, in BF16; `mtp`: with a draft head, `vision`: with a tower."""
    for name, own in MEMBERS.items():
        config = tiny_config(vision=vision, vision_overrides=TOWER, **SIZES, **own)
        save_hf(folder / name, config, dtype=torch.bfloat16, seed=seed, mtp=mtp, tokenizer=True)
    return {name: folder / name for name in MEMBERS}
