"""The draft head against the same head composed from transformers' own layer, norms and linear."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import text_config, tiny_config
from harness import BACKENDS, Ours, assert_same_logits, make, random_prompt
from transformers.models.qwen3_5 import modeling_qwen3_5 as dense
from transformers.models.qwen3_5_moe import modeling_qwen3_5_moe as experts

from qwill.model.batch import Batch


def stacked(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """One matrix an expert back into transformers' packed tensors."""
    result = {name: tensor for name, tensor in state.items() if ".experts." not in name}
    names = [name for name in state if ".experts." in name]
    if not names:
        return result
    count = 1 + max(int(name.split(".")[2]) for name in names)
    matrices = {
        part: torch.stack([state[f"mlp.experts.{expert}.{part}.weight"] for expert in range(count)])
        for part in ("gate_proj", "up_proj", "down_proj")
    }
    result["mlp.experts.gate_up_proj"] = torch.cat([matrices["gate_proj"], matrices["up_proj"]], dim=1)
    result["mlp.experts.down_proj"] = matrices["down_proj"]
    return result


@torch.no_grad()
def composed(made: Any, moe: bool, hidden: torch.Tensor, next_ids: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Hidden states and logits of the head for hidden states [1, tokens, width] and the ids that follow them."""
    config = text_config(made.config)
    module = experts if moe else dense
    family = "Qwen3_5Moe" if moe else "Qwen3_5"
    layer = getattr(module, f"{family}DecoderLayer")(config, config.layer_types.index("full_attention"))
    norm = getattr(module, f"{family}RMSNorm")
    state = {name.removeprefix("mtp."): tensor for name, tensor in made.state.items() if name.startswith("mtp.")}
    inner = {name.removeprefix("layers.0."): tensor for name, tensor in state.items() if name.startswith("layers.0.")}
    layer.load_state_dict(stacked(inner) if moe else inner)
    layer.eval()
    language = getattr(made.model.model, "language_model", made.model.model)

    def normed(name: str, x: torch.Tensor) -> torch.Tensor:
        own = norm(config.hidden_size, config.rms_norm_eps)
        own.weight.copy_(state[name])
        return own(x)

    embeddings = language.embed_tokens(next_ids)
    combined = torch.cat(
        [normed("pre_fc_norm_embedding.weight", embeddings), normed("pre_fc_norm_hidden.weight", hidden)], dim=-1
    )
    x = combined @ state["fc.weight"].T
    count = x.shape[1]
    positions = torch.arange(count).view(1, 1, -1).expand(3, 1, -1)
    mask = torch.full((count, count), float("-inf")).triu(1)[None, None]
    x = layer(x, position_embeddings=language.rotary_emb(x, positions), attention_mask=mask, position_ids=positions[0])
    x = x[0] if isinstance(x, tuple) else x
    x = normed("norm.weight", x)
    return x[0].numpy(), made.model.lm_head(x)[0].numpy()


@pytest.mark.parametrize("moe", [False, True])
def test_draft_head(moe: bool, tmp_path: Path) -> None:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    rng = np.random.default_rng(seed)
    made = make(tmp_path, tiny_config(moe=moe), seed=seed % 2**31, mtp=True)
    prompt = random_prompt(rng, 37, 288)
    count = len(prompt.token_ids) - 1
    with torch.no_grad():
        hidden = made.model.model(input_ids=torch.tensor([prompt.token_ids])).last_hidden_state[:, :-1]
    next_ids = torch.tensor([prompt.token_ids[1:]])
    expected_hidden, expected = composed(made, moe, hidden, next_ids)
    for backend in BACKENDS:
        ours = Ours(made.folder, backend)
        assert ours.model.mtp is not None
        cache = ours.engine._runner._cache
        done = 0
        results = []
        for piece in (20, count - 20):
            batch = Batch(
                token_ids=np.array(prompt.token_ids[done + 1 : done + 1 + piece], np.int32),
                positions=np.ascontiguousarray(prompt.positions[:, done : done + piece]),
                starts=np.array([0, piece], np.int32),
                contexts=np.array([done], np.int32),
                slots=np.array([0], np.int32),
                block_tables=np.arange(8, dtype=np.int32)[None],
                replayed=np.array([0], np.int32),
                kept=np.array([piece], np.int32),
            )
            state = np.ascontiguousarray(hidden[0, done : done + piece].numpy())
            results.append(ours.model.mtp.forward(batch, state, cache))
            done += piece
        got = np.concatenate(results)
        assert_same_logits(got, expected_hidden)
        assert_same_logits(ours.model.text.logits(got), expected)
