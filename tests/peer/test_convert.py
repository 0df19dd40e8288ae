"""Files made by qwill.convert against those of llama.cpp's own converter, and in llama.cpp itself."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import peer
import pytest
from checkpoints import save_hf, tiny_config
from conftest import WIDE, Converted
from model.harness import BACKENDS, Ours, assert_same_logits, random_prompt
from test_draft_head import draft_logits
from test_quantized import ERROR, FLOATS, compare, kinds_in
from test_tower import assert_same_embeddings

from qwill.convert.quantize import plan_model, plan_vision, write_gguf
from qwill.quant.recipes import load_recipe, names

pytestmark = pytest.mark.peer
VOCAB = 288
# Ours alone: what the converter finds in other places than these folders have.
OURS = {"tokenizer.chat_template", "qwen35moe.nextn_predict_layers", "qwen35.nextn_predict_layers"}
OURS |= {f"tokenizer.ggml.{name}" for name in ("eos_token_id", "padding_token_id", "add_bos_token")}
# Names, and widths of what a model does not have, which the tests' configurations state nevertheless.
LEFT_OUT = {"general.name", "general.size_label", "GGUF.kv_count", "qwen35moe.feed_forward_length"}
LEFT_OUT |= {f"qwen35.expert_{name}feed_forward_length" for name in ("", "shared_")}


def convert(source: Path, target: Path, recipe: str) -> Path:
    (path,) = write_gguf(plan_model(source, load_recipe(recipe)), target, overwrite=True, threads=2)
    return path


def fields(file: Path) -> dict[str, Any]:
    found = gguf.GGUFReader(file).fields
    return {name: (field.types, field.contents()) for name, field in found.items() if name not in LEFT_OUT}


def assert_same_file(ours: Path, theirs: Path) -> None:
    """Metadata and tensors, to the bit but for the last bits of exp, which differ between PyTorch and NumPy."""
    found, wanted = fields(ours), fields(theirs)
    assert {key: found[key] for key in wanted} == wanted
    assert set(found) - set(wanted) <= OURS
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(ours).tensors}
    expected = gguf.GGUFReader(theirs).tensors
    assert sorted(tensors) == sorted(tensor.name for tensor in expected)
    for tensor in expected:
        same = tensors[tensor.name]
        shapes = [[size for size in shape if size > 1] for shape in (same.shape.tolist(), tensor.shape.tolist())]
        assert shapes[0] == shapes[1], tensor.name  # a vector is as good as one row
        assert same.tensor_type is tensor.tensor_type, tensor.name
        if tensor.name.endswith("ssm_a"):
            np.testing.assert_allclose(same.data, tensor.data, rtol=2**-22)
        else:
            assert same.data.tobytes() == tensor.data.tobytes(), tensor.name


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0"])
def test_the_converter_writes_the_same(kind: str, member: Converted, tmp_path: Path) -> None:
    assert_same_file(convert(member.made.folder, tmp_path / "it.gguf", kind), member.files[kind])


@pytest.mark.parametrize("name", ["V = 2 K", "experts, V = 2 K"])
@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0"])
def test_the_converter_writes_the_same_tower(
    kind: str, name: str, converted: dict[str, Converted], tmp_path: Path
) -> None:
    folder = converted[name].made.folder
    peer.convert([[str(folder), "--outfile", str(tmp_path / "theirs.gguf"), "--outtype", kind, "--mmproj"]], tmp_path)
    (ours,) = write_gguf(plan_vision(folder, kind.upper()), tmp_path / "ours.gguf")
    assert_same_file(ours, tmp_path / "theirs.gguf")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A dense member and one with experts, all of which take part, with draft heads."""
    scratch = tmp_path_factory.mktemp("folders")
    seed = int(np.random.SeedSequence().generate_state(1)[0]) % 2**31
    print("seed", seed)
    members = {"dense": {}, "experts": {"moe": True, "num_experts": 4, "num_experts_per_tok": 4}}
    for name, overrides in members.items():
        save_hf(scratch / name, tiny_config(**(WIDE | overrides)), seed=seed, tokenizer=True, mtp=True)
    return {name: scratch / name for name in members}


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("kind", ["dense", "experts"])
def test_llama_reads_every_recipe(
    name: str, kind: str, folders: dict[str, Path], tmp_path: Path, rng: np.random.Generator
) -> None:
    """The same logits on both sides, within what rounding the activations makes (see test_quantized)."""
    file = convert(folders[kind], tmp_path / f"{name}.gguf", name)
    if name == "F32":
        prompt = random_prompt(rng, 64, VOCAB)
        expected = peer.logits(file, np.array(prompt.token_ids, np.int32))
        assert_same_logits(Ours(file, BACKENDS[-1]).logits(prompt), expected)
        return
    assert kinds_in(file) != {"F32"}
    compare(file, rng, FLOATS.get(name, ERROR))


@pytest.mark.parametrize("name", ["V = 2 K", "V = 4 K, tied", "experts, V = 2 K"])
def test_llama_drafts_the_same(
    name: str, converted: dict[str, Converted], tmp_path: Path, rng: np.random.Generator
) -> None:
    file = convert(converted[name].made.folder, tmp_path / "it.gguf", "F32")
    theirs, ours = draft_logits(file, rng.integers(0, VOCAB, 41).astype(np.int32), BACKENDS[-1])
    assert_same_logits(ours, theirs)


@pytest.mark.parametrize("name", ["V = 2 K", "experts, V = 2 K"])
@pytest.mark.parametrize("kind", ["F32", "F16"])
def test_llama_sees_the_same(
    kind: str, name: str, converted: dict[str, Converted], tmp_path: Path, rng: np.random.Generator
) -> None:
    folder = converted[name].made.folder
    file = convert(folder, tmp_path / "it.gguf", "F32")
    (mmproj,) = write_gguf(plan_vision(folder, kind), tmp_path / "mmproj.gguf")
    assert_same_embeddings(file, mmproj, rng.integers(0, 256, (224, 352, 3), dtype=np.uint8), BACKENDS[-1])


def test_llama_reads_parts(folders: dict[str, Path], tmp_path: Path, rng: np.random.Generator) -> None:
    whole = convert(folders["experts"], tmp_path / "whole.gguf", "Q4_K_M")
    plan = plan_model(folders["experts"], load_recipe("Q4_K_M"))
    parts = write_gguf(plan, tmp_path / "part.gguf", split_bytes=400_000)
    assert len(parts) > 2
    token_ids = rng.integers(0, VOCAB, 30).astype(np.int32)
    np.testing.assert_array_equal(peer.logits(parts[0], token_ids), peer.logits(whole, token_ids))
