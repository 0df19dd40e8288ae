"""Parts that lie in a folder and are no part of its model: it is read without them, and that is said."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from canonical import by_name
from checkpoints import draft_head, save_hf, tiny_config, write_shards
from model.harness import BACKENDS, Ours, assert_same_logits, random_prompt, reference_logits
from safetensors.torch import save_file

from qwill.convert.quantize import plan_model, write_gguf
from qwill.errors import CheckpointError
from qwill.quant.recipes import load_recipe
from qwill.weights.load import open_checkpoint


@pytest.mark.parametrize("moe", [False, True])
def test_a_tower_that_the_configuration_says_nothing_of(
    moe: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A whole model with the configuration of its text part, which transformers takes without a word."""
    seed = int(np.random.SeedSequence().generate_state(1)[0] % 2**31)
    print("seed", seed)
    save_hf(tmp_path, tiny_config(moe, vision=True), seed=seed)
    config = json.loads((tmp_path / "config.json").read_text())["text_config"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    ours = Ours(tmp_path, BACKENDS[-1])
    assert "its vision tower is not used, since config.json has no vision_config" in caplog.text
    prompt = random_prompt(np.random.default_rng(seed), 50, 288)
    reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert_same_logits(ours.logits(prompt), reference_logits(reference, prompt))
    (file,) = write_gguf(plan_model(tmp_path, load_recipe("F32")), tmp_path / "it.gguf")
    assert_same_logits(Ours(file, BACKENDS[-1]).logits(prompt), reference_logits(reference, prompt))


CHANGES = {
    "another width": (lambda head: {name: torch.cat((it, it), -1) for name, it in head.items()}, "has shape"),
    "a part is missing": (
        lambda head: {name: it for name, it in head.items() if "up_proj" not in name},
        "mlp.up_proj.weight is missing",
    ),
    "more layers": (
        lambda head: head | {name.replace("layers.0", "layers.1"): it.clone() for name, it in head.items()},
        "belongs to no draft head of this model",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_draft_head_of_another_model_in_a_file_of_its_own(
    change: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make, words = CHANGES[change]
    made = save_hf(tmp_path, tiny_config())
    head = {name: it for name, it in draft_head(made.state, made.config, 5).items() if name.startswith("mtp.")}
    save_file(head, tmp_path / "mtp.safetensors")
    assert "mtp.fc.weight" in open_checkpoint(tmp_path).tensors
    assert "left aside" not in caplog.text
    save_file(make(head), tmp_path / "mtp.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    assert not [name for name in by_name(checkpoint.tensors) if name.startswith("mtp.")]
    assert not checkpoint.config.get("mtp_num_hidden_layers")
    assert "a draft head is left aside: " in caplog.text
    assert str(tmp_path / "mtp.safetensors") in caplog.text
    assert words in caplog.text


def test_a_damaged_head_among_the_models_own_tensors_stays_an_error(tmp_path: Path) -> None:
    made = save_hf(tmp_path, tiny_config(), mtp=True)
    write_shards(tmp_path, {name: it for name, it in made.state.items() if "mtp.layers.0.mlp.up" not in name}, 1)
    with pytest.raises(CheckpointError, match=r"mtp\.layers\.0\.mlp\.up_proj\.weight is missing"):
        Ours(tmp_path, BACKENDS[-1])
