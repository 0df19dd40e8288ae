"""Folders in FP8, read back by the `safetensors` package and by qwill."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from canonical import by_name, decoded
from checkpoints import TinyCheckpoint, dequantize_fp8, edit_json, quantize_fp8, save_hf, tiny_config
from model.harness import Ours, random_prompt
from safetensors.torch import load_file

from qwill.convert import fp8
from qwill.convert.fp8 import plan_fp8, write_fp8
from qwill.convert.safetensors_writer import FolderWriter, StoredTensor
from qwill.errors import InvalidArgument, UnsupportedModel
from qwill.weights.folders.safetensors import read_folder
from qwill.weights.load import open_checkpoint

SHARD = 100_000


def read(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for file in sorted(folder.glob("*.safetensors")) for name, value in load_file(file).items()}


def make(tmp_path: Path, **overrides: Any) -> TinyCheckpoint:
    """Rows and columns that are no whole blocks of 128, and several blocks."""
    sizes = {"hidden_size": 192, "intermediate_size": 320, "moe_intermediate_size": 160, "vision": True}
    config = tiny_config(**(sizes | overrides))
    made = save_hf(tmp_path / "hf", config, mtp=True, tokenizer=True, dtype=torch.bfloat16)
    edit_json(made.folder / "generation_config.json", top_k=20)
    return made


@pytest.mark.parametrize("moe", [False, True])
def test_the_released_layout(moe: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same names as an independent quantization has, and values as near as E4M3's three bits allow."""
    made = make(tmp_path, moe=moe)
    monkeypatch.setattr(fp8, "CHUNK_VALUES", 30_000)
    write_fp8(plan_fp8(made.folder), tmp_path / "fp8", SHARD, threads=3)
    apart = save_hf(tmp_path / "apart", made.config, mtp=True, packed=False, dtype=torch.bfloat16).state
    wanted, found = quantize_fp8(apart), read(tmp_path / "fp8")
    assert sorted(found) == sorted(wanted)
    for name, tensor in wanted.items():
        assert found[name].shape == tensor.shape, name
        if f"{name}_scale_inv" in wanted:
            assert found[name].dtype is torch.float8_e4m3fn
            # Half of the last of 3 bits, and of the smallest step, 2^-9, at the scale of a block.
            values, scale = dequantize_fp8(found[name], found[f"{name}_scale_inv"]), found[f"{name}_scale_inv"]
            bound = apart[name].float().abs() * 2**-4 + float(scale.max()) * 2**-10
            assert ((values - apart[name].float()).abs() <= bound * 1.001).all(), name
        elif not name.endswith("_scale_inv"):
            assert torch.equal(found[name], tensor), name


def test_the_folder_is_a_model(tmp_path: Path) -> None:
    """Its configuration says what was not quantized; tokenizer and settings came along; both readers open it."""
    made = make(tmp_path, moe=True)
    plan = plan_fp8(made.folder)
    write_fp8(plan, tmp_path / "fp8", SHARD)
    config = json.loads((tmp_path / "fp8" / "config.json").read_text())
    quantization = config.pop("quantization_config")
    assert config == json.loads((made.folder / "config.json").read_text())
    assert (quantization["quant_method"], quantization["fmt"]) == ("fp8", "e4m3")
    assert quantization["weight_block_size"] == [128, 128]
    kept = quantization["modules_to_not_convert"]
    for name in ("lm_head", "mtp.fc", "model.language_model.layers.0.linear_attn.in_proj_a"):
        assert name in kept
    for part in ("out_proj", "experts", "q_proj", "shared_expert.up_proj"):
        assert not any(name.endswith(part) for name in kept)
    for name in ("tokenizer.json", "generation_config.json"):
        assert (tmp_path / "fp8" / name).read_bytes() == (made.folder / name).read_bytes()
    shards = sorted((tmp_path / "fp8").glob("*.safetensors"))
    assert len(shards) > 3
    index = json.loads((tmp_path / "fp8" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in plan.stored)
    assert len(list(read_folder(tmp_path / "fp8"))) == len(plan.stored)
    assert not list((tmp_path / "fp8").glob("*.partial"))
    before, after = (by_name(open_checkpoint(path).tensors) for path in (made.folder, tmp_path / "fp8"))
    assert sorted(before) == sorted(after)
    for name, tensor in before.items():
        values, found = decoded(tensor), decoded(after[name])
        assert np.abs(values - found).max() <= np.abs(values).max() / 16, name


def test_answers_are_those_of_rounded_weights(tmp_path: Path) -> None:
    """Three bits: each matrix is off by 2.6% of its spread; the recurrence of a random model makes 0.3 of it."""
    made = make(tmp_path)
    write_fp8(plan_fp8(made.folder), tmp_path / "fp8", SHARD)
    prompt = random_prompt(np.random.default_rng(), 40, 288)
    before, after = (Ours(path, "reference").logits(prompt) for path in (made.folder, tmp_path / "fp8"))
    assert np.sqrt(np.mean((before - after) ** 2)) < 0.6 * before.std()


def test_what_cannot_become_fp8(tmp_path: Path) -> None:
    made = make(tmp_path)
    write_fp8(plan_fp8(made.folder), tmp_path / "fp8", SHARD)
    with pytest.raises(UnsupportedModel, match="is quantized already"):
        plan_fp8(tmp_path / "fp8")
    with pytest.raises(InvalidArgument, match="exists; give the name of a new folder"):
        write_fp8(plan_fp8(made.folder), tmp_path / "fp8", SHARD)
    with pytest.raises(InvalidArgument, match="is made of a model's folder"):
        plan_fp8(made.folder / "config.json")


def test_a_failure_leaves_no_folder(tmp_path: Path) -> None:
    made = make(tmp_path)
    seen: list[int] = []

    def stop(size: int) -> None:
        seen.append(size)
        if len(seen) == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_fp8(plan_fp8(made.folder), tmp_path / "new" / "fp8", SHARD, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def test_one_file_of_every_dtype(tmp_path: Path) -> None:
    """Read back by the package: names, shapes, a scalar, an empty tensor."""
    arrays = {
        "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "odd": torch.arange(5, dtype=torch.uint8),
        "half": torch.ones(3, 1, 1, dtype=torch.float16),
        "none": torch.empty(0, 4),
        "brain": torch.tensor(2.0, dtype=torch.bfloat16),
    }
    dtypes = {torch.float32: "F32", torch.uint8: "U8", torch.float16: "F16", torch.bfloat16: "BF16"}
    stored = [StoredTensor(name, dtypes[value.dtype], tuple(value.shape)) for name, value in arrays.items()]
    with FolderWriter(tmp_path / "it", stored, {"x.json": b"{}"}, 1000) as writer:
        for value in arrays.values():
            writer.write(value.reshape(-1).view(torch.uint8).numpy())
    found = load_file(tmp_path / "it" / "model.safetensors")
    assert all(torch.equal(found[name], value) for name, value in arrays.items())
    assert [path.name for path in sorted((tmp_path / "it").iterdir())] == ["model.safetensors", "x.json"]
    assert writer.nbytes == sum(path.stat().st_size for path in (tmp_path / "it").iterdir())
