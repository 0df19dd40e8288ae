"""The pair of GGUF files against the folder that it was made from, and against an independent conversion."""

import json
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from checkpoints import TinyCheckpoint, edit_json, edit_text_config, save_hf, tiny_config, token_id, write_shards
from gguf_checkpoints import save_gguf
from model.harness import Ours, assert_same_logits, random_prompt
from training.gguf_export import MMPROJ_NAME, MODEL_NAME, export_gguf

from qwill import LLM, SamplingParams
from qwill.media.image import ImageSettings
from qwill.media.video import VideoSettings
from qwill.text.chat_template import DEFAULT_TEMPLATE
from qwill.text.tokenizer import Tokenizer
from qwill.weights.load import open_checkpoint

VOCAB = 288
TEMPLATE = "{# one of its own #}" + DEFAULT_TEMPLATE
IMAGES = {
    "size": {"shortest_edge": 4096, "longest_edge": 20_000},
    "image_mean": [0.5, 0.25, 0.5],
    "image_std": [0.5, 0.5, 0.125],
}
VIDEOS = IMAGES | {
    "size": {"shortest_edge": 5000, "longest_edge": 70_000},
    "fps": 1.5,
    "min_frames": 3,
    "max_frames": 21,
}


@pytest.fixture
def rng() -> np.random.Generator:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    """A random model as training.export would write it. All experts are chosen: of two that nearly tie, rounding would
    choose one in the one file and the other in the other, and all that follows would differ."""
    tower = {"intermediate_size": 64}
    heads = {"linear_key_head_dim": 32, "linear_value_head_dim": 32}
    config = tiny_config(moe=True, vision=True, vision_overrides=tower, num_experts_per_tok=8, **heads)
    made = save_hf(tmp_path_factory.mktemp("made") / "hf", config, mtp=True, tokenizer=True)
    edit_text_config(made.folder, pad_token_id=token_id("<|endoftext|>"))
    edit_json(made.folder / "generation_config.json", do_sample=False)
    edit_json(made.folder / "preprocessor_config.json", **IMAGES)
    edit_json(made.folder / "video_preprocessor_config.json", **VIDEOS)
    (made.folder / "chat_template.jinja").write_text(TEMPLATE)
    return made


@pytest.fixture(scope="module")
def pair(source: TinyCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model in float32."""
    folder = tmp_path_factory.mktemp("pair")
    export_gguf(source.folder, folder, "F32", "F32")
    return folder


def stored(file: Path) -> dict[str, tuple[str, list[int], bytes]]:
    return {
        tensor.name: (tensor.tensor_type.name, tensor.shape.tolist(), tensor.data.tobytes())
        for tensor in gguf.GGUFReader(file).tensors
    }


def fields(file: Path) -> Iterator[tuple[str, Any]]:
    for name, field in gguf.GGUFReader(file).fields.items():
        if not name.startswith(("GGUF.", "general.")):
            yield name, field.contents()


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0"])
def test_tensors_equal_an_independent_conversion(kind: str, source: TinyCheckpoint, tmp_path: Path) -> None:
    export_gguf(source.folder, tmp_path, kind, "F32")
    save_gguf(tmp_path / "expected.gguf", source, types=kind, mmproj=tmp_path / "expected-mmproj.gguf")
    for ours, theirs in ((MODEL_NAME, "expected.gguf"), (MMPROJ_NAME, "expected-mmproj.gguf")):
        found, wanted = stored(tmp_path / ours), stored(tmp_path / theirs)
        assert sorted(found) == sorted(wanted)
        for name, (stored_as, shape, data) in wanted.items():
            assert found[name][:2] == (stored_as, shape), name
            assert found[name][2] == data, name


def test_metadata_equals_an_independent_conversion(pair: Path, source: TinyCheckpoint, tmp_path: Path) -> None:
    save_gguf(tmp_path / "expected.gguf", source, mmproj=tmp_path / "expected-mmproj.gguf")
    given = {"tokenizer.chat_template": TEMPLATE, "clip.vision.image_mean": pytest.approx(IMAGES["image_mean"])}
    given["clip.vision.image_std"] = pytest.approx(IMAGES["image_std"])
    for ours, theirs in ((MODEL_NAME, "expected.gguf"), (MMPROJ_NAME, "expected-mmproj.gguf")):
        found = dict(fields(pair / ours))
        for name, value in fields(tmp_path / theirs):
            assert found.pop(name) == given.get(name, value), name
        assert all(name.startswith("qwill.video.") or "_pixels" in name for name in found)


def test_logits_are_those_of_the_folder(pair: Path, source: TinyCheckpoint, rng: np.random.Generator) -> None:
    prompt = random_prompt(rng, 65, VOCAB)
    expected = Ours(source.folder, "reference").logits(prompt)
    assert_same_logits(Ours(pair / MODEL_NAME, "reference").logits(prompt), expected)


def test_logits_are_those_of_the_rounded_folder(
    source: TinyCheckpoint, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Only rounded matrices separate the two; V heads are whole blocks of 32, so their order commutes with rounding."""
    export_gguf(source.folder, tmp_path)
    rounded = {name: as_stored(name, tensor) for name, tensor in source.state.items()}
    copytree(source.folder, tmp_path / "hf")
    write_shards(tmp_path / "hf", rounded, 1)
    prompt = random_prompt(rng, 65, VOCAB)
    expected = Ours(tmp_path / "hf", "reference").logits(prompt)
    assert_same_logits(Ours(tmp_path / MODEL_NAME, "reference").logits(prompt), expected)


def as_stored(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A matrix rounded to eight bits and back; what stays F32 as it is."""
    if tensor.ndim == 1 or any(kept in name for kept in ("visual", "conv1d", "mlp.gate.weight", "shared_expert_gate")):
        return tensor
    blocks = gguf.quantize(tensor.numpy(), gguf.GGMLQuantizationType.Q8_0)
    values = gguf.dequantize(blocks, gguf.GGMLQuantizationType.Q8_0)
    return torch.from_numpy(values.reshape(tensor.shape).astype(np.float32))


@pytest.mark.parametrize(("kind", "error"), [("F32", 0.0), ("F16", 5e-3), ("Q8_0", 0.15)])
def test_embeddings_of_pictures(
    kind: str, error: float, source: TinyCheckpoint, tmp_path: Path, rng: np.random.Generator
) -> None:
    """The same arithmetic on the same float32 values; F16 rounds weights by up to 2^-11, Q8_0 by 1/254 of their block's
    largest, which two blocks carry on.
    """
    export_gguf(source.folder, tmp_path, vision_type=kind)
    pixels = rng.normal(size=(4 * 6, 3 * 2 * 16 * 16)).astype(np.float32)
    towers = (Ours(path, "reference").model.vision for path in (source.folder, tmp_path / MODEL_NAME))
    expected, got = (tower.forward(pixels, (1, 4, 6)) for tower in towers if tower is not None)
    assert np.abs(got - expected).max() <= error * expected.std()


def test_what_the_model_is_told_and_shown(pair: Path, source: TinyCheckpoint) -> None:
    """Sampling, limits of images and videos, template and special tokens, which a GGUF keeps in its own way."""
    ours, folder = open_checkpoint(pair / MODEL_NAME), open_checkpoint(source.folder)
    assert ImageSettings.from_config(ours.image_processor) == ImageSettings.from_config(folder.image_processor)
    assert VideoSettings.from_config(ours.video_processor) == VideoSettings.from_config(folder.video_processor)
    assert VideoSettings.from_config(ours.video_processor).fps == 1.5
    assert SamplingParams().resolve(ours.generation_config).temperature == 0
    assert SamplingParams(temperature=0.7).resolve(ours.generation_config).temperature == 0.7
    assert ours.chat_template == folder.chat_template == TEMPLATE
    assert set(ours.generation_config["eos_token_id"]) == {token_id("<|im_end|>"), token_id("<|endoftext|>")}
    assert LLM(str(pair / MODEL_NAME), threads=1).max_context == 4096


def test_the_vocabulary(pair: Path, source: TinyCheckpoint) -> None:
    words, file = open_checkpoint(pair / MODEL_NAME).vocabulary, Tokenizer.from_file(source.folder / "tokenizer.json")
    assert words is not None
    ours = Tokenizer.from_vocabulary(words.tokens, words.merges, words.token_types.tolist(), words.pre)
    text = "<|im_start|>user\nthe end, and thé\n<|im_end|>"
    assert ours.encode(text, allow_special=True) == file.encode(text, allow_special=True)
    assert ours.added_tokens == file.added_tokens
    assert ours.special_ids == file.special_ids


def test_types_of_added_tokens(source: TinyCheckpoint, tmp_path: Path) -> None:
    """Markup of the answer is text, what looks like a control token is one, as llama.cpp's converter has it."""
    folder = tmp_path / "hf"
    copytree(source.folder, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    for number, token in enumerate(("<think>", "<|fim_pad|>"), start=280):
        tokenizer["added_tokens"].append({"id": number, "content": token, "special": False})
    edit_json(folder / "tokenizer.json", **tokenizer)
    export_gguf(folder, tmp_path)
    words = open_checkpoint(tmp_path / MODEL_NAME).vocabulary
    assert words is not None
    kinds = dict(zip(words.tokens, words.token_types.tolist(), strict=True))
    assert [kinds[token] for token in ("<think>", "<|fim_pad|>", "<|im_end|>", "[PAD279]", "the")] == [4, 3, 3, 5, 1]


def test_rows_that_are_no_whole_blocks(source: TinyCheckpoint, tmp_path: Path) -> None:
    """They are stored in F16, as llama.cpp's converter does it."""
    narrow = save_hf(tmp_path / "hf", tiny_config(moe=True, vision=True, moe_intermediate_size=24), tokenizer=True)
    export_gguf(narrow.folder, tmp_path / "out")
    types = {name: kind for name, (kind, _, _) in stored(tmp_path / "out" / MODEL_NAME).items()}
    assert types["blk.0.ffn_down_exps.weight"] == "F16"
    assert types["blk.0.ffn_up_exps.weight"] == "Q8_0"
