"""Whole conversions: files give the answers of what they were made from, or are not there at all."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from checkpoints import TinyCheckpoint, edit_json, edit_text_config, save_hf, tiny_config, token_id, write_shards
from gguf_checkpoints import language_tensors, save_gguf
from model.harness import Ours, assert_same_logits, random_prompt

from qwill.convert import output, quantize
from qwill.convert.quantize import plan_model, plan_vision, write_gguf
from qwill.convert.source import Watch
from qwill.errors import CheckpointError, InvalidArgument, UnsupportedModel, UserError
from qwill.media.image import ImageSettings
from qwill.media.video import VideoSettings
from qwill.quant.importance import Importance, Statistics
from qwill.quant.recipes import Recipe, load_recipe
from qwill.quant.types import TYPES
from qwill.text.chat_template import DEFAULT_TEMPLATE
from qwill.text.tokenizer import Tokenizer
from qwill.weights.gguf.file import read_gguf
from qwill.weights.load import open_checkpoint

VOCAB = 288
WIDE = {"hidden_size": 256, "intermediate_size": 256, "head_dim": 64} | {
    f"linear_{part}_head_dim": 64 for part in ("key", "value")
}
FLOAT32 = load_recipe("F32")


@pytest.fixture
def rng() -> np.random.Generator:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    return np.random.default_rng(seed)


def folder(path: Path, overrides: dict[str, Any], **options: Any) -> TinyCheckpoint:
    """With a draft head unless it is not wanted; of experts all are chosen, since a near tie could fall either way."""
    every = {"num_experts_per_tok": 8} if overrides.get("moe") else {}
    made = save_hf(path, tiny_config(**(every | overrides)), **({"mtp": True, "tokenizer": True} | options))
    if not options.get("mtp", True):
        edit_text_config(made.folder, mtp_num_hidden_layers=0)
    return made


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    return folder(tmp_path_factory.mktemp("dense") / "hf", WIDE)


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    """With a vision tower, too."""
    sizes = WIDE | {"moe": True, "moe_intermediate_size": 256, "vision": True}
    return folder(tmp_path_factory.mktemp("experts") / "hf", sizes, dtype=torch.bfloat16)


def convert(source: Path, target: Path, recipe: Recipe = FLOAT32, importance: Any = None, **options: Any) -> Path:
    (path,) = write_gguf(plan_model(source, recipe, importance), target, **options)
    return path


def kinds(file: Path) -> dict[str, str]:
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors}


@pytest.mark.parametrize(
    ("overrides", "options"),
    [
        ({}, {}),
        ({"linear_num_value_heads": 6}, {"mtp": False, "dtype": torch.bfloat16}),
        ({"moe": True}, {}),
        ({"moe": True, "tie_word_embeddings": True}, {"fp8": True}),
        ({"moe": True, "linear_num_value_heads": 2, "vision": True}, {"packed": False}),
    ],
    ids=["dense", "bf16", "experts", "fp8", "vision"],
)
def test_logits_are_those_of_the_folder(
    overrides: dict[str, Any], options: dict[str, Any], tmp_path: Path, rng: np.random.Generator
) -> None:
    made = folder(tmp_path / "hf", overrides, **options)
    prompt = random_prompt(rng, 65, VOCAB)
    expected = Ours(made.folder, "reference").logits(prompt)
    ours = Ours(convert(made.folder, tmp_path / "it.gguf"), "reference")
    assert_same_logits(ours.logits(prompt), expected)
    assert (ours.model.mtp is not None) == options.get("mtp", True)


def test_metadata_equals_an_independent_conversion(tmp_path: Path) -> None:
    made = folder(tmp_path / "hf", {"moe": True, "vision": True}, mtp=True)
    edit_text_config(made.folder, pad_token_id=token_id("<|endoftext|>"))
    (made.folder / "chat_template.jinja").write_text(DEFAULT_TEMPLATE)
    edit_json(made.folder / "generation_config.json", temperature=0.6, top_k=20, top_p=0.95, do_sample=True)
    save_gguf(tmp_path / "expected.gguf", made, mmproj=tmp_path / "expected-mmproj.gguf")
    convert(made.folder, tmp_path / "it.gguf")
    write_gguf(plan_vision(made.folder), tmp_path / "mmproj.gguf")
    for ours, theirs in (("it", "expected"), ("mmproj", "expected-mmproj")):
        found, wanted = (
            {name: (field.types, field.contents()) for name, field in gguf.GGUFReader(tmp_path / file).fields.items()}
            for file in (f"{ours}.gguf", f"{theirs}.gguf")
        )
        assert {name: found[name] for name in wanted if name[:4] != "GGUF"} == {
            name: value for name, value in wanted.items() if name[:4] != "GGUF"
        }
        assert all(name.startswith(("general.", "GGUF.")) for name in set(found) - set(wanted))
    fields = gguf.GGUFReader(tmp_path / "it.gguf").fields
    assert fields["general.sampling.top_k"].types[0].name == "INT32"
    sampling = {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "do_sample": True}
    assert sampling.items() <= open_checkpoint(tmp_path / "it.gguf").generation_config.items()


def test_the_tokenizer(tmp_path: Path) -> None:
    """Markup of the answer is text, what looks like a control token is one, as llama.cpp's converter has it."""
    made = folder(tmp_path / "hf", {})
    tokenizer = json.loads((made.folder / "tokenizer.json").read_text())
    for number, token in enumerate(("<think>", "<|fim_pad|>"), start=280):
        tokenizer["added_tokens"].append({"id": number, "content": token, "special": False})
    edit_json(made.folder / "tokenizer.json", **tokenizer)
    edit_json(made.folder / "tokenizer_config.json", eos_token="<|im_start|>", pad_token={"content": "<|im_end|>"})
    words = open_checkpoint(convert(made.folder, tmp_path / "it.gguf")).vocabulary
    assert words is not None
    types = dict(zip(words.tokens, words.token_types.tolist(), strict=True))
    assert [types[token] for token in ("<think>", "<|fim_pad|>", "<|im_end|>", "[PAD279]", "the")] == [4, 3, 3, 5, 1]
    assert words.eos_token_id == token_id("<|im_start|>")
    assert words.pad_token_id == token_id("<|im_end|>")
    ours = Tokenizer.from_vocabulary(words.tokens, words.merges, words.token_types.tolist(), words.pre)
    text = "<|im_start|>user\nthe end, and thé\n<|im_end|>"
    folders = Tokenizer.from_file(made.folder / "tokenizer.json")
    assert ours.encode(text, allow_special=True) == folders.encode(text, allow_special=True)


def test_a_tokenizer_that_does_not_fit(tmp_path: Path) -> None:
    made = folder(tmp_path / "hf", {})
    edit_json(made.folder / "tokenizer.json", added_tokens=[{"id": 288, "content": "x", "special": False}])
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: is no byte-level BPE of at most 288 tokens"):
        plan_model(made.folder, FLOAT32)


def test_yarn(tmp_path: Path) -> None:
    made = folder(tmp_path / "hf", {})
    config = json.loads((made.folder / "config.json").read_text())
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024, "beta_fast": 16.0}
    edit_text_config(made.folder, rope_parameters=config["rope_parameters"] | yarn)
    found = open_checkpoint(convert(made.folder, tmp_path / "it.gguf")).config["text_config"]["rope_parameters"]
    assert yarn.items() <= found.items()
    assert found["rope_theta"] == config["rope_parameters"]["rope_theta"]


def test_a_gguf_keeps_its_metadata(tmp_path: Path) -> None:
    """All keys, in their own types, but for what described its old types and parts."""
    made = folder(tmp_path / "hf", {"moe": True})
    extra = {"general.name": "old", "general.file_type": 15, "general.alignment": 32, "general.tags": ["a", "b"]}
    extra |= {"general.quantization_version": 1, "quantize.imatrix.file": "x"}
    save_gguf(tmp_path / "in.gguf", made, metadata=extra, shard_tensors=30, head_counts="array")
    first = min(tmp_path.glob("in*.gguf"))
    convert(first, tmp_path / "out.gguf")
    before, after = (gguf.GGUFReader(path).fields for path in (first, tmp_path / "out.gguf"))
    for name, field in before.items():
        if not name.startswith(("GGUF.", "split.", "quantize.", "qwen35moe.quantize", "general.")):
            assert (after[name].types, after[name].contents()) == (field.types, field.contents()), name
    assert after["general.file_type"].contents() == 0
    assert after["general.quantization_version"].contents() == 2
    assert after["general.name"].contents() == "old"
    assert after["general.tags"].contents() == ["a", "b"]
    assert not any(name.startswith(("split.", "quantize.", "general.alignment")) for name in after)


def test_without_the_draft_head(dense: TinyCheckpoint, tmp_path: Path, rng: np.random.Generator) -> None:
    """From a folder and from a file, whose arrays of values a block become shorter."""
    save_gguf(tmp_path / "in.gguf", dense, head_counts="array")
    prompt = random_prompt(rng, 20, VOCAB)
    expected = Ours(dense.folder, "reference").logits(prompt)
    for number, source in enumerate((dense.folder, tmp_path / "in.gguf")):
        (path,) = write_gguf(plan_model(source, FLOAT32, draft_head=False), tmp_path / f"{number}.gguf")
        metadata = read_gguf(path).metadata
        assert metadata["qwen35.block_count"] == len(metadata["qwen35.attention.recurrent_layers"]) == 4
        assert "qwen35.nextn_predict_layers" not in metadata
        assert len(metadata["qwen35.rope.dimension_sections"]) == 4
        assert not any("blk.4." in name for name in kinds(path))
        assert_same_logits(Ours(path, "reference").logits(prompt), expected)


def test_from_a_quantized_file(dense: TinyCheckpoint, tmp_path: Path, rng: np.random.Generator) -> None:
    """Decoded and encoded anew where the type changes, copied to the bit where it stays."""
    first = convert(dense.folder, tmp_path / "q8.gguf", load_recipe("Q8_0"))
    second = convert(first, tmp_path / "q4.gguf", load_recipe("Q4_K_M"))
    again = convert(first, tmp_path / "q8-again.gguf", load_recipe("Q8_0"))
    assert set(kinds(second).values()) == {"F32", "Q4_K", "Q6_K"}
    assert read_gguf(again).metadata["general.file_type"] == 7
    copied, original = (gguf.GGUFReader(path).tensors for path in (again, first))
    assert [tensor.data.tobytes() for tensor in copied] == [tensor.data.tobytes() for tensor in original]
    for name, kind in kinds(second).items():
        old, new = (next(t for t in gguf.GGUFReader(path).tensors if t.name == name) for path in (first, second))
        if kind == "F32":
            assert old.data.tobytes() == new.data.tobytes()
            continue
        before, after = (gguf.dequantize(t.data, t.tensor_type) for t in (old, new))
        error = np.sqrt(np.mean((before - after) ** 2)) / before.std()
        assert error < {"Q4_K": 0.09, "Q6_K": 0.03}[kind], name  # of normal values: 0.066 and 0.017


@pytest.mark.parametrize("wanted", ["F32", "F16", "BF16", "Q8_0"])
def test_a_vision_file(wanted: str, tmp_path: Path, rng: np.random.Generator) -> None:
    made = folder(tmp_path / "hf", {"vision": True, "vision_overrides": {"intermediate_size": 48}})
    sizes = {"size": {"shortest_edge": 4096, "longest_edge": 20_000}, "image_std": [0.5, 0.5, 0.125]}
    videos = sizes | {"size": {"shortest_edge": 5000, "longest_edge": 70_000}, "fps": 1.5, "max_frames": 21}
    edit_json(made.folder / "preprocessor_config.json", **sizes)
    edit_json(made.folder / "video_preprocessor_config.json", **videos)
    convert(made.folder, tmp_path / "it.gguf")
    write_gguf(plan_vision(made.folder, wanted), tmp_path / "mmproj.gguf")
    found = kinds(tmp_path / "mmproj.gguf")
    assert found["v.position_embd.weight"] == found["v.blk.0.ln1.weight"] == found["mm.0.bias"] == "F32"
    assert found["v.patch_embd.weight.1"] == ("F16" if wanted == "F16" else "F32")
    assert found["mm.0.weight"] == wanted
    assert found["v.blk.0.ffn_down.weight"] == ("F16" if wanted == "Q8_0" else wanted)  # rows of 48
    ours, source = open_checkpoint(tmp_path / "it.gguf"), open_checkpoint(made.folder)
    assert ImageSettings.from_config(ours.image_processor) == ImageSettings.from_config(source.image_processor)
    assert VideoSettings.from_config(ours.video_processor) == VideoSettings.from_config(source.video_processor)
    pixels = rng.normal(size=(4 * 6, 3 * 2 * 16 * 16)).astype(np.float32)
    towers = [Ours(path, "reference").model.vision for path in (made.folder, tmp_path / "it.gguf")]
    expected, got = (tower.forward(pixels, (1, 4, 6)) for tower in towers if tower is not None)
    error = {"F32": 0.0, "F16": 5e-3, "BF16": 5e-2, "Q8_0": 0.15}[wanted]
    assert np.abs(got - expected).max() <= error * expected.std()


def test_parts_give_the_answers_of_the_whole(experts: TinyCheckpoint, tmp_path: Path, rng: np.random.Generator) -> None:
    plan = plan_model(experts.folder, FLOAT32)
    paths = write_gguf(plan, tmp_path / "it.gguf", split_bytes=3_000_000)
    assert len(paths) > 3
    assert plan.file_bytes(3_000_000) == sum(path.stat().st_size for path in paths)
    assert all(path.stat().st_size < 3_010_000 for path in paths[1:])
    prompt = random_prompt(rng, 20, VOCAB)
    whole = convert(experts.folder, tmp_path / "whole.gguf")
    assert plan.file_bytes() == whole.stat().st_size
    np.testing.assert_array_equal(Ours(paths[0], "reference").logits(prompt), Ours(whole, "reference").logits(prompt))


@pytest.mark.parametrize("name", ["F16", "Q8_0", "Q4_K_M"])
def test_threads_and_pieces_change_nothing(
    name: str, experts: TinyCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = convert(experts.folder, tmp_path / "one.gguf", load_recipe(name))
    monkeypatch.setattr(quantize, "CHUNK_VALUES", 5000)
    pieces: list[int] = []
    many = convert(experts.folder, tmp_path / "many.gguf", load_recipe(name), threads=5, progress=pieces.append)
    assert one.read_bytes() == many.read_bytes()
    assert len(pieces) > 200
    assert sum(pieces) == sum(info.nbytes for info in plan_model(experts.folder, load_recipe(name)).infos)


def test_importance_reaches_the_encoder(experts: TinyCheckpoint, tmp_path: Path, rng: np.random.Generator) -> None:
    """Columns that matter are closer; experts have their own; what is not in the file is encoded without."""
    wanted = language_tensors(experts)
    statistics, chosen = {}, {}
    for name in ("blk.0.ffn_up_exps.weight", "blk.3.attn_q.weight"):
        count = wanted[name].shape[0] if wanted[name].ndim == 3 else 1
        chosen[name] = np.where(rng.random((count, 256)) < 0.25, 100, 1).astype(np.float32)
        statistics[name] = Statistics(chosen[name] * 7, np.full(count, 7, np.float32))
    importance = Importance(statistics, ("a.txt", "b.txt"), 3, 512, source="/x/imatrix.gguf")
    plain = convert(experts.folder, tmp_path / "plain.gguf", load_recipe("Q4_K_M"))
    weighted = convert(experts.folder, tmp_path / "weighted.gguf", load_recipe("Q4_K_M"), importance)
    before, after = (
        {t.name: gguf.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(p).tensors} for p in (plain, weighted)
    )
    for name, weights in chosen.items():
        errors = [
            np.mean((values[name].reshape(len(weights), -1, 256) - wanted[name].reshape(len(weights), -1, 256)) ** 2, 1)
            for values in (before, after)
        ]
        assert (errors[1] * weights).sum() < (errors[0] * weights).sum()
        assert errors[1][weights == 100].mean() < errors[0][weights == 100].mean()
    np.testing.assert_array_equal(after["blk.1.ffn_up_exps.weight"], before["blk.1.ffn_up_exps.weight"])
    noted = {
        name: value for name, value in read_gguf(weighted).metadata.items() if name.startswith("quantize.imatrix.")
    }
    assert list(noted.values()) == ["imatrix.gguf", "a.txt, b.txt", 2, 3]


def test_importance_of_another_model(dense: TinyCheckpoint, tmp_path: Path) -> None:
    foreign = Importance({"blk.0.attn_x.weight": Statistics(np.ones((1, 8)), np.ones(1))}, source="x.gguf")
    with pytest.raises(InvalidArgument, match=r"x\.gguf: knows none of the tensors"):
        plan_model(dense.folder, load_recipe("Q4_K_M"), foreign)
    narrow = Importance({"blk.0.ffn_up.weight": Statistics(np.ones((1, 8)), np.ones(1))}, source="x.gguf")
    with pytest.raises(CheckpointError, match=r"x\.gguf: blk\.0\.ffn_up\.weight has statistics of 1 x 8"):
        convert(dense.folder, tmp_path / "it.gguf", load_recipe("Q4_K_M"), narrow)
    assert not list(tmp_path.glob("it*"))


def test_what_half_precision_cannot_hold(tmp_path: Path) -> None:
    made = folder(tmp_path / "hf", {})
    name = "model.layers.2.mlp.down_proj.weight"
    state = made.state | {name: made.state[name].clone()}
    state[name][7, 5] = -1e5
    write_shards(made.folder, state, 1)
    with pytest.raises(CheckpointError, match=r"blk\.2\.ffn_down\.weight holds 100000, more than F16 can; take BF16"):
        convert(made.folder, tmp_path / "it.gguf", load_recipe("F16"))
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def damage(made: TinyCheckpoint) -> None:
    name = "model.layers.2.mlp.down_proj.weight"
    state = made.state | {name: made.state[name].clone()}
    state[name][7, 5] = np.nan
    write_shards(made.folder, state, 1)


def test_nothing_is_left_of_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = folder(tmp_path / "hf", {})
    plan = plan_model(made.folder, FLOAT32)

    def after(pieces: int, happen: Callable[[pytest.MonkeyPatch], None], patch: Any) -> Callable[[int], None]:
        seen: list[int] = []
        return lambda size: (seen.append(size), happen(patch) if len(seen) == pieces else None)[1]

    def stop(_: pytest.MonkeyPatch) -> None:
        raise KeyboardInterrupt

    def fill(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(output.os, "fsync", full)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def touch(_: pytest.MonkeyPatch) -> None:
        os.utime(made.folder / "model.safetensors", (1, 1))

    for happen, error, message in (
        (stop, KeyboardInterrupt, "^$"),
        (fill, UserError, "the disk is full"),
        (touch, CheckpointError, r"model\.safetensors: was changed while it was read"),
    ):
        with pytest.raises(error, match=message), monkeypatch.context() as patch:
            write_gguf(plan, tmp_path / "it.gguf", threads=2, progress=after(9, happen, patch))
        assert [path.name for path in tmp_path.iterdir()] == ["hf"]
    damage(made)
    with pytest.raises(CheckpointError, match=r"blk\.2\.ffn_down\.weight holds NaN \(row 7, column 5\)"):
        convert(made.folder, tmp_path / "it.gguf", threads=2)
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


@pytest.mark.parametrize("form", ["folder", "file"])
def test_a_source_that_is_cut_off_between_looking_and_reading(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pages are gone: touching them would end the process."""
    made = folder(tmp_path / "hf", {})
    source = made.folder / "model.safetensors"
    if form == "file":
        source = convert(made.folder, tmp_path / "source.gguf", FLOAT32)
    plan = plan_model(made.folder if form == "folder" else source, load_recipe("Q8_0"))
    monkeypatch.setattr(Watch, "check", lambda _: None)
    os.truncate(source, source.stat().st_size // 2)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=rf"{source.name}: was cut off while it was read"):
        write_gguf(plan, tmp_path / "it.gguf", threads=2)
    assert sorted(tmp_path.iterdir()) == before


def test_what_cannot_be_converted(experts: TinyCheckpoint, dense: TinyCheckpoint, tmp_path: Path) -> None:
    write_gguf(plan_vision(experts.folder), tmp_path / "mmproj.gguf")
    with pytest.raises(UnsupportedModel, match="architecture 'clip' is not quantized here"):
        plan_model(tmp_path / "mmproj.gguf", FLOAT32)
    with pytest.raises(InvalidArgument, match="Q4_K: vision files are of type F32, F16, Q8_0, BF16"):
        plan_vision(experts.folder, "Q4_K")
    with pytest.raises(InvalidArgument, match="is made from a model's folder"):
        plan_vision(tmp_path / "mmproj.gguf")
    with pytest.raises(UnsupportedModel, match="has no vision_config"):
        plan_vision(dense.folder)
    with pytest.raises(InvalidArgument, match="there is no encoder for F8_E4M3"):
        plan_model(dense.folder, Recipe("own", "", TYPES["F8_E4M3"]))
    narrow = folder(tmp_path / "hf", {})
    with pytest.raises(InvalidArgument, match="rows of 64, no whole Q4_K blocks"):
        plan_model(narrow.folder, Recipe("own", "", TYPES["Q4_K"]))


def test_a_file_is_not_written_over_itself(dense: TinyCheckpoint, tmp_path: Path) -> None:
    path = convert(dense.folder, tmp_path / "it.gguf")
    content = path.read_bytes()
    with pytest.raises(InvalidArgument, match="exists; give another name"):
        convert(path, path)
    with pytest.raises(InvalidArgument, match="is what is read"):
        convert(path, path, overwrite=True)
    assert path.read_bytes() == content
