"""Files of Ollama's own converter, against the checkpoint that they were made from."""

import contextlib
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from canonical import by_name, decoded, expected, untiled
from checkpoints import TinyCheckpoint, save_hf, tiny_config
from gguf_checkpoints import add_value, copy_fields, finish, save_gguf, save_mmproj
from ollama_checkpoints import save_ollama
from PIL import Image

from qwill import LLM, SamplingParams
from qwill.convert.quantize import plan_model, write_gguf
from qwill.errors import CheckpointError, QwillError, UnsupportedModel
from qwill.quant.recipes import load_recipe
from qwill.weights.load import open_checkpoint

VARIANTS: dict[str, dict[str, Any]] = {
    "dense": {"vision": True},
    "moe": {"vision": True, "moe": True},
    "tied": {"tie_word_embeddings": True},
    "three-per-key": {"linear_num_value_heads": 6, "linear_value_head_dim": 8, "moe": True},
}


@pytest.mark.parametrize("added", [True, False], ids=["added", "not added"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_values_equal_the_released_ones(variant: str, added: bool, tmp_path: Path) -> None:
    source = save_hf(tmp_path / "hf", tiny_config(**VARIANTS[variant]), mtp=True)
    path = tmp_path / "sha256-model"
    save_ollama(path, source, types="F32", added=added, single_experts=added)
    checkpoint = open_checkpoint(path)
    assert checkpoint.v_heads_tiled
    found, wanted = by_name(checkpoint.tensors), expected(source)
    assert sorted(found) == sorted(wanted)
    for name, values in wanted.items():
        assert found[name].shape == values.shape, name
        # The tower and the gate of the shared expert are F16 in these files; -exp could round differently.
        half = name.startswith("visual.") or name.endswith("shared_expert_gate.weight")
        tolerance = 2**-11 if half else 1e-6 if name.endswith((".A", "norm.weight")) else 0
        back = untiled(name, decoded(found[name]), source)
        np.testing.assert_allclose(back, values, rtol=tolerance, atol=2**-24 if half else tolerance, err_msg=name)


def test_configuration(tmp_path: Path) -> None:
    source = save_hf(tmp_path / "hf", tiny_config(vision=True), mtp=True)
    save_ollama(tmp_path / "m.gguf", source)
    checkpoint = open_checkpoint(tmp_path / "m.gguf")
    wanted, text = source.config.to_dict(), checkpoint.config["text_config"]
    for key in ("layer_types", "num_key_value_heads", "num_hidden_layers", "rope_parameters", "intermediate_size"):
        assert text[key] == wanted["text_config"][key], key
    assert text["mtp_num_hidden_layers"] == 1
    tower = checkpoint.config["vision_config"]
    for key in ("depth", "hidden_size", "intermediate_size", "num_heads", "patch_size", "num_position_embeddings"):
        assert tower[key] == wanted["vision_config"][key], key
    assert checkpoint.config["image_token_id"] == source.config.image_token_id
    assert checkpoint.image_processor["image_mean"] == [0.5, 0.25, 0.5]
    assert checkpoint.image_processor["image_std"] == [0.5, 0.5, 0.75]
    assert checkpoint.image_processor["size"] == {"shortest_edge": 4096, "longest_edge": 65536}
    assert checkpoint.vocabulary is not None
    assert not any(token.startswith("[PAD") for token in checkpoint.vocabulary.special_ids())


def test_layer_types_from_heads_of_each_layer(tmp_path: Path) -> None:
    kinds = ["linear_attention", "full_attention"] * 2
    source = save_hf(tmp_path / "hf", tiny_config(layer_types=kinds))
    save_ollama(tmp_path / "m.gguf", source)
    assert open_checkpoint(tmp_path / "m.gguf").config["text_config"]["layer_types"] == kinds


def test_heads_that_are_not_reordered(tmp_path: Path) -> None:
    source = save_hf(tmp_path / "hf", tiny_config())
    for value, tiled in ((None, True), (True, True), (False, False)):
        save_ollama(tmp_path / "m.gguf", source, metadata={"ssm.v_head_reordered": value})
        assert open_checkpoint(tmp_path / "m.gguf").v_heads_tiled is tiled


def test_a_named_vision_file_comes_first(tmp_path: Path) -> None:
    source = save_hf(tmp_path / "hf", tiny_config(vision=True))
    other = save_hf(tmp_path / "other", tiny_config(vision=True), seed=5)
    save_ollama(tmp_path / "m.gguf", source)
    save_mmproj(tmp_path / "mmproj.gguf", other)
    for named, tower in ((None, source), (tmp_path / "mmproj.gguf", other)):
        found = by_name(open_checkpoint(tmp_path / "m.gguf", named).tensors)["visual.blocks.1.attn.qkv.bias"].float32()
        wanted = tower.state["model.visual.blocks.1.attn.qkv.bias"].float().numpy()
        np.testing.assert_allclose(found, wanted, rtol=2**-11, atol=2**-24)


def test_answers_are_those_of_the_pair_of_files(tmp_path: Path) -> None:
    """The tower with its queries, keys and values joined, the draft head, and the order of heads, in a whole answer."""
    config = tiny_config(vision=True, linear_num_value_heads=6, linear_value_head_dim=8)
    source = save_hf(tmp_path / "hf", config, mtp=True, dtype=torch.float16)
    left_out = {f"vision.{key}": None for key in ("shortest_edge", "longest_edge", "image_mean", "image_std")}
    save_ollama(tmp_path / "sha256-x", source, metadata=left_out)
    save_gguf(tmp_path / "m.gguf", source, types="F16", mmproj=tmp_path / "mmproj.gguf")
    Image.fromarray(np.random.default_rng().integers(0, 255, (80, 112, 3), np.uint8)).save(tmp_path / "a.png")
    parts = [{"type": "image_url", "image_url": {"url": str(tmp_path / "a.png")}}, {"type": "text", "text": "the and"}]
    answers = []
    for name in ("sha256-x", "m.gguf"):
        params = SamplingParams(temperature=0, max_tokens=16, logprobs=2)
        answers.append(LLM(str(tmp_path / name), threads=2).chat([{"role": "user", "content": parts}], params))
    assert answers[0].token_ids == answers[1].token_ids
    assert answers[0].logprobs == answers[1].logprobs


def test_quantized_as_the_file_of_another_converter(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = save_hf(tmp_path / "hf", tiny_config(vision=True, moe=True, hidden_size=96), mtp=True, dtype=torch.float16)
    save_ollama(tmp_path / "sha256-x", source, single_experts=False)
    save_gguf(tmp_path / "m.gguf", source, types="F16")
    for name in ("sha256-x", "m.gguf"):
        write_gguf(plan_model(tmp_path / name, load_recipe("Q8_0")), tmp_path / f"{name}-Q8_0.gguf")
    assert "its vision tower is not carried over" in caplog.text
    ours, theirs = (gguf.GGUFReader(tmp_path / f"{name}-Q8_0.gguf") for name in ("sha256-x", "m.gguf"))
    wanted = {tensor.name: tensor for tensor in theirs.tensors}
    assert {tensor.name for tensor in ours.tensors} == wanted.keys()
    for tensor in ours.tensors:
        if tensor.tensor_type == gguf.GGMLQuantizationType.Q8_0:
            assert tensor.data.tobytes() == wanted[tensor.name].data.tobytes(), tensor.name
    assert ours.fields["qwen35moe.nextn_predict_layers"].contents() == 1
    assert ours.fields["qwen35moe.block_count"].contents() == 5
    assert not any(".vision." in name for name in ours.fields)
    open_checkpoint(tmp_path / "sha256-x-Q8_0.gguf")
    save_ollama(tmp_path / "one-by-one", source)
    with pytest.raises(UnsupportedModel, match="experts of the draft head lie one by one; leave it out: --no-mtp"):
        plan_model(tmp_path / "one-by-one", load_recipe("Q8_0"))
    plan_model(tmp_path / "one-by-one", load_recipe("Q8_0"), draft_head=False)


def resaved(path: Path, leave_out: str = "-", changed: dict[str, np.ndarray] | None = None) -> Path:
    """The file without a tensor, and with others in place of some."""
    whole = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(path.with_name("changed.gguf"), whole.fields["general.architecture"].contents())
    copy_fields(whole, writer)
    for tensor in whole.tensors:
        if tensor.name != leave_out:
            writer.add_tensor(tensor.name, (changed or {}).get(tensor.name, tensor.data))
    finish(writer)
    return path.with_name("changed.gguf")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    source: TinyCheckpoint = save_hf(folder / "hf", tiny_config(vision=True, moe=True), mtp=True)
    save_ollama(folder / "sound.gguf", source)
    return folder / "sound.gguf"


def test_a_draft_layer_under_released_names(tmp_path: Path) -> None:
    """As the layer of a head that was put into a file by other hands."""
    source = save_hf(tmp_path / "hf", tiny_config(moe=True), mtp=True)
    save_ollama(tmp_path / "m.gguf", source, types="F32", added=False)
    released = {"attn_q": "self_attn.q_proj", "attn_norm": "input_layernorm", "ffn_gate_inp": "mlp.gate"}
    whole = gguf.GGUFReader(tmp_path / "m.gguf")
    writer = gguf.GGUFWriter(tmp_path / "n.gguf", "qwen35moe")
    copy_fields(whole, writer)
    for tensor in whole.tensors:
        stem, _, ending = tensor.name.removeprefix("mtp.layers.0.").partition(".")
        is_draft = tensor.name.startswith("mtp.layers.0.") and stem in released
        writer.add_tensor(f"mtp.layers.0.{released[stem]}.{ending}" if is_draft else tensor.name, tensor.data)
    finish(writer)
    found, wanted = (by_name(open_checkpoint(tmp_path / name).tensors) for name in ("n.gguf", "m.gguf"))
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(decoded(found[name]), decoded(wanted[name]), err_msg=name)


@pytest.mark.parametrize(
    ("leave_out", "words"),
    [
        ("v.blk.0.attn_k.weight", "is one part of a tensor"), ("v.blk.1.attn_v.bias", "is one part of a tensor"),
        ("v.pos_embed.weight", "v.position_embd.weight or v.patch_embd.weight is missing"),
        ("mtp.layers.0.mlp.experts.3.up_proj.weight", "expert 3 of mtp.layers.0.mlp.experts.up_proj is missing"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(leave_out: str, words: str, sound: Path) -> None:
    with pytest.raises(CheckpointError, match=words):
        open_checkpoint(resaved(sound, leave_out))


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("v.patch_embed.weight", np.ones((32, 2, 16, 16), np.float16), r"has shape \[32, 2, 16, 16\], which no patch"),
        ("v.patch_embed.weight", np.ones((96, 3, 16, 16), np.float16), "which no patch embedding"),
        ("v.blk.0.attn_q.weight", np.ones((32, 16), np.float16), "differ in type or columns"),
        ("v.blk.0.attn_q.bias", np.full(32, np.nan, np.float32), "not finite"),
    ],
)
def test_what_does_not_fit_is_named(name: str, values: np.ndarray, words: str, sound: Path) -> None:
    with pytest.raises(CheckpointError, match=words):
        open_checkpoint(resaved(sound, changed={name: values}))


def test_unknown_parts_of_the_draft_head_are_named(sound: Path) -> None:
    whole = gguf.GGUFReader(sound)
    writer = gguf.GGUFWriter(sound.with_name("more.gguf"), "qwen35moe")
    copy_fields(whole, writer)
    for tensor in whole.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    writer.add_tensor("mtp.layers.0.strange.weight", np.ones(4, np.float32))
    finish(writer)
    with pytest.raises(CheckpointError, match=r"strange\.weight belongs to no part"):
        open_checkpoint(sound.with_name("more.gguf"))


def test_damage_brings_no_other_errors(sound: Path) -> None:
    """Bytes of the header are changed at random, and the file is cut off."""
    whole, rng = sound.read_bytes(), np.random.default_rng()
    damaged = sound.with_name("damaged.gguf")
    for number in range(120):
        content = bytearray(whole)
        for place in rng.integers(0, 24_000, 3):
            content[place] = int(rng.integers(256))
        damaged.write_bytes(content[: int(rng.integers(1, len(content)))] if number % 4 == 0 else content)
        with contextlib.suppress(QwillError):
            open_checkpoint(damaged)
    for key in ("block_count", "vision.block_count", "vision.image_mean", "vision.patch_size", "ssm.v_head_reordered"):
        source = gguf.GGUFReader(sound)
        for value in ([1, 2], "x", -7.5, True, 4_000_000_000):
            writer = gguf.GGUFWriter(damaged, "qwen35moe")
            copy_fields(source, writer, f"qwen35moe.{key}")
            add_value(writer, f"qwen35moe.{key}", value)
            for tensor in source.tensors:
                writer.add_tensor(tensor.name, tensor.data)
            finish(writer)
            with contextlib.suppress(QwillError):
                open_checkpoint(damaged)
