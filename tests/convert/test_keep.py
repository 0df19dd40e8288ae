"""Quantized checkpoints of other kinds as GGUF files: the same bytes, the same numbers."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import packers
import pytest
import torch
from checkpoints import edit_json, save_hf, tiny_config, write_shards
from gguf_checkpoints import save_gguf
from model.harness import Ours, random_prompt

from qwill.cli import main
from qwill.convert.quantize import plan_model, write_gguf
from qwill.errors import UnsupportedModel
from qwill.quant.recipes import load_recipe
from qwill.quant.types import TYPES
from qwill.weights.load import open_checkpoint

# V heads of 64 columns: whole blocks are put in the order of a GGUF file.
DENSE = {"hidden_size": 128, "intermediate_size": 128, "linear_key_head_dim": 64, "linear_value_head_dim": 64}
EXPERTS = DENSE | {
    "moe": True,
    "num_experts": 3,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64,
}
CASES: dict[str, tuple[dict[str, Any], packers.Packer, dict[str, Any], str]] = {
    "gptq": (DENSE, packers.gptq(), {"quant_method": "gptq", "bits": 4}, "Q4_0"),
    "awq": (EXPERTS, packers.awq(), {"quant_method": "awq", "bits": 4}, "Q5_0"),
    "nvfp4": (EXPERTS, packers.nvfp4(), {"quant_method": "modelopt", "quant_algo": "NVFP4"}, "NVFP4"),
    "mxfp4": (EXPERTS, packers.mxfp4(), {"quant_method": "quark"}, "MXFP4"),
}


def quantized(path: Path, name: str) -> Path:
    overrides, packer, quantization, _ = CASES[name]
    torch.manual_seed(9)
    source = save_hf(path, tiny_config(**overrides), packed=False, mtp=True, tokenizer=True)
    write_shards(path, packers.quantize_state(source.state, packer)[0], 1)
    edit_json(path / "config.json", quantization_config=quantization)
    return path


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", CASES)
def test_no_value_changes(name: str, tmp_path: Path) -> None:
    folder = quantized(tmp_path / "hf", name)
    (path,) = write_gguf(plan_model(folder, None), tmp_path / "it.gguf", threads=2)
    kind = CASES[name][3]
    ours = Ours(path, "reference")
    types = {tensor.name: tensor.type.name for tensor in open_checkpoint(folder).tensors}
    assert {tensor.name: tensor.type.name for tensor in ours.checkpoint.tensors} == types
    assert kind in types.values()
    # An order of V heads of its own, so sums differ in their last bits.
    prompt = random_prompt(np.random.default_rng(2), 20, 288)
    expected = Ours(folder, "reference").logits(prompt)
    assert np.abs(ours.logits(prompt) - expected).max() <= 2e-4 * np.ptp(expected)


def test_factors_of_nvfp4_lie_beside_it(tmp_path: Path) -> None:
    """As llama.cpp's converter writes them: one for a matrix, one for each expert."""
    folder = quantized(tmp_path / "hf", "nvfp4")
    (path,) = write_gguf(plan_model(folder, None), tmp_path / "it.gguf")
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    source = {tensor.name: tensor for tensor in open_checkpoint(folder).tensors}
    for gguf_name, name in (("attn_k", "self_attn.k_proj.weight"), ("ffn_up_exps", "mlp.experts.up_proj")):
        scales = source[f"layers.3.{name}"].scales
        assert scales is not None
        factors = found[f"blk.3.{gguf_name}.scale"].data
        np.testing.assert_array_equal(factors, [part[0, 0] for part in scales])
        assert found[f"blk.3.{gguf_name}.weight"].tensor_type.name == "NVFP4"
    again = open_checkpoint(path).tensors.peek("layers.3.mlp.experts.up_proj")
    assert again.type is TYPES["NVFP4"]
    assert again.scales is not None
    assert len(again.scales) == 3


def test_factors_of_nvfp4_are_applied_where_it_is_not_kept(tmp_path: Path) -> None:
    folder = quantized(tmp_path / "hf", "nvfp4")
    (kept,) = write_gguf(plan_model(folder, None), tmp_path / "kept.gguf")
    (again,) = write_gguf(plan_model(kept, None), tmp_path / "again.gguf")
    first, second = (gguf.GGUFReader(file).tensors for file in (kept, again))
    assert [(one.name, one.data.tobytes()) for one in first] == [(one.name, one.data.tobytes()) for one in second]
    (wide,) = write_gguf(plan_model(kept, load_recipe("F32")), tmp_path / "wide.gguf")
    assert not [tensor for tensor in gguf.GGUFReader(wide).tensors if tensor.name.endswith(".scale")]
    prompt = random_prompt(np.random.default_rng(), 20, 288)
    np.testing.assert_allclose(
        Ours(wide, "reference").logits(prompt), Ours(kept, "reference").logits(prompt), rtol=0, atol=1e-4
    )


def test_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, target = quantized(tmp_path / "hf", "gptq"), tmp_path / "it.gguf"
    assert main(["quantize", str(folder), str(target), "--type", "keep"]) == 0
    assert "it.gguf" in capsys.readouterr().out
    assert main(["quantize", str(folder), "x.gguf", "--type", "KEEP", "--imatrix", "x"]) == 2
    assert "--imatrix has no meaning with --type KEEP" in capsys.readouterr().err
    assert main(["quantize", "qwen3.5:4b", "--type", "KEEP", "--dry-run"]) == 2
    assert "give its path" in capsys.readouterr().err


def test_fp8_has_no_type_to_keep(tmp_path: Path) -> None:
    folder = tmp_path / "fp8"
    save_hf(folder, tiny_config(hidden_size=128), fp8=True, tokenizer=True)
    with pytest.raises(UnsupportedModel, match="F8_E4M3 has no type in GGUF to keep; give --type BF16"):
        plan_model(folder, None)


def test_a_gguf_file_is_copied(tmp_path: Path) -> None:
    source = save_hf(tmp_path / "hf", tiny_config(), mtp=True)
    save_gguf(tmp_path / "a.gguf", source, types="Q8_0")
    (path,) = write_gguf(plan_model(tmp_path / "a.gguf", None), tmp_path / "b.gguf")
    first, second = (gguf.GGUFReader(file).tensors for file in (tmp_path / "a.gguf", path))
    assert [(one.name, one.tensor_type) for one in first] == [(one.name, one.tensor_type) for one in second]
    assert all(np.array_equal(one.data, two.data) for one, two in zip(first, second, strict=True))
