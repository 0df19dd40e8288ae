"""A run may begin with the weights and the tokenizer of a pair of GGUF files."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from training.export import export
from training.gguf_export import MODEL_NAME, export_gguf
from training.model import initialize
from training.start import start_from, tokenizer_of
from training.train import build_model

from qwill.weights.hub.cache import resolve_model


def test_weights_come_back_as_they_were_exported(folder: Path, tmp_path: Path) -> None:
    """All but what only the training needs; float32 files lose nothing but the last bit where 1 is added and taken."""
    export(folder.parent, tmp_path / "folder", "float32")
    export_gguf(tmp_path / "folder", tmp_path, "F32", "F32")
    tokenizer = tokenizer_of(tmp_path / MODEL_NAME)
    model = build_model(tokenizer, torch.float32)
    initialize(model, torch.Generator().manual_seed(7))
    start_from(tmp_path / MODEL_NAME, model)
    expected = torch.load(folder.parent / "checkpoint.pt", weights_only=True)["model"]
    for name, tensor in model.state_dict().items():
        if not name.startswith("auxiliary."):
            torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=2e-7, msg=name)


def test_the_embedded_models_tokenizer() -> None:
    tokenizer = tokenizer_of(resolve_model("demo"))
    for text in ("What is 17 + 25?", "<|im_start|>user\n你好<|im_end|>", "<think>\nÄh, 12.\n</think>"):
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("name", ["layers.0.linear_attn.in_proj_qkv.weight", "mtp.layers.0.mlp.experts.gate_up_proj"])
def test_every_tensor_is_found(name: str) -> None:
    """Of the embedded model, whose matrices are quantized and whose V heads are tiled."""
    tokenizer = tokenizer_of(resolve_model("demo"))
    model = build_model(tokenizer, torch.float32)
    initialize(model, torch.Generator().manual_seed(8))  # else memory can hold the very weights, from the case before
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    start_from(resolve_model("demo"), model)
    prefixed = next(key for key in before if key.endswith(name))
    assert not torch.equal(model.state_dict()[prefixed], before[prefixed])


def test_an_export_averages_with_where_the_run_started(folder: Path, tmp_path: Path) -> None:
    """Of two runs' weights, a quarter and three quarters; the other values follow from the exported ones."""
    tokenizer_file = folder.parent / "tokenizer.json"
    model = build_model(Tokenizer.from_file(str(tokenizer_file)), torch.float32)
    initialize(model, torch.Generator().manual_seed(9))
    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(tokenizer_file, other / "tokenizer.json")
    torch.save({"model": model.state_dict()}, other / "checkpoint.pt")
    export(other, tmp_path / "start", "float32")
    export_gguf(tmp_path / "start", tmp_path / "pair", "F32", "F32")
    export(folder.parent, tmp_path / "mixed", "float32", tmp_path / "pair" / MODEL_NAME, 0.25)
    trained = torch.load(folder.parent / "checkpoint.pt", weights_only=True)["model"]
    mixed = load_file(tmp_path / "mixed" / "model.safetensors")
    for name, tensor in mixed.items():
        expected = 0.25 * trained[name] + 0.75 * model.state_dict()[name]
        torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-6, msg=name)
