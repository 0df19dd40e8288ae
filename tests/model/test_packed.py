"""Whole checkpoints in foreign quantizations compute what the same weights in float32 do."""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import packers
import pytest
import torch
from checkpoints import edit_json, pack_experts, save_hf, tiny_config, write_shards
from harness import BACKENDS, Ours, assert_same_logits, random_prompt

from qwill.weights.checkpoint import memory_needed
from qwill.weights.fingerprint import fingerprint
from qwill.weights.load import open_checkpoint
from qwill.weights.tensor import TensorSet

WIDE = {"num_experts": 3, "hidden_size": 128, "moe_intermediate_size": 64, "shared_expert_intermediate_size": 64}
DENSE = {"hidden_size": 128, "intermediate_size": 192}
PACK = packers.compressed_config("pack-quantized", num_bits=4, type="int", group_size=32)
NVFP4 = packers.compressed_config("nvfp4-pack-quantized", num_bits=4, type="float", group_size=16)
MODELOPT = {"quant_method": "modelopt", "quant_algo": "NVFP4"}


@dataclass
class Case:
    """A member, how it is quantized, and what `quantization_config` says."""

    config: dict[str, Any]
    packer: packers.Packer
    quantization: dict[str, Any]
    kept: tuple[str, ...] = packers.KEPT
    types: frozenset[str] = frozenset({"F32"})


def case(*arguments: Any, types: str, **more: Any) -> Case:
    return Case(*arguments, **more, types=frozenset(types.split()) | {"F32"})


CASES = {
    "gptq": case(WIDE, packers.gptq(), {"quant_method": "gptq", "bits": 4}, types="Q4_0"),
    "gptq-v2": case(
        DENSE,
        packers.gptq(second_version=True, symmetric=False),
        {"quant_method": "gptq", "bits": 4, "checkpoint_format": "gptq_v2"},
        types="Q5_0",
    ),
    "gptq-8": case(DENSE, packers.gptq(8), {"quant_method": "gptq", "bits": 8}, types="Q8_0"),
    "awq": case(WIDE, packers.awq(), {"quant_method": "awq", "bits": 4, "version": "gemm"}, types="Q5_0"),
    "packed": case(WIDE, packers.pack_quantized(), PACK, types="Q4_0"),
    "packed-everything": case(
        WIDE | {"vision": True},
        packers.pack_quantized(symmetric=False),
        PACK,
        kept=("conv1d", "visual.blocks.1.mlp.linear_fc2"),  # 48 columns are no whole groups of 32
        types="Q5_0",
    ),
    "int8": case(
        DENSE, packers.int_quantized(), packers.compressed_config("int-quantized", num_bits=8, type="int"), types="Q8_0"
    ),
    "nvfp4-modelopt": case(WIDE, packers.nvfp4(), MODELOPT, types="NVFP4"),
    "nvfp4-compressed": case(DENSE, packers.nvfp4(compressed=True), NVFP4, types="NVFP4"),
    "mxfp4-quark": case(WIDE, packers.mxfp4(), {"quant_method": "quark"}, types="MXFP4"),
    "fp8": case(
        WIDE, packers.fp8(), packers.compressed_config("float-quantized", num_bits=8, type="float"), types="F8_E4M3"
    ),
    "mxfp8": case(WIDE, packers.mxfp8(), {"quant_method": "modelopt", "quant_algo": "MXFP8"}, types="MXFP8"),
    "fp8-channels": case(WIDE, packers.fp8("channel"), packers.compressed_config("float-quantized"), types="F8_E4M3"),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other take seconds over matrices of this size when others use the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_pair(folder: Path, case: Case, seed: int) -> tuple[Path, Path]:
    """A quantized checkpoint, and the weights that it stands for in float32."""
    torch.manual_seed(seed)
    config = tiny_config(moe="moe_intermediate_size" in case.config, **case.config)
    folders = folder / "quantized", folder / "plain"
    source = save_hf(folders[0], config, seed=seed, mtp=True, packed=False)
    shutil.copytree(*folders)
    states = packers.quantize_state(source.state, case.packer, case.kept)
    for each, state in zip(folders, states, strict=True):
        write_shards(each, state, 1)
    edit_json(folders[0] / "config.json", quantization_config=case.quantization)
    return folders


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_the_dequantized_weights(name: str, tmp_path: Path) -> None:
    """Not a bit differs where the same NumPy operations compute with both."""
    seed = int(np.random.SeedSequence().generate_state(1)[0] % 2**31)
    print("seed", seed)
    quantized, plain = write_pair(tmp_path, CASES[name], seed)
    prompt = random_prompt(np.random.default_rng(seed), 24, 288)
    ours = Ours(quantized, "reference")
    np.testing.assert_array_equal(ours.logits(prompt), Ours(plain, "reference").logits(prompt))
    assert {tensor.type.name for tensor in ours.checkpoint.tensors} == CASES[name].types


@pytest.mark.parametrize("name", ["nvfp4-modelopt", "fp8", "fp8-channels", "mxfp8"])
def test_native_logits(name: str, tmp_path: Path) -> None:
    """Types whose activations no kernel rounds; NVFP4 is read from what was made for it as long as the model lives."""
    quantized, plain = write_pair(tmp_path, CASES[name], 3)
    prompt = random_prompt(np.random.default_rng(3), 40, 288)
    for backend in BACKENDS[1:]:
        assert_same_logits(Ours(quantized, backend).logits(prompt), Ours(plain, backend).logits(prompt))


@pytest.mark.parametrize("name", ["gptq", "packed-everything", "mxfp4-quark"])
def test_native_kernels_take_them_from_lazy_parts_as_from_memory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes, so the same logits to the bit."""
    quantized, _ = write_pair(tmp_path, CASES[name], 4)
    prompt = random_prompt(np.random.default_rng(4), 40, 288)
    lazy = Ours(quantized, BACKENDS[-1]).logits(prompt)
    checkpoint = open_checkpoint(quantized)
    made = TensorSet({tensor.name: tensor.in_memory() for tensor in checkpoint.tensors}, "memory")
    monkeypatch.setattr("harness.open_checkpoint", lambda _: replace(checkpoint, tensors=made))
    np.testing.assert_array_equal(lazy, Ours(quantized, BACKENDS[-1]).logits(prompt))


def test_experts_in_the_form_of_gpt_oss(tmp_path: Path) -> None:
    config = tiny_config(moe=True, **WIDE)
    source = save_hf(tmp_path / "quantized", config, packed=False)
    save_hf(tmp_path / "plain", config)
    packed = pack_experts(source.state)
    quantized, plain = {}, {}
    for name, tensor in packed.items():
        if ".mlp.experts." not in name:
            quantized[name] = plain[name] = tensor
            continue
        tensors, values = packers.mxfp4_experts(tensor)
        quantized |= {name + ending: each for ending, each in tensors.items()}
        plain[name] = values.float()
    write_shards(tmp_path / "quantized", quantized, 1)
    write_shards(tmp_path / "plain", plain, 1)
    edit_json(tmp_path / "quantized" / "config.json", quantization_config={"quant_method": "mxfp4"})
    prompt = random_prompt(np.random.default_rng(5), 24, 288)
    ours = Ours(tmp_path / "quantized", "reference")
    assert {tensor.type.name for tensor in ours.checkpoint.tensors} == {"F32", "MXFP4"}
    np.testing.assert_array_equal(ours.logits(prompt), Ours(tmp_path / "plain", "reference").logits(prompt))


def test_configuration_beside_the_configuration(tmp_path: Path) -> None:
    """Older modelopt: hf_quant_config.json, and config.json says nothing."""
    quantized, plain = write_pair(tmp_path, CASES["nvfp4-modelopt"], 6)
    edit_json(quantized / "config.json", quantization_config=None)
    edit_json(
        quantized / "hf_quant_config.json",
        producer={"name": "modelopt"},
        quantization={"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]},
    )
    prompt = random_prompt(np.random.default_rng(6), 8, 288)
    np.testing.assert_array_equal(Ours(quantized, "reference").logits(prompt), Ours(plain, "reference").logits(prompt))


@pytest.mark.parametrize("name", ["packed", "gptq", "fp8"])
def test_quantized_head_of_a_tied_model_is_used(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also where it was made of the embeddings: its values are others, and transformers computes with them."""
    tied = replace(CASES[name], config=DENSE | {"tie_word_embeddings": True})
    quantized, plain = write_pair(tmp_path, tied, 7)
    source = save_hf(tmp_path / "again", tiny_config(**tied.config), seed=7, packed=False)
    states = packers.quantize_state(source.state, tied.packer)
    head, values = tied.packer(source.state["model.embed_tokens.weight"])
    heads = ({f"lm_head{ending}": each for ending, each in head.items()}, {"lm_head.weight": values.float()})
    for folder, state, its_head in zip((quantized, plain), states, heads, strict=True):
        write_shards(folder, state | its_head, 1)
    edit_json(plain / "config.json", tie_word_embeddings=False)
    prompt = random_prompt(np.random.default_rng(7), 8, 288)
    expected = Ours(plain, "reference").logits(prompt)
    assert not caplog.records
    np.testing.assert_array_equal(Ours(quantized, "reference").logits(prompt), expected)
    assert "the stored lm_head.weight differs from the embeddings; it is used" in caplog.text


def test_opening_makes_nothing_and_tells_of_what_is_widened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantized, _ = write_pair(tmp_path, CASES["packed"], 8)
    monkeypatch.setattr("qwill.weights.packed.levels.Levels.encode", lambda *_: pytest.fail("made too early"))
    with caplog.at_level(logging.WARNING, "qwill"):
        checkpoint = open_checkpoint(quantized)
    assert not caplog.records
    assert len(fingerprint(checkpoint, {})) == 32
    assert memory_needed(checkpoint) == sum(tensor.nbytes for tensor in checkpoint.tensors)
    wide = Case(DENSE, packers.gptq(act_order=True), {"quant_method": "gptq", "bits": 4, "desc_act": True})
    quantized, _ = write_pair(tmp_path / "wide", wide, 8)
    with caplog.at_level(logging.WARNING, "qwill"):
        open_checkpoint(quantized)
    (record,) = caplog.records
    assert "held exactly by no quantized type" in record.getMessage()
    assert "as F32 instead of" in record.getMessage()
