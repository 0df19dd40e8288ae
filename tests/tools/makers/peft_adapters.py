"""Adapters by peft, of every kind, for each folder that is named, and logits with each.

Arguments: target, a file with tokens, folders.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForImageTextToText

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
DELTA = ["in_proj_qkv", "in_proj_z", "in_proj_a", "in_proj_b", "out_proj"]
FEED_FORWARD = ["gate_proj", "up_proj", "down_proj"]
LINEAR = [*ATTENTION, *DELTA, *FEED_FORWARD]
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
EVERYWHERE: dict[str, dict[str, Any]] = {
    "all-linear": {"target_modules": "all-linear", "r": 5},
    "attention": {"target_modules": ATTENTION},
    "delta": {"target_modules": DELTA},
    "feed-forward": {"target_modules": FEED_FORWARD},
    "rslora": {"target_modules": LINEAR, "use_rslora": True, "r": 9},
    "dora": {"target_modules": LINEAR, "use_dora": True},
    "bias": {"target_modules": LINEAR, "lora_bias": True},
    "patterns": {
        "target_modules": LINEAR,
        "rank_pattern": {"q_proj": 7, r"layers\.[02]\..*out_proj": 3},
        "alpha_pattern": {"k_proj": 40, r"layers\.1\..*": 2},
    },
    "tables": {"target_modules": ["embed_tokens", "lm_head"]},
    "tables-dora": {"target_modules": ["embed_tokens", "lm_head"], "use_dora": True},
    "tokens": {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [9, 3], "lm_head": [4, 3]}},
    "saved": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head", "norm", "input_layernorm"]},
}
MIXTURE: dict[str, dict[str, Any]] = {
    "experts": {"target_modules": ["q_proj"], "target_parameters": EXPERTS},
    "gate-up": {"target_modules": [], "target_parameters": EXPERTS[:1]},
    "down": {"target_modules": [], "target_parameters": EXPERTS[1:]},
    "router": {"target_modules": [], "target_parameters": ["mlp.gate.weight"]},
}


@torch.no_grad()
def main() -> None:
    target, tokens, *sources = map(Path, sys.argv[1:])
    ids = torch.tensor([json.loads(tokens.read_text())])
    for source in sources:
        recipes = EVERYWHERE | (MIXTURE if source.name == "mixture" else {})
        for name, options in recipes.items():
            torch.manual_seed(len(name))
            model = AutoModelForImageTextToText.from_pretrained(source, dtype=torch.float32)
            adapted = get_peft_model(model, LoraConfig(lora_alpha=6, init_lora_weights=False, **options)).eval()
            for path, parameter in adapted.named_parameters():
                if parameter.requires_grad:
                    spread = 0.2 if "magnitude" in path else 0.5 * parameter.shape[-1] ** -0.5
                    parameter.add_(torch.randn(parameter.shape) * spread)
            folder = target / source.name / name
            adapted.save_pretrained(folder)
            np.save(folder / "logits.npy", adapted(input_ids=ids).logits[0].numpy())


main()
