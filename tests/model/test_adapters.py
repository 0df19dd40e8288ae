"""Answers with adapters against transformers' model with the same changes merged in."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import TinyCheckpoint, save_hf, tiny_config
from gguf_checkpoints import save_gguf
from harness import BACKENDS, assert_same_logits, operations, random_prompt, reference_logits
from peft_folders import DENSE, EXPERTS, ROUTER, SHARED, TABLES, Recipe, save_peft

from qwill import LLM


def seed_of(name: str) -> int:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print(name, "seed", seed)
    return seed


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    return save_hf(tmp_path_factory.mktemp("dense"), tiny_config(), seed=seed_of("dense"))


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    return save_hf(tmp_path_factory.mktemp("tied"), tiny_config(tie_word_embeddings=True, linear_num_value_heads=6),
                   seed=seed_of("tied"))  # fmt: skip


@pytest.fixture(scope="module")
def moe(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    config = tiny_config(moe=True, vision=True, moe_intermediate_size=24)
    return save_hf(tmp_path_factory.mktemp("moe"), config, seed=seed_of("moe"))


def check(made: TinyCheckpoint, folder: Path, recipe: Recipe, model: Path | None = None, **options: Any) -> None:
    """Logits of every backend with the adapter on, against those of the merged model."""
    seed = seed_of("adapter")
    merged = save_peft(folder, made.model, recipe, seed)
    rng = np.random.default_rng(seed)
    expected = np.full((1, 1), np.nan)
    while np.isnan(expected).all():  # rounding turns a router's choice at the first token
        prompt = random_prompt(rng, 45, 288)
        expected = reference_logits(merged, prompt)
    plain = reference_logits(made.model, prompt)
    spread = np.nanmax(expected) - np.nanmin(expected)
    assert np.nanmax(np.abs(plain - expected)) > 0.01 * spread, "the adapter changes something"
    for backend in BACKENDS:
        lora = f"{folder}={recipe.scale}" if recipe.scale != 1 else str(folder)
        llm = LLM(str(model or made.folder), lora=lora, operations=operations(backend), max_context=64, **options)
        assert_same_logits(llm.forward(prompt.token_ids), expected)


@pytest.mark.parametrize("target", [*DENSE, *TABLES])
def test_every_target_of_a_dense_model(target: str, dense: TinyCheckpoint, tmp_path: Path) -> None:
    check(dense, tmp_path, Recipe([target]))


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe([*DENSE, *TABLES], rank=3, alpha=7, scale=-0.75),
        Recipe(DENSE, rslora=True, rank=17),
        Recipe([*DENSE, *TABLES], dora=True, scale=0.5),
        Recipe(DENSE, bias=True),
        Recipe(DENSE, middle=".default"),
        Recipe(DENSE, prefix="base_model.model.", config={"alpha_pattern": {"never": 3}}),
    ],
    ids=["all, odd rank, scale", "rank-stabilized", "DoRA", "bias", "named", "patterns"],
)
@pytest.mark.parametrize("form", ["folder", "gguf"])
def test_every_kind(recipe: Recipe, form: str, tied: TinyCheckpoint, tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    if form == "gguf":
        save_gguf(model, tied)
    check(tied, tmp_path / "adapter", recipe, model if form == "gguf" else None)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(["gate_proj"]),
        Recipe(SHARED, rank=1),
        Recipe([ROUTER]),
        Recipe(EXPERTS[:1]),
        Recipe(EXPERTS[1:], turned=True),
        Recipe(EXPERTS, rslora=True),
        Recipe(EXPERTS, turned=True, scale=2),
        Recipe([*DENSE, *SHARED, ROUTER, *EXPERTS, *TABLES], rank=5),
    ],
    ids=["shared", "its gate", "router", "gate and up", "down, turned", "experts", "experts turned", "all"],
)
@pytest.mark.parametrize("form", ["folder", "gguf"])
def test_every_target_of_a_mixture(recipe: Recipe, form: str, moe: TinyCheckpoint, tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    if form == "gguf":
        save_gguf(model, moe, fused=True)
    check(moe, tmp_path / "adapter", recipe, model if form == "gguf" else None)
