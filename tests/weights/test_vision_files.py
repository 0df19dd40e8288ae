"""Which vision file is taken where several lie beside a model, and what is said of the others."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from canonical import by_name
from checkpoints import TinyCheckpoint, save_hf, tiny_config
from gguf_checkpoints import copy_fields, finish, save_gguf, save_mmproj

from qwill.cli import main
from qwill.errors import CheckpointError
from qwill.fit.family import family_config, members
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.gguf.identity import Identity
from qwill.weights.gguf.vision_files import TOWER_BLOCKS
from qwill.weights.load import open_checkpoint


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> list[TinyCheckpoint]:
    """Models of one shape with different weights."""
    folder = tmp_path_factory.mktemp("towers")
    return [save_hf(folder / str(seed), tiny_config(vision=True), seed=seed) for seed in (11, 12, 13)]


def holds_tower_of(checkpoint: Checkpoint, source: TinyCheckpoint) -> bool:
    found = by_name(checkpoint.tensors)["visual.pos_embed.weight"].float32()
    return np.array_equal(found, source.state["model.visual.pos_embed.weight"].float().numpy())


def vision_file(checkpoint: Checkpoint) -> str:
    return Path(checkpoint.tensors.peek("visual.pos_embed.weight").source.rpartition(" (")[0]).name


def named(name: str, **others: str) -> dict[str, Any]:
    return {"general.name": name} | {f"general.{key}": value for key, value in others.items()}


# name of the model's file, its metadata; name and metadata of the wrong vision file; of the right one
PAIRS: dict[str, tuple[str, dict[str, str], str, dict[str, str], str, dict[str, str]]] = {
    "file names": (
        "Qwen3.5-35B-A3B-Q4_K_M.gguf", {}, "mmproj-Qwen3.5-2B-F16.gguf", {}, "mmproj-Qwen3.5-35B-A3B-F16.gguf", {},
    ),
    "names in the metadata": (
        "a.gguf", named("Qwen3.5 397B A17B"),
        "mmproj-1.gguf", named("Qwen3.5 9B"), "mmproj-2.gguf", named("Qwen3.5 397B A17B"),
    ),
    "base names and labels": (
        "a.gguf", {"general.basename": "Qwen3.5", "general.size_label": "9B"},
        "mmproj-1.gguf", {"general.basename": "Qwen3.5", "general.size_label": "397B-A17B"},
        "mmproj-2.gguf", {"general.basename": "Qwen3.5", "general.size_label": "9B"},
    ),
    "a label that was counted": (
        "a.gguf", {"general.size_label": "34.7B"}, "mmproj-1.gguf", named("Qwen3.5 2B"),
        "mmproj-2.gguf", named("Qwen3.5 35B A3B", size_label="447M"),
    ),
    "metadata of the model, name of the file": (
        "model.gguf", named("Qwen3.5 2B"), "Qwen3.5-35B-A3B-mmproj-f16.gguf", {}, "Qwen3.5-2B.mmproj-f16.gguf", {},
    ),
    "versions": (
        "Qwen_Qwen3.6-27B-Q4_K_M.gguf", {}, "mmproj-Qwen3.5-27B-f16.gguf", {}, "mmproj-Qwen_Qwen3.6-27B-f16.gguf", {},
    ),
    "the base of a finetune": (
        "Coder-Q4_K_M.gguf", named("Coder") | {"general.base_model.0.name": "Qwen3.5 9B"},
        "mmproj-Qwen3.5-397B-A17B-F16.gguf", {}, "mmproj-Qwen3.5-9B-F16.gguf", {},
    ),
    "a finetune with a tower of its own": (
        "Coder-Q4_K_M.gguf", named("Coder") | {"general.base_model.0.name": "Qwen3.5 9B"},
        "mmproj-1.gguf", named("Qwen3.5 9B"),
        "mmproj-2.gguf", named("Coder") | {"general.base_model.0.name": "Qwen3.5 9B"},
    ),
    "the plain one for a finetune without": (
        "Qwen3.5-9B-abliterated.i1-Q4_K_M.gguf", {},
        "Qwen3.5-9B-Writer.mmproj-f16.gguf", {}, "Qwen3.5-9B.mmproj-Q8_0.gguf", {},
    ),
    "other words": ("alpha-Q8_0.gguf", {}, "mmproj-beta-f16.gguf", {}, "MMPROJ-alpha-Q8_0.gguf", {}),
    "no name beside the right one": ("alpha.gguf", {}, "mmproj-BF16.gguf", {}, "mmproj-alpha-f32.gguf", {}),
}  # fmt: skip


@pytest.mark.parametrize("case", PAIRS)
def test_names_decide_between_towers_of_one_width(case: str, towers: list[TinyCheckpoint], tmp_path: Path) -> None:
    model, metadata, wrong, wrong_metadata, right, right_metadata = PAIRS[case]
    save_gguf(tmp_path / model, towers[0], metadata=metadata)
    save_mmproj(tmp_path / wrong, towers[1], metadata=wrong_metadata)
    save_mmproj(tmp_path / right, towers[0], metadata=right_metadata)
    checkpoint = open_checkpoint(tmp_path / model)
    assert vision_file(checkpoint) == right
    assert holds_tower_of(checkpoint, towers[0])


@pytest.mark.parametrize("names", [("mmproj-a.gguf", "mmproj-b.gguf"), ("mmproj-BF16.gguf", "mmproj-F16.gguf")])
def test_undecided_is_refused_and_a_named_one_is_taken(
    names: tuple[str, str], towers: list[TinyCheckpoint], tmp_path: Path
) -> None:
    save_gguf(tmp_path / "c.gguf", towers[0])
    for name, tower in zip(names, towers, strict=False):
        save_mmproj(tmp_path / name, tower)
    with pytest.raises(CheckpointError, match=r"c\.gguf: several vision files would do.*--mmproj FILE") as caught:
        open_checkpoint(tmp_path / "c.gguf")
    assert all(name in str(caught.value) for name in names)
    for name, tower in zip(names, towers, strict=False):
        assert holds_tower_of(open_checkpoint(tmp_path / "c.gguf", tmp_path / name), tower)


def test_one_name_of_two_towers_is_a_question(towers: list[TinyCheckpoint], tmp_path: Path) -> None:
    save_gguf(tmp_path / "Qwen3.5-4B-Q4_K_M.gguf", towers[0])
    for name, tower in zip(("mmproj-F16.gguf", "mmproj-BF16.gguf"), towers, strict=False):
        save_mmproj(tmp_path / name, tower, metadata=named("Qwen3.5 4B"))
    with pytest.raises(CheckpointError, match="several vision files would do"):
        open_checkpoint(tmp_path / "Qwen3.5-4B-Q4_K_M.gguf")


def test_one_tower_under_several_names_is_no_question(towers: list[TinyCheckpoint], tmp_path: Path) -> None:
    save_gguf(tmp_path / "c.gguf", towers[0])
    for name in ("a-mmproj-Q8_0.gguf", "mmproj-b-F16.gguf"):
        save_mmproj(tmp_path / name, towers[1])
    assert vision_file(open_checkpoint(tmp_path / "c.gguf")) == "mmproj-b-F16.gguf"


@pytest.mark.parametrize("shared", [{}, named("Qwen3.5 2B")], ids=["unnamed", "named"])
def test_of_one_model_the_preferred_type_is_taken(
    shared: dict[str, str], towers: list[TinyCheckpoint], tmp_path: Path
) -> None:
    save_gguf(tmp_path / "m.gguf", towers[0], metadata=shared)
    order = [
        ("mmproj-Q8_0.gguf", "F32"),
        ("mmproj-F32.gguf", "F32"),
        ("x.mmproj-f16.gguf", "F16"),
        ("y.mmproj.gguf", "BF16"),
    ]
    for name, types in order:
        save_mmproj(tmp_path / name.replace("x.", "").replace("y.", ""), towers[0], types, shared)
        assert vision_file(open_checkpoint(tmp_path / "m.gguf")) == name.replace("x.", "").replace("y.", "")


@pytest.mark.parametrize(
    "name",
    ["m.mmproj-f16.gguf", "m-mmproj-BF16.gguf", "MMPROJ-m.gguf", "mmproj.GGUF", "m_mmproj.gguf", "mmproj/m.gguf"],
)
def test_every_spelling_is_found(name: str, towers: list[TinyCheckpoint], tmp_path: Path) -> None:
    save_gguf(tmp_path / "m.gguf", towers[0])
    (tmp_path / name).parent.mkdir(exist_ok=True)
    save_mmproj(tmp_path / name, towers[0])
    assert holds_tower_of(open_checkpoint(tmp_path / "m.gguf"), towers[0])


@pytest.mark.parametrize("folder", ["Q4_K_M", "UD-Q4_K_XL", "Qwen_Qwen3.5-9B-bf16"])
def test_the_folder_above_that_of_a_quantization(folder: str, towers: list[TinyCheckpoint], tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    save_gguf(tmp_path / folder / "m.gguf", towers[0], mmproj=tmp_path / "mmproj-F16.gguf")
    assert holds_tower_of(open_checkpoint(tmp_path / folder / "m.gguf"), towers[0])


def test_no_other_folder_above(towers: list[TinyCheckpoint], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    save_gguf(tmp_path / "mine" / "m.gguf", towers[0], mmproj=tmp_path / "mmproj-F16.gguf")
    assert "vision_config" not in open_checkpoint(tmp_path / "mine" / "m.gguf").config


OTHERS = {
    "of another member": (named("Qwen3.5 2B"), r"of qwen3\.5-2b, the model is qwen3\.5-35b-a3b"),
    "of another version": (named("Qwen3.6 35B A3B"), r"of qwen3\.6-35b-a3b, the model is qwen3\.5-35b-a3b"),
    "of another width": ({"clip.vision.projection_dim": 96}, "is for a model of hidden size 96, this one has 64"),
    "of another family": ({"clip.projector_type": "mlp"}, "vision projector 'mlp' is not supported"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_one_of_another_model_is_a_note(
    case: str, towers: list[TinyCheckpoint], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metadata, words = OTHERS[case]
    save_gguf(tmp_path / "Qwen3.5-35B-A3B-Q8_0.gguf", towers[0])
    save_mmproj(tmp_path / "mmproj-F16.gguf", towers[1], metadata=metadata)
    assert "vision_config" not in open_checkpoint(tmp_path / "Qwen3.5-35B-A3B-Q8_0.gguf").config
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert re.search(rf"mmproj-F16\.gguf \({words}", record.message)
    caplog.clear()
    save_mmproj(tmp_path / "mmproj-Q8_0.gguf", towers[0])  # says nothing and fits
    assert holds_tower_of(open_checkpoint(tmp_path / "Qwen3.5-35B-A3B-Q8_0.gguf"), towers[0])
    assert not caplog.records


def test_a_member_is_known_by_its_shape(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file without names beside a model without names: the 2B has 24 blocks, the 35B is as wide and has 27."""
    source = save_hf(
        tmp_path / "hf",
        tiny_config(vision=True, hidden_size=2048, num_hidden_layers=24, intermediate_size=32, vocab_size=288),
    )
    save_gguf(tmp_path / "m.gguf", source, mmproj=tmp_path / "mmproj-F16.gguf")
    assert "vision_config" not in open_checkpoint(tmp_path / "m.gguf").config
    assert "has 2 blocks, the tower of this member 24" in caplog.text


def test_the_towers_of_members() -> None:
    configs = [config for config in map(family_config, members()) if "vision_config" in config]
    shapes = {
        (config["text_config"]["hidden_size"], config["text_config"]["num_hidden_layers"]): config["vision_config"][
            "depth"
        ]
        for config in configs
    }
    assert shapes.items() <= TOWER_BLOCKS.items()


def test_a_damaged_one_is_a_note(
    towers: list[TinyCheckpoint], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_gguf(tmp_path / "m.gguf", towers[0], mmproj=tmp_path / "mmproj-F16.gguf")
    whole = (tmp_path / "mmproj-F16.gguf").read_bytes()
    for length in (0, 3, 1000, len(whole) - 1):
        caplog.clear()
        (tmp_path / "mmproj-F16.gguf").write_bytes(whole[:length])
        assert "vision_config" not in open_checkpoint(tmp_path / "m.gguf").config
        assert "a vision file is left aside" in caplog.text
        assert str(tmp_path / "mmproj-F16.gguf") in caplog.text
    caplog.clear()
    save_mmproj(tmp_path / "mmproj-Q8_0.gguf", towers[0])
    assert holds_tower_of(open_checkpoint(tmp_path / "m.gguf"), towers[0])
    assert "mmproj-F16.gguf" in caplog.text


@pytest.mark.parametrize(
    ("leave_out", "words"),
    [
        ("v.blk.1.ffn_up.bias", "is missing"),
        ("v.patch_embd.weight.1", "is missing"),
        ("clip.vision.patch_size", "patch_size is"),
    ],
)
def test_an_incomplete_one_is_a_note(
    leave_out: str, words: str, towers: list[TinyCheckpoint], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_gguf(tmp_path / "m.gguf", towers[0], mmproj=tmp_path / "whole.gguf")
    whole = gguf.GGUFReader(tmp_path / "whole.gguf")
    writer = gguf.GGUFWriter(tmp_path / "mmproj.gguf", "clip")
    copy_fields(whole, writer, leave_out)
    for tensor in whole.tensors:
        if tensor.name != leave_out:
            writer.add_tensor(tensor.name, tensor.data)
    finish(writer)
    assert "vision_config" not in open_checkpoint(tmp_path / "m.gguf").config
    assert leave_out in caplog.text
    assert words in caplog.text


def test_any_damage_is_a_note_or_no_matter(
    towers: list[TinyCheckpoint], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Bytes of the header are changed at random: whatever becomes of the tower, the model is opened."""
    caplog.set_level(logging.CRITICAL)
    rng = np.random.default_rng()
    save_gguf(tmp_path / "m.gguf", towers[0], mmproj=tmp_path / "mmproj.gguf")
    whole = (tmp_path / "mmproj.gguf").read_bytes()
    for _ in range(80):
        damaged = bytearray(whole)
        for place in rng.integers(0, 2400, 3):
            damaged[place] = int(rng.integers(256))
        (tmp_path / "mmproj.gguf").write_bytes(damaged)
        open_checkpoint(tmp_path / "m.gguf")


@pytest.mark.parametrize("key", ["clip.projector_type", "clip.vision.block_count", "general.name", "general.type"])
def test_keys_of_another_type_are_a_note(key: str, towers: list[TinyCheckpoint], tmp_path: Path) -> None:
    save_gguf(tmp_path / "m.gguf", towers[0])
    for value in ([1, 2], 7.5, ["a", "b"], True):
        save_mmproj(tmp_path / "mmproj.gguf", towers[0], metadata={key: value})
        seen = "vision_config" in open_checkpoint(tmp_path / "m.gguf").config
        assert seen is key.startswith("general.")


def test_a_named_one_of_another_model_is_used_with_a_note(
    towers: list[TinyCheckpoint], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_gguf(tmp_path / "Qwen3.5-9B-Q8_0.gguf", towers[0])
    save_mmproj(tmp_path / "mmproj.gguf", towers[1], metadata=named("Qwen3.5 397B A17B"))
    checkpoint = open_checkpoint(tmp_path / "Qwen3.5-9B-Q8_0.gguf", tmp_path / "mmproj.gguf")
    assert holds_tower_of(checkpoint, towers[1])
    assert (
        "says that it is of qwen3.5-397b-a17b, and the model that it is qwen3.5-9b; it is used as told" in caplog.text
    )


def test_inspect_names_the_vision_file(
    towers: list[TinyCheckpoint], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_gguf(tmp_path / "m.gguf", towers[0], mmproj=tmp_path / "m.mmproj-f32.gguf")
    assert main(["inspect", str(tmp_path / "m.gguf"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["vision"]["file"] == str(tmp_path / "m.mmproj-f32.gguf")
    assert main(["inspect", str(tmp_path / "m.gguf")]) == 0
    assert "m.mmproj-f32.gguf" in "".join(capsys.readouterr().out.split())
    assert main(["inspect", str(towers[0].folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["vision"]["file"] is None


@pytest.mark.parametrize(
    ("one", "other", "contradicts"),
    [
        ("qwen3.5-9b", "qwen3.5-397b-a17b", True), ("qwen3.5-9b", "qwen3.5-9b-coder", False),
        ("qwen3.5-4b", "4.2b", False), ("qwen3.5-27b", "qwen3.6-27b", True), ("qwen3.5", "qwen3.5-2b", False),
        ("256x2.6b", "qwen3.5-2b", False), ("qwen3.5-35b-a3b", "qwen3.5-2b", True),
        ("qwen3.5-28b-a3b-pruned", "qwen3.5-35b-a3b", False),
        ("447m", "9b", False),
        ("qwen3.8-2.4t-a95b", "2400b", False), ("", "9b", False),
    ],
)  # fmt: skip
def test_what_names_contradict(one: str, other: str, contradicts: bool) -> None:
    first, second = Identity((one,), ()), Identity((other,), ())
    assert first.contradicts(second) is second.contradicts(first) is contradicts
