"""Reading adapters: what each kind of folder and file means, and what is refused by name."""

import json
import logging
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import TinyCheckpoint, edit_json, save_hf, tiny_config
from gguf_adapters import write_gguf_adapter
from hypothesis import given, settings
from hypothesis import strategies as st
from peft_folders import DENSE, Recipe, save_peft
from safetensors.torch import load_file, save_file

from qwill.errors import CheckpointError, InvalidArgument, ModelNotFound, QwillError, UnsupportedModel
from qwill.weights.adapters.load import open_adapter
from qwill.weights.adapters.spec import Spec, read_spec, read_specs
from qwill.weights.load import open_checkpoint

RANK = 4
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    return save_hf(tmp_path_factory.mktemp("base") / "Qwen3.5-4B", tiny_config(moe=True, vision=True), seed=3)


@pytest.fixture
def adapter(base: TinyCheckpoint, tmp_path: Path) -> Path:
    save_peft(tmp_path / "adapter", base.model, Recipe(DENSE, rank=RANK), 7)
    return tmp_path / "adapter"


def opened(path: Path, base: TinyCheckpoint) -> Any:
    return open_adapter(path, open_checkpoint(base.folder))


def edit(folder: Path, change: Any) -> None:
    state = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    save_file(change(state), folder / WEIGHTS)


@pytest.mark.parametrize(
    ("config", "error", "said"),
    [
        ({"peft_type": "IA3"}, UnsupportedModel, "an adapter of type IA3; only LORA"),
        ({"peft_type": "LOHA"}, UnsupportedModel, "of type LOHA"),
        ({"peft_type": "PREFIX_TUNING"}, UnsupportedModel, "of type PREFIX_TUNING"),
        ({"peft_type": "ADALORA"}, UnsupportedModel, "of type ADALORA"),
        ({"peft_type": None}, UnsupportedModel, "of type None"),
        ({"task_type": "SEQ_CLS"}, UnsupportedModel, "trained for SEQ_CLS"),
        ({"alora_invocation_tokens": [1, 2]}, UnsupportedModel, "alora_invocation_tokens is an activated LoRA"),
        ({"use_qalora": True}, UnsupportedModel, "use_qalora is QALoRA"),
        ({"layer_replication": [[0, 2]]}, UnsupportedModel, "layers that are repeated"),
        ({"lora_alpha": None}, CheckpointError, "lora_alpha must be a number, found None"),
        ({"lora_alpha": 10**400}, CheckpointError, "lora_alpha must be a number"),
        ({"alpha_pattern": {"(": 3}}, CheckpointError, "is no expression"),
        ({"alpha_pattern": [3]}, CheckpointError, "alpha_pattern is no object"),
        ({"trainable_token_indices": {"embed_tokens": "all"}}, CheckpointError, "no lists of token ids"),
    ],
)
def test_configurations_that_are_refused(
    config: dict[str, Any], error: type[QwillError], said: str, adapter: Path, base: TinyCheckpoint
) -> None:
    written = json.loads((adapter / CONFIG).read_text()) | config
    (adapter / CONFIG).write_text(json.dumps(written))
    with pytest.raises(error, match=said):
        opened(adapter, base)


def renamed(old: str, new: str) -> Any:
    return lambda state: {name.replace(old, new): tensor for name, tensor in state.items()}


def added(name: str, *shape: int) -> Any:
    return lambda state: state | {f"base_model.model.model.{name}": torch.ones(shape)}


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (renamed("q_proj", "qq_proj"), CheckpointError, "belongs to no part of this model"),
        (renamed("layers.3", "layers.9"), CheckpointError, r"layers\.9\S+ of shape .*has no such tensor.*tiny"),
        (added("language_model.layers.0.linear_attn.conv1d.lora_A.weight", 9, 1, 4), UnsupportedModel, "conv1d are"),
        (added("language_model.layers.0.linear_attn.in_proj_z.lora_diag", 4), UnsupportedModel, "a kind of LoRA that"),
        (added("language_model.layers.3.self_attn.q_proj.lora_A.other.weight", 4, 64), CheckpointError, "stands twice"),
        (added("language_model.layers.0.mlp.experts.lora_A.weight", 5, 64), CheckpointError, "no lora_B beside it"),
        (lambda state: {name: tensor[:, :-1].contiguous() for name, tensor in state.items()}, CheckpointError, "shape"),
        (lambda state: {name: tensor * torch.nan for name, tensor in state.items()}, CheckpointError, "not finite"),
        (lambda state: {name: tensor[:0] for name, tensor in state.items()}, CheckpointError, "were not gathered"),
        (lambda state: {name: tensor.double() for name, tensor in state.items()}, UnsupportedModel, "stored as F64"),
        (lambda state: {}, CheckpointError, "changes nothing"),
    ],
)  # fmt: skip
def test_tensors_that_are_refused(
    change: Any, error: type[QwillError], said: str, adapter: Path, base: TinyCheckpoint
) -> None:
    edit(adapter, change)
    with pytest.raises(error, match=said):
        opened(adapter, base)


def test_of_another_base_by_its_shapes(base: TinyCheckpoint, tmp_path: Path) -> None:
    other = save_hf(tmp_path / "other", tiny_config(hidden_size=96), seed=4)
    save_peft(tmp_path / "adapter", other.model, Recipe(["q_proj"], config={"base_model_name_or_path": "some/one"}), 7)
    said = (
        r"layers\.3\S*lora_A\.weight\) is made|layers\.3\.self_attn\.q_proj\.weight of shape \[256, 96\], the model has"
    )
    with pytest.raises(CheckpointError, match=said) as raised:
        opened(tmp_path / "adapter", base)
    assert "[256, 64]; the adapter was made for another model (some/one)" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "warns"),
    [
        ("Qwen/Qwen3.5-4B", False), ("unsloth/qwen3.5-4b-unsloth-bnb-4bit", False), ("/models/Qwen3.5-4B-Base", True),
        ("Qwen/Qwen3.6-4B", True), ("Qwen/Qwen3.5-9B", True), ("my/model", False), ("", False),
    ],
)  # fmt: skip
def test_its_words_about_its_base(
    name: str, warns: bool, adapter: Path, base: TinyCheckpoint, caplog: pytest.LogCaptureFixture
) -> None:
    edit_json(adapter / CONFIG, base_model_name_or_path=name)
    with caplog.at_level(logging.WARNING, "qwill"):
        opened(adapter, base)
    assert ("shapes fit, answers may be worse" in caplog.text) == warns


def test_places_that_are_no_adapters(base: TinyCheckpoint, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no such adapter"):
        opened(tmp_path / "nowhere", base)
    with pytest.raises(CheckpointError, match=r"has no adapter_config\.json"):
        opened(base.folder, base)
    (adapter / WEIGHTS).rename(adapter / "adapter_model.bin")
    with pytest.raises(UnsupportedModel, match="is a pickle"):
        opened(adapter, base)
    (adapter / "adapter_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"has no adapter_model\.safetensors"):
        opened(adapter, base)


def test_an_adapter_is_no_model(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is a LoRA adapter, not a model; give the model .* and --lora"):
        open_checkpoint(adapter)
    write_gguf_adapter(tmp_path / "adapter.gguf", "qwen35", {}, 1.0)
    with pytest.raises(CheckpointError, match=r"is an adapter \(LoRA\), no model"):
        open_checkpoint(tmp_path / "adapter.gguf")


@pytest.mark.parametrize(
    ("architecture", "more", "error", "said"),
    [
        ("qwen35", {}, CheckpointError, "an adapter for qwen35, this model is qwen35moe"),
        ("llama", {}, CheckpointError, "an adapter for llama"),
        ("qwen35moe", {"adapter_type": "control"}, UnsupportedModel, "of type 'control'"),
        ("qwen35moe", {"general_type": "model"}, InvalidArgument, "is a model, no adapter"),
        ("qwen35moe", {"adapter__alora__invocation_tokens": [1, 2]}, UnsupportedModel, "an activated LoRA"),
    ],
)
def test_gguf_files_that_are_refused(
    architecture: str, more: Any, error: type[QwillError], said: str, base: TinyCheckpoint, tmp_path: Path
) -> None:
    pair = (np.ones((2, 64)), np.ones((256, 2)))
    write_gguf_adapter(tmp_path / "a.gguf", architecture, {"blk.3.attn_q.weight": pair}, 2.0, **more)
    with pytest.raises(error, match=said):
        opened(tmp_path / "a.gguf", base)


@pytest.mark.parametrize(
    ("name", "pair", "said"),
    [
        ("blk.3.attn_q.weight", ((2, 64), (255, 2)), r"\[255, 64\], the model has \[256, 64\]"),
        ("blk.3.attn_q.weight", ((2, 64), (256, 3)), "the pair has shapes"),
        ("blk.7.attn_q.weight", ((2, 64), (256, 2)), "not supported|no such tensor"),
        ("blk.0.ssm_conv1d.weight", ((2, 4), (128, 2)), r"of blk\.0\.ssm_conv1d\.weight are not supported"),
        ("blk.0.nothing.weight", ((2, 4), (128, 2)), "belongs to no part"),
    ],
)
def test_gguf_tensors_that_are_refused(
    name: str, pair: tuple[Any, Any], said: str, base: TinyCheckpoint, tmp_path: Path
) -> None:
    write_gguf_adapter(tmp_path / "a.gguf", "qwen35moe", {name: tuple(map(np.ones, pair))}, 2.0)
    with pytest.raises(CheckpointError, match=said):
        opened(tmp_path / "a.gguf", base)


def test_specs(tmp_path: Path) -> None:
    folder = tmp_path / "a=b"
    folder.mkdir()
    assert read_spec("x/y") == Spec(Path("x/y"))
    assert read_spec("x/y=0.5") == Spec(Path("x/y"), 0.5)
    assert read_spec("name=x/y=-2e-1") == Spec(Path("x/y"), -0.2, "name")
    assert read_spec("name=x/y") == Spec(Path("x/y"), 1.0, "name")
    assert read_spec(str(folder)) == Spec(folder)
    assert read_spec(f"{folder}=3") == Spec(folder, 3.0)
    assert read_specs({"n": f"{folder}=3"}) == [Spec(folder, 3.0, "n")]
    assert read_specs(None) == read_specs([]) == []
    for text in ("", "=x", "=1", "name=", "x=1e9"):
        with pytest.raises(InvalidArgument):
            read_spec(text)
    with pytest.raises(InvalidArgument, match="two adapters are called a"):
        read_specs(["a=x", "a=y"])


@settings(max_examples=60)
@given(data=st.data())
def test_torn_and_hostile_files(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever a file says, only errors of ours come out."""
    root = tmp_path_factory.getbasetemp() / "hostile"
    if not root.exists():
        made = save_hf(root / "base", tiny_config(moe=True), seed=3)
        save_peft(root / "whole", made.model, Recipe(["q_proj"], dora=True), 7)
        pair = (np.ones((2, 64)), np.ones((256, 2)))
        write_gguf_adapter(root / "whole.gguf", "qwen35moe", {"blk.3.attn_q.weight": pair}, 2.0)
    checkpoint = open_checkpoint(root / "base")
    shutil.rmtree(root / "torn", ignore_errors=True)
    shutil.copytree(root / "whole", root / "torn")
    shutil.copy(root / "whole.gguf", root / "torn" / "a.gguf")
    target = data.draw(st.sampled_from([WEIGHTS, CONFIG, "a.gguf"]))
    content = bytearray((root / "torn" / target).read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, min(len(content), 1500) - 1))
        content[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(content)))
    (root / "torn" / target).write_bytes(content[: end if data.draw(st.booleans()) else None])
    path = root / "torn" / target if target == "a.gguf" else root / "torn"
    with suppress(QwillError):
        open_adapter(path, checkpoint)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=80)
@given(
    changes=st.dictionaries(
        st.sampled_from(
            [
                "lora_alpha",
                "alpha_pattern",
                "trainable_token_indices",
                "peft_version",
                "use_rslora",
                "base_model_name_or_path",
                "task_type",
                "peft_type",
            ]
        ),
        JSON,
        max_size=3,
    )
)
def test_configurations_of_any_kind(changes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.getbasetemp() / "any"
    if not root.exists():
        made = save_hf(root / "base", tiny_config(), seed=3)
        save_peft(root / "adapter", made.model, Recipe(["q_proj"]), 7)
        shutil.copy(root / "adapter" / CONFIG, root / "config.json")
    written = json.loads((root / "config.json").read_text()) | changes
    (root / "adapter" / CONFIG).write_text(json.dumps(written))
    with suppress(QwillError):
        open_adapter(root / "adapter", open_checkpoint(root / "base"))
