"""The tensors of the exported folder."""

import torch
from training.export import checkpoint_tensors


def test_what_only_training_needs_is_left_out() -> None:
    state = {
        "auxiliary.probe.weight": torch.ones(3, 2),
        "lm_head.weight": torch.full((4, 2), 1 / 3),
        "model.language_model.layers.0.linear_attn.A_log": torch.full((2,), 1 / 3),
    }
    for dtype in (torch.bfloat16, torch.float32):
        kept = checkpoint_tensors(state, dtype)
        assert [(name, tensor.dtype) for name, tensor in kept.items()] == [
            ("lm_head.weight", dtype),
            ("model.language_model.layers.0.linear_attn.A_log", torch.float32),
        ]
