"""The table of shapes against files, transformers, and what it refuses."""

import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from checkpoints import save_hf, tiny_config
from gguf_checkpoints import save_gguf

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.fit.family import distinct_members, family_config
from qwill.model.config import model_config
from qwill.model.parameters import parameter_count
from qwill.weights.gguf.file import read_gguf
from qwill.weights.load import open_checkpoint
from qwill.weights.names import Kind, place_hf
from qwill.weights.shapes import layer_types, text_shapes, vision_shapes

DEMO = Path(__file__).parents[2] / "src" / "qwill" / "demo"
VARIANTS: dict[str, dict[str, Any]] = {
    "dense": {},
    "tied": {"tie_word_embeddings": True, "num_hidden_layers": 5},
    "vision": {"vision": True, "linear_num_value_heads": 6},
    "experts": {"moe": True, "vision": True, "layer_types": ["full_attention", "linear_attention"] * 2},
}


def sizes(rng: np.random.Generator, moe: bool) -> dict[str, int]:
    """Sizes of no pattern, so that none can stand for another."""
    heads, key_heads = (int(rng.integers(1, 4)) for _ in range(2))
    names = ("moe_intermediate_size", "shared_expert_intermediate_size") if moe else ("intermediate_size",)
    return {
        "num_key_value_heads": heads,
        "num_attention_heads": heads * int(rng.integers(1, 4)),
        "linear_num_key_heads": key_heads,
        "linear_num_value_heads": key_heads * int(rng.integers(1, 4)),
        "linear_key_head_dim": 8 * int(rng.integers(1, 4)),
        "linear_value_head_dim": 8 * int(rng.integers(1, 4)),
        "hidden_size": 32 + int(rng.integers(0, 40)),
        **{name: int(rng.integers(20, 90)) for name in names},
    }


@pytest.mark.parametrize("mtp", [False, True], ids=["plain", "drafts"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_files_hold_these_tensors(variant: str, mtp: bool, tmp_path: Path) -> None:
    """Released layout under canonical names, GGUF under its own, both written without the table."""
    seed = secrets.randbits(32)
    print("seed", seed)
    overrides = sizes(np.random.default_rng(seed), "moe" in VARIANTS[variant]) | VARIANTS[variant]
    source = save_hf(tmp_path / "hf", tiny_config(**overrides), mtp=mtp)
    has_vision = "vision" in overrides
    save_gguf(tmp_path / "model.gguf", source, mmproj=tmp_path / "mmproj.gguf" if has_vision else None)
    checkpoint = open_checkpoint(tmp_path / "hf")
    config = checkpoint.config
    text = text_shapes(config.get("text_config", config))
    tower = vision_shapes(config["vision_config"]) if has_vision else []
    whole = {shape.name: shape.shape for shape in [*text, *tower]}
    if has_vision:  # a canonical patch embedding has the columns of both slices
        rows, columns = whole["visual.patch_embed.proj.weight"]
        whole["visual.patch_embed.proj.weight"] = (rows, 2 * columns)
    assert {tensor.name: tensor.shape for tensor in checkpoint.tensors} == whole
    for name, shapes in (("model", text), ("mmproj", tower)):
        if shapes:
            found = {tensor.name: tensor.shape for tensor in read_gguf(tmp_path / f"{name}.gguf").tensors.values()}
            assert {shape.gguf: shape.stored for shape in shapes} == found
    assert all(shape.elements == np.prod(shape.stored) for shape in [*text, *tower])


def test_the_demonstration_model_holds_these_tensors() -> None:
    """Files that another writer made."""
    config = open_checkpoint(DEMO / "demo.gguf").config
    for name, shapes in (
        ("demo.gguf", text_shapes(config["text_config"])),
        ("mmproj-demo.gguf", vision_shapes(config["vision_config"])),
    ):
        found = {tensor.name: tensor.shape for tensor in read_gguf(DEMO / name).tensors.values()}
        assert {shape.gguf: shape.stored for shape in shapes} == found


@pytest.mark.parametrize("member", ["Qwen3.5-0.8B", "Qwen3.5-27B", "Qwen3.5-35B-A3B"])
def test_transformers_builds_these_tensors(member: str) -> None:
    """In true shape, without memory. The draft head is no part of its model."""
    config = family_config(member)
    kind = "Qwen3_5Moe" if "num_experts" in config["text_config"] else "Qwen3_5"
    with torch.device("meta"):
        model = getattr(transformers, f"{kind}ForConditionalGeneration")(
            getattr(transformers, f"{kind}Config").from_dict(config)
        )
    found: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        place = place_hf(name)
        assert place is not None, name
        if place.kind is Kind.GATE_UP:
            for half in ("gate_proj", "up_proj"):
                found[place.name.replace("gate_up_proj", half)] = parameter.numel() // 2
        else:
            found[place.name] = parameter.numel()
    wanted: dict[str, int] = {}
    text = config["text_config"] | {"mtp_num_hidden_layers": 0}
    for shape in [*text_shapes(text), *vision_shapes(config["vision_config"])]:
        wanted[shape.name] = wanted.get(shape.name, 0) + shape.elements
    assert wanted == found


@pytest.mark.parametrize("member", distinct_members())
def test_every_parameter_is_counted(member: str) -> None:
    config = family_config(member)
    text = text_shapes(config["text_config"])
    drafts = sum(shape.elements for shape in text if shape.name.startswith("mtp."))
    count = parameter_count(model_config(config))
    assert sum(shape.elements for shape in text) - drafts == count.text
    assert drafts == count.mtp
    vision = vision_shapes(config["vision_config"]) if "vision_config" in config else []
    assert sum(shape.elements for shape in vision) == count.vision


def test_as_many_tensors_as_published() -> None:
    """GGUF files without draft head."""
    counts = {"0.8B": 320, "2B": 320, "4B": 426, "9B": 427, "27B": 851, "35B-A3B": 733, "122B-A10B": 879}
    for member, count in (counts | {"397B-A17B": 1098}).items():
        text = family_config(f"Qwen3.5-{member}")["text_config"] | {"mtp_num_hidden_layers": 0}
        assert len(text_shapes(text)) == count


def test_names_are_unique_and_blocks_follow_each_other() -> None:
    shapes = text_shapes(family_config("Qwen3.5-397B-A17B")["text_config"])
    assert len({shape.gguf for shape in shapes}) == len({shape.name for shape in shapes}) == len(shapes)
    drafts = {shape.gguf.split(".")[1] for shape in shapes if shape.name.startswith("mtp.")}
    assert drafts == {"60"}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"hidden_size": None}, CheckpointError, "hidden_size must be a positive integer, found None"),
        ({"vocab_size": 0}, CheckpointError, "vocab_size must be a positive integer, found 0"),
        ({"num_hidden_layers": "24"}, CheckpointError, "num_hidden_layers must be a positive integer, found '24'"),
        ({"intermediate_size": True}, CheckpointError, "intermediate_size must be a positive integer, found True"),
        ({"layer_types": ["full_attention"]}, CheckpointError, "layer_types has 1 entries for 24 layers"),
        ({"layer_types": ["mamba"] * 24}, UnsupportedModel, "layer type 'mamba' is not supported"),
    ],
)
def test_senseless_configurations(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        text_shapes(family_config("Qwen3.5-0.8B")["text_config"] | change)


def test_senseless_towers() -> None:
    vision = family_config("Qwen3.5-0.8B")["vision_config"]
    with pytest.raises(UnsupportedModel, match="temporal_patch_size 3 is not supported, only 2"):
        vision_shapes(vision | {"temporal_patch_size": 3})
    with pytest.raises(CheckpointError, match="depth must be a positive integer"):
        vision_shapes({key: value for key, value in vision.items() if key != "depth"})


def test_layer_types() -> None:
    assert layer_types({"num_hidden_layers": 6, "full_attention_interval": 3}) == 2 * (
        2 * ["linear_attention"] + ["full_attention"]
    )
