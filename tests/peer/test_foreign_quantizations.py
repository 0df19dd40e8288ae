"""Quantized checkpoints of other kinds: what llama.cpp's converter makes of them, and what it makes of our files."""

from pathlib import Path

import gguf
import numpy as np
import packers
import peer
import pytest
import torch
from checkpoints import edit_json, save_hf, tiny_config, write_shards
from convert.test_keep import CASES
from model.harness import Ours, random_prompt

from qwill.convert.quantize import plan_model, write_gguf

pytestmark = pytest.mark.peer
PACK = packers.compressed_config("pack-quantized", num_bits=4, type="int", strategy="group", group_size=32)
NVFP4 = packers.compressed_config("nvfp4-pack-quantized", num_bits=4, type="float", group_size=16)
# llama.cpp's converter reads neither AWQ nor Quark.
READ = {
    "gptq": CASES["gptq"],
    "gptq-v2": (
        CASES["gptq"][0],
        packers.gptq(symmetric=False, second_version=True),
        {"quant_method": "gptq", "bits": 4, "checkpoint_format": "gptq_v2"},
        "Q5_0",
    ),
    "packed": (CASES["awq"][0], packers.pack_quantized(symmetric=False), PACK, "Q5_0"),
    "nvfp4": CASES["nvfp4"],
    "nvfp4-compressed": (CASES["gptq"][0], packers.nvfp4(compressed=True), NVFP4, "NVFP4"),
}
HEADS = {"linear_num_value_heads": 2}  # as many as K heads: nothing is reordered, which the converter cannot


def quantized(path: Path, name: str) -> Path:
    overrides, packer, quantization, _ = READ.get(name) or CASES[name]
    # All experts take part: another choice near a tie is no error of rounding.
    every = {"num_experts_per_tok": 3} if overrides.get("moe") else {}
    source = save_hf(path, tiny_config(**(overrides | HEADS | every)), packed=False, tokenizer=True, seed=5)
    write_shards(path, packers.quantize_state(source.state, packer)[0], 1)
    edit_json(path / "config.json", quantization_config=quantization)
    edit_json(path / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    return path


@pytest.mark.parametrize("name", READ)
def test_values_are_those_of_the_converter(name: str, tmp_path: Path) -> None:
    """Its file in float32, or in NVFP4, against ours; decays are of another library's exp."""
    torch.manual_seed(4)
    folder = quantized(tmp_path / "hf", name)
    (ours,) = write_gguf(plan_model(folder, None), tmp_path / "ours.gguf")
    peer.convert([[str(folder), "--outfile", str(tmp_path / "theirs.gguf"), "--outtype", "f32", "--no-mtp"]], tmp_path)
    theirs, values = (
        {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors} for file in (tmp_path / "theirs.gguf", ours)
    )
    assert {each for each in values if not each.endswith("scale")} == {
        each for each in theirs if not each.endswith("scale")
    }
    kinds = set()
    for tensor, mine in values.items():
        kinds.add(mine.tensor_type.name)
        if tensor in theirs:  # it writes no factors of 1
            both = [gguf.dequantize(each.data, each.tensor_type).squeeze() for each in (mine, theirs[tensor])]
            np.testing.assert_allclose(*both, rtol=1e-6 if tensor.endswith("ssm_a") else 0, err_msg=tensor)
    assert READ[name][3] in kinds


@pytest.mark.parametrize("name", CASES)
def test_llama_computes_the_same_with_our_files(name: str, tmp_path: Path) -> None:
    """Both round activations to 8 bits in their own ways, so as in test_quantized; a wrong factor makes 1.4 of it."""
    torch.manual_seed(6)
    folder = quantized(tmp_path / "hf", name)
    (file,) = write_gguf(plan_model(folder, None), tmp_path / "ours.gguf")
    prompt = random_prompt(np.random.default_rng(7), 48, 288)
    expected = Ours(folder, "reference").logits(prompt)
    theirs = peer.logits(file, np.array(prompt.token_ids, np.int32))
    error = np.sqrt(np.square(theirs - expected).mean()) / expected.std()
    print(name, error)
    assert error < 0.25
