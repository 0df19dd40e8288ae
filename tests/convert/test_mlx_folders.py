"""GGUF files of folders whose types GGUF does not have: MLX's, and FP8 with a scale a row."""

from collections.abc import Callable
from pathlib import Path

import mlx_folders as mlx
import numpy as np
import packers
import pytest
from checkpoints import edit_json, save_hf, tiny_config, write_shards
from model.harness import Ours, random_prompt

from qwill.convert.quantize import plan_model, write_gguf
from qwill.errors import UnsupportedModel
from qwill.quant.recipes import load_recipe
from qwill.weights.load import open_checkpoint

DENSE = {"hidden_size": 128, "intermediate_size": 192, "linear_value_head_dim": 32, "linear_key_head_dim": 32}
MIXTURE = DENSE | {"num_experts": 3, "moe_intermediate_size": 64, "shared_expert_intermediate_size": 64}


def mlx_folder(path: Path, packer: packers.Packer, moe: bool) -> Path:
    source = save_hf(path, tiny_config(moe, **(MIXTURE if moe else DENSE)), seed=11, tokenizer=True)
    mlx.write(path, mlx.quantized(mlx.mlx_layout(source.state), packer)[0])
    return path


def fp8_folder(path: Path) -> Path:
    """With several experts, and V heads whose rows take other places in a GGUF file."""
    source = save_hf(path, tiny_config(True, **MIXTURE), seed=12, packed=False, tokenizer=True)
    write_shards(path, packers.quantize_state(source.state, packers.fp8("channel"))[0], 1)
    edit_json(path / "config.json", quantization_config=packers.compressed_config("float-quantized"))
    return path


@pytest.mark.parametrize(
    "write",
    [
        lambda path: mlx_folder(path, mlx.affine(4), False),
        lambda path: mlx_folder(path, mlx.affine(3, 32), True),
        lambda path: mlx_folder(path, mlx.microscaled("mxfp8"), False),
        fp8_folder,
    ],
    ids=["affine", "affine experts", "mxfp8", "fp8 by rows"],
)
def test_values_are_those_of_the_folder(write: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "hf")
    (path,) = write_gguf(plan_model(folder, load_recipe("F32")), tmp_path / "it.gguf", threads=2)
    prompt = random_prompt(np.random.default_rng(2), 20, 288)
    expected = Ours(folder, "reference").logits(prompt)
    # An order of V heads of its own, so sums differ in their last bits.
    assert np.abs(Ours(path, "reference").logits(prompt) - expected).max() <= 2e-4 * np.ptp(expected)


@pytest.mark.parametrize(("kind", "moe"), [("mxfp4", True), ("nvfp4", False)])
def test_what_gguf_has_is_kept(kind: str, moe: bool, tmp_path: Path) -> None:
    """Routers, affine in MLX, are F32 there, as readers expect it."""
    folder = mlx_folder(tmp_path / "hf", mlx.microscaled(kind), moe)
    (path,) = write_gguf(plan_model(folder, None), tmp_path / "it.gguf")
    types = {tensor.name: tensor.type.name for tensor in open_checkpoint(path).tensors}
    assert types["layers.0.linear_attn.in_proj_z.weight"] == types["embed_tokens.weight"] == kind.upper()
    assert not moe or types["layers.0.mlp.gate.weight"] == "F32"
    prompt = random_prompt(np.random.default_rng(3), 20, 288)
    expected = Ours(folder, "reference").logits(prompt)
    assert np.abs(Ours(path, "reference").logits(prompt) - expected).max() <= 2e-4 * np.ptp(expected)


def test_what_gguf_does_not_have_is_named(tmp_path: Path) -> None:
    folder = mlx_folder(tmp_path / "hf", mlx.affine(4), False)
    with pytest.raises(UnsupportedModel, match="AFFINE4_64 has no type in GGUF to keep; give --type BF16"):
        plan_model(folder, None)
