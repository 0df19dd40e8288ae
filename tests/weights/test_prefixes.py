"""Folders whose names stand behind wrappers: read alike where they say one place each, refused where they collide."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from canonical import by_name, decoded, expected
from checkpoints import save_hf, tiny_config, write_shards
from model.harness import Ours, assert_same_logits, random_prompt, reference_logits

from qwill.convert.fp8 import plan_fp8
from qwill.errors import CheckpointError
from qwill.weights.load import open_checkpoint

Renaming = Callable[[str], str]


def bare(name: str) -> str:
    for prefix in ("model.language_model.", "model."):
        name = name.removeprefix(prefix)
    return name


def compiled(name: str) -> str:
    """torch.compile of the whole and of each layer."""
    parts = name.split(".")
    if "layers" in parts:
        parts.insert(parts.index("layers") + 2, "_orig_mod")
    return "_orig_mod." + ".".join(parts)


def mixed(name: str) -> str:
    return "module." + name if "layers.1" in name else name


RENAMINGS: dict[str, Renaming] = {
    "bare": bare,
    "language_model.model": lambda name: "language_model.model." + bare(name),
    "language_model outside": lambda name: "language_model." + name,
    "three times": lambda name: "language_model." * 3 + bare(name),
    "compiled": compiled,
    "data parallel": lambda name: "module." + name,
    "merged adapter": lambda name: "base_model.model." + name,
    "transformer": lambda name: "transformer." + bare(name),
    "mixed": mixed,
}


@pytest.mark.parametrize("renaming", RENAMINGS)
@pytest.mark.parametrize("vision", [False, True])
def test_every_wrapper(vision: bool, renaming: str, tmp_path: Path) -> None:
    made = save_hf(tmp_path, tiny_config(vision=vision), mtp=True)
    wanted = expected(made)
    renamed = {RENAMINGS[renaming](name): tensor for name, tensor in made.state.items()}
    write_shards(tmp_path, renamed, 1)
    found = by_name(open_checkpoint(tmp_path).tensors)
    assert sorted(found) == sorted(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(decoded(found[name]), values, rtol=1e-6, err_msg=name)
    # Folders that are made of it have the names of the releases.
    names = {tensor.name for tensor, _ in plan_fp8(tmp_path).tensors}
    assert names == set(made.state)


@pytest.mark.parametrize("renaming", ["compiled", "merged adapter"])
def test_logits_are_those_of_the_model(renaming: str, tmp_path: Path) -> None:
    seed = int(np.random.SeedSequence().generate_state(1)[0] % 2**31)
    print("seed", seed)
    config = tiny_config(moe=True, num_experts_per_tok=8)
    made = save_hf(tmp_path, config, seed=seed, packed=False)
    write_shards(tmp_path, {RENAMINGS[renaming](name): tensor for name, tensor in made.state.items()}, 2)
    prompt = random_prompt(np.random.default_rng(seed), 40, 288)
    assert_same_logits(Ours(tmp_path, "reference").logits(prompt), reference_logits(made.model, prompt))


def test_two_names_of_one_place(tmp_path: Path) -> None:
    made = save_hf(tmp_path, tiny_config())
    for other in ("norm.weight", "language_model.model.norm.weight", "model._orig_mod.norm.weight"):
        write_shards(tmp_path, made.state | {other: torch.ones(64)}, 1)
        with pytest.raises(CheckpointError, match=r"are the same one"):
            open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["student.model.norm.weight", "summary.weight", "model.encoder.norm.weight"])
def test_what_is_behind_no_wrapper_is_named(name: str, tmp_path: Path) -> None:
    made = save_hf(tmp_path, tiny_config())
    write_shards(tmp_path, made.state | {name: torch.ones(64)}, 1)
    with pytest.raises(CheckpointError, match=rf"tensor {name} belongs to no part"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["self_attn.q_proj.lora_A.weight", "self_attn.q_proj.lora_B.default.weight"])
def test_an_adapter_that_was_not_merged(name: str, tmp_path: Path) -> None:
    made = save_hf(tmp_path, tiny_config())
    write_shards(tmp_path, made.state | {f"base_model.model.model.layers.3.{name}": torch.ones(4, 64)}, 1)
    with pytest.raises(CheckpointError, match=r"is part of an adapter that was not merged.*merge_and_unload"):
        open_checkpoint(tmp_path)
