"""Adapters merged into files: the model of the file is the model with the adapter."""

from pathlib import Path

import gguf
import numpy as np
import pytest
from checkpoints import TinyCheckpoint, save_hf, tiny_config
from gguf_checkpoints import save_gguf
from peft_folders import DENSE, EXPERTS, ROUTER, SHARED, TABLES, Recipe, save_peft

from qwill import LLM
from qwill.cli import main
from qwill.convert.quantize import plan_model, write_gguf
from qwill.errors import UnsupportedModel
from qwill.quant.recipes import load_recipe

ALL = (*DENSE, *SHARED, ROUTER, *EXPERTS, *TABLES)
BOUND = 2e-4  # of the spread of the logits


def fresh() -> int:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    return seed


@pytest.fixture(params=["folder", "gguf", "fused gguf"])
def source(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def made(tmp_path: Path, source: str, moe: bool, tied: bool) -> tuple[TinyCheckpoint, Path]:
    config = tiny_config(moe=moe, tie_word_embeddings=tied, linear_num_value_heads=6)
    checkpoint = save_hf(tmp_path / "model", config, seed=fresh(), tokenizer=True, mtp=True)
    if source == "folder":
        return checkpoint, checkpoint.folder
    save_gguf(tmp_path / "model.gguf", checkpoint, fused=source == "fused gguf")
    return checkpoint, tmp_path / "model.gguf"


def assert_same(got: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(got - expected).max() <= BOUND * (expected.max() - expected.min())


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize(
    ("moe", "recipes"),
    [
        (True, [Recipe(ALL)]),
        (False, [Recipe(ALL, dora=True), Recipe(["q_proj", "in_proj_qkv", "out_proj"], rslora=True, scale=-0.5)]),
    ],
    ids=["mixture", "dense, DoRA and another"],
)
def test_merged_is_unmerged(moe: bool, recipes: list[Recipe], tied: bool, source: str, tmp_path: Path) -> None:
    checkpoint, path = made(tmp_path, source, moe, tied)
    lora, merging = [], []
    for number, recipe in enumerate(recipes):
        save_peft(tmp_path / f"adapter{number}", checkpoint.model, recipe, fresh())
        lora.append(f"{tmp_path / f'adapter{number}'}={recipe.scale}")
        merging.append((tmp_path / f"adapter{number}", recipe.scale))
    conversion = plan_model(path, load_recipe("F32"), lora=merging)
    (file,) = write_gguf(conversion, tmp_path / "merged.gguf")
    tokens = np.random.default_rng(fresh()).integers(0, 288, 40).tolist()
    unmerged = LLM(str(path), lora=lora, max_context=64).forward(tokens)
    assert_same(LLM(str(file), max_context=64).forward(tokens), unmerged)
    plain = LLM(str(path), max_context=64).forward(tokens)
    assert np.abs(plain - unmerged).max() > 0.01 * (plain.max() - plain.min())


def test_values_are_exact(tmp_path: Path) -> None:
    """Every merged value is that of float64, rounded once."""
    checkpoint = save_hf(tmp_path / "model", tiny_config(), seed=fresh(), tokenizer=True)
    merged = save_peft(tmp_path / "adapter", checkpoint.model, Recipe(["up_proj", "lm_head"]), fresh())
    conversion = plan_model(checkpoint.folder, load_recipe("F32"), lora=[(tmp_path / "adapter", 1.0)])
    (file,) = write_gguf(conversion, tmp_path / "merged.gguf")
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(file).tensors}
    for name, module in (
        ("blk.1.ffn_up.weight", merged.model.layers[1].mlp.up_proj),
        ("output.weight", merged.lm_head),
    ):
        expected = module.weight.detach().numpy()
        assert np.abs(tensors[name] - expected).max() <= 2 * np.spacing(np.abs(expected).max())
    untouched = checkpoint.model.model.layers[1].mlp.gate_proj.weight.detach().numpy()
    np.testing.assert_array_equal(tensors["blk.1.ffn_gate.weight"], untouched)


def test_quantized_sources_keep_what_is_not_changed(tmp_path: Path) -> None:
    checkpoint = save_hf(tmp_path / "model", tiny_config(), seed=fresh())
    path = tmp_path / "model.gguf"
    save_gguf(path, checkpoint, types="Q8_0")
    save_peft(tmp_path / "adapter", checkpoint.model, Recipe(["up_proj"]), fresh())
    (file,) = write_gguf(plan_model(path, None, lora=[(tmp_path / "adapter", 1.0)]), tmp_path / "merged.gguf")
    before, after = ({tensor.name: tensor for tensor in gguf.GGUFReader(each).tensors} for each in (path, file))
    for name, tensor in before.items():
        if "ffn_up" in name:
            assert after[name].tensor_type is gguf.GGMLQuantizationType.F32
        else:
            assert after[name].tensor_type is tensor.tensor_type
            np.testing.assert_array_equal(after[name].data, tensor.data)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = save_hf(tmp_path / "model", tiny_config(), seed=fresh(), tokenizer=True)
    save_peft(tmp_path / "adapter", checkpoint.model, Recipe(DENSE), fresh())
    for scale, name in ((1, "one"), (0, "nothing")):
        lora = ["--lora", f"{tmp_path / 'adapter'}={scale}"]
        target = str(tmp_path / f"{name}.gguf")
        assert main(["quantize", str(checkpoint.folder), target, "--type", "BF16", *lora]) == 0
    assert main(["quantize", str(checkpoint.folder), str(tmp_path / "plain.gguf"), "--type", "BF16"]) == 0
    tensors = [
        {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / f"{name}.gguf").tensors}
        for name in ("one", "nothing", "plain")
    ]
    for name, data in tensors[2].items():
        np.testing.assert_array_equal(tensors[1][name], data)
    assert (tensors[0]["blk.0.ffn_up.weight"] != tensors[2]["blk.0.ffn_up.weight"]).mean() > 0.5
    capsys.readouterr()
    assert main(["quantize", str(checkpoint.folder), str(tmp_path / "fp8"), "--type", "FP8", *lora]) == 2
    assert "--lora has no meaning with --type FP8" in capsys.readouterr().err


def test_biases_are_refused(tmp_path: Path) -> None:
    checkpoint = save_hf(tmp_path / "model", tiny_config(), seed=fresh())
    save_peft(tmp_path / "adapter", checkpoint.model, Recipe(["q_proj"], bias=True), fresh())
    with pytest.raises(UnsupportedModel, match=r"adds a bias to layers\.3\.self_attn\.q_proj"):
        plan_model(checkpoint.folder, load_recipe("F32"), lora=[(tmp_path / "adapter", 1.0)])
