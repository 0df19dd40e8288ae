"""Folders in the layout of MLX, of every form, torn and hostile ones too."""

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlx_folders as mlx
import numpy as np
import packers
import pytest
import torch
from checkpoints import TinyCheckpoint, edit_json, save_hf, tiny_config, write_shards
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model.harness import BACKENDS, Ours, random_prompt

from qwill.errors import CheckpointError, UserError
from qwill.ops.linear.reference import pack
from qwill.weights.load import open_checkpoint

HALF, BRAIN, SINGLE = torch.float16, torch.bfloat16, torch.float32
NAME = "layers.3.self_attn.o_proj.weight"
DENSE = {"hidden_size": 128, "intermediate_size": 192, "linear_value_head_dim": 32}
MIXTURE = {"hidden_size": 128, "linear_value_head_dim": 32, "num_experts": 3, "moe_intermediate_size": 64}
MIXTURE |= {"shared_expert_intermediate_size": 64}
CASES: dict[str, tuple[packers.Packer, str]] = {
    **{f"{bits} bits of {group}": (mlx.affine(bits, group), f"AFFINE{bits}_{min(group, 64)}")
       for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128)},
    **{f"{bits} bits, F16": (mlx.affine(bits, 64, HALF), name)
       for bits, name in ((2, "Q4_1"), (3, "Q4_1"), (4, "Q4_1"), (5, "Q5_1"), (6, "AFFINE8_32_F16"),
                          (8, "AFFINE8_32_F16"))},
    "F32": (mlx.affine(4, 64, SINGLE), "F32"),
    "mxfp4": (mlx.microscaled("mxfp4"), "MXFP4"),
    "nvfp4": (mlx.microscaled("nvfp4"), "NVFP4"),
    "mxfp8": (mlx.microscaled("mxfp8"), "MXFP8"),
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    return save_hf(tmp_path_factory.mktemp("base"), tiny_config(**DENSE), seed=1)


def folder_of(source: TinyCheckpoint, folder: Path, state: dict[str, torch.Tensor], **quantization: Any) -> Path:
    """A folder beside a checkpoint's own with its configuration and other tensors."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_bytes((source.folder / "config.json").read_bytes())
    mlx.write(folder, state, **quantization)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_values_are_those_of_the_packer(case: str, base: TinyCheckpoint, tmp_path: Path) -> None:
    packer, expected = CASES[case]
    state, values = mlx.quantized(mlx.mlx_layout(base.state), packer, 128 if "128" in case else 64)
    tensors = open_checkpoint(folder_of(base, tmp_path / "mlx", state)).tensors
    tensor = tensors.peek(NAME)
    assert tensor.type.name == expected
    for name, value in (("layers.3.self_attn.o_proj.weight", "layers.3.self_attn.o_proj.weight"),
                        ("embed_tokens.weight", "embed_tokens.weight")):  # fmt: skip
        made = values[f"language_model.model.{value}"].numpy()
        np.testing.assert_array_equal(pack(tensors.peek(name)).array, made)
    np.testing.assert_array_equal(pack(tensors.peek("lm_head.weight")).array, values["language_model.lm_head.weight"])


def test_single_precision_that_is_shorter_is_held_so(base: TinyCheckpoint, tmp_path: Path) -> None:
    for dtype, expected in ((BRAIN, "AFFINE4_64"), (HALF, "Q4_1")):
        state, values = mlx.quantized(mlx.mlx_layout(base.state), mlx.affine(4, 64, dtype))
        longer = {name: each.float() if name.endswith((".scales", ".biases")) else each for name, each in state.items()}
        tensor = open_checkpoint(folder_of(base, tmp_path / "mlx", longer)).tensors.peek(NAME)
        assert tensor.type.name == expected
        np.testing.assert_array_equal(pack(tensor).array, values[f"language_model.model.{NAME}"])


@pytest.mark.parametrize("form", ["not quantized", "4 bits of 64", "3 bits of 32", "4 bits, F16", "mxfp4", "mxfp8"])
@pytest.mark.parametrize(("moe", "more"), [(False, DENSE), (True, MIXTURE)], ids=["dense", "mixture"])
@pytest.mark.parametrize("vision", [False, True], ids=["text", "vision"])
def test_logits_are_those_of_the_values(
    form: str, moe: bool, more: dict[str, Any], vision: bool, tmp_path: Path
) -> None:
    """To the bit where the same NumPy operations compute with both."""
    source = save_hf(tmp_path / "released", tiny_config(moe, vision, **more), seed=2, mtp=True)
    laid_out = mlx.mlx_layout(source.state)
    state, values = (laid_out, laid_out) if form == "not quantized" else mlx.quantized(laid_out, CASES[form][0])
    folder = folder_of(source, tmp_path / "mlx", state)
    if form == "not quantized":
        edit_json(folder / "config.json", quantization=None, quantization_config=None)
    write_shards(source.folder, mlx.released(values, source.state), 1)
    ours, plain = Ours(folder, "reference"), Ours(source.folder, "reference")
    # A norm's 1 that is added and taken off again rounds.
    for name in ("input_layernorm", "post_attention_layernorm"):
        mine, other = (each.checkpoint.tensors.peek(f"layers.0.{name}.weight").float32() for each in (ours, plain))
        np.testing.assert_array_equal(mine, other)
    prompt = random_prompt(np.random.default_rng(3), 24, 288)
    np.testing.assert_array_equal(ours.logits(prompt), plain.logits(prompt))
    assert ours.model.mtp is None
    assert (ours.model.vision is None) == (not vision)
    if vision:
        patches = [each.checkpoint.tensors.peek("visual.patch_embed.proj.weight") for each in (ours, plain)]
        np.testing.assert_array_equal(*(pack(each).array for each in patches))


def test_quantized_weights_in_the_released_layout(base: TinyCheckpoint, tmp_path: Path) -> None:
    """Convolutions with their channels first, so norms without their 1: mlx-lm loads such folders, too."""
    state, values = {}, {}
    for name, tensor in base.state.items():
        state[name] = values[name] = tensor
        if name.endswith("_proj.weight"):
            tensors, made = mlx.affine(4)(tensor)
            del state[name]
            state |= {name.removesuffix(".weight") + ending: each for ending, each in tensors.items()}
            values[name] = made
    folder = folder_of(base, tmp_path / "mlx", state)
    plain = folder_of(base, tmp_path / "plain", values)
    edit_json(plain / "config.json", quantization=None, quantization_config=None)
    prompt = random_prompt(np.random.default_rng(4), 12, 288)
    np.testing.assert_array_equal(Ours(folder, "reference").logits(prompt), Ours(plain, "reference").logits(prompt))


def test_a_factor_of_each_expert(tmp_path: Path) -> None:
    source = save_hf(tmp_path / "released", tiny_config(True, **MIXTURE), seed=5)
    state, values = mlx.quantized(mlx.mlx_layout(source.state), mlx.microscaled("nvfp4"))
    stem = "language_model.model.layers.1.mlp.switch_mlp.up_proj"
    state[f"{stem}.global_scale"] = torch.tensor([1.0, 2688.0, 672.0])
    folder = folder_of(source, tmp_path / "mlx", state)
    tensor = open_checkpoint(folder).tensors.peek("layers.1.mlp.experts.up_proj")
    factors = np.array([1 / 2688, 1, 0.25], np.float32)[:, None, None]
    np.testing.assert_array_equal(pack(tensor).array, values[f"{stem}.weight"].numpy() * factors)
    state[f"{stem}.global_scale"] = torch.ones(3, 2)
    mlx.write(folder, state)
    with pytest.raises(CheckpointError, match=r"up_proj\.global_scale.*expected a number for each expert"):
        open_checkpoint(folder)


def test_a_draft_head_is_left_out(base: TinyCheckpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = mlx.mlx_layout(base.state) | {"language_model.mtp.fc.weight": torch.ones(128, 256)}
    folder = folder_of(base, tmp_path / "mlx", state)
    with caplog.at_level(logging.WARNING, logger="qwill"):
        tensors = open_checkpoint(folder).tensors
    assert "mtp.fc.weight" not in tensors
    (line,) = caplog.messages
    assert line == (
        f"{folder}: language_model.mtp.fc.weight and the rest of the draft head are left out of this MLX folder"
    )


STEM = "language_model.model.layers.3.self_attn.o_proj"
BROKEN: list[tuple[dict[str, Any], str]] = [
    ({".weight": None}, rf"has no {STEM}\.weight beside it"),
    ({".biases": None}, rf"has no {STEM}\.biases beside it"),
    ({".weight": torch.ones(128, 16)}, "is stored as F32, expected U32"),
    ({".weight": torch.zeros(128, 15, dtype=torch.uint32)}, "15 words and 2 scales a row are no codes"),
    ({".scales": torch.ones(128, 3)}, "16 words and 3 scales a row are no codes"),
    ({".scales": torch.ones(127, 2)}, r"has shape \[127, 2\]; .* needs \[128, 2\]"),
    ({".biases": torch.ones(128, 2)}, "is F32, its scales are BF16"),
    ({".biases": torch.ones(128, 1, dtype=BRAIN)}, r"has shape \[128, 1\]"),
    ({".scales": torch.ones(128, 5, dtype=torch.uint8)}, "16 words and 5 scales a row"),
    ({".scales": torch.ones(128, 2, dtype=torch.uint8)}, "16 words and 2 scales a row"),
    ({".scales": torch.full((128, 2), torch.nan, dtype=BRAIN)}, "not finite"),
]


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_what_does_not_fit_is_named(number: int, base: TinyCheckpoint, tmp_path: Path) -> None:
    changes, words = BROKEN[number]
    state, _ = mlx.quantized(mlx.mlx_layout(base.state), mlx.affine(4))
    state |= {f"{STEM}{ending}": each for ending, each in changes.items() if each is not None}
    for ending in (ending for ending, each in changes.items() if each is None):
        del state[f"{STEM}{ending}"]
    folder = folder_of(base, tmp_path / "mlx", state)
    with pytest.raises(CheckpointError, match=words) as raised:
        Ours(folder, BACKENDS[-1] if words == "not finite" else "reference")
    assert "\n" not in str(raised.value)


def test_a_module_that_the_configuration_does_not_know(base: TinyCheckpoint, tmp_path: Path) -> None:
    state, _ = mlx.quantized(mlx.mlx_layout(base.state), mlx.affine(4))
    tensors, _ = mlx.affine(4)(torch.randn(8, 64))
    folder = folder_of(base, tmp_path / "mlx", state | {f"vision_tower.merger.linear_fc1{end}": each
                                                        for end, each in tensors.items()})  # fmt: skip
    with pytest.raises(CheckpointError, match=r"linear_fc1\.weight.*belongs to no part of the model"):
        open_checkpoint(folder)


def test_patch_embeddings_by_their_channels(tmp_path: Path) -> None:
    """First already, as in a tower that was copied, or neither first nor last."""
    source = save_hf(tmp_path / "released", tiny_config(vision=True, **DENSE), seed=6)
    name = "vision_tower.patch_embed.proj.weight"
    state = mlx.mlx_layout(source.state)
    patches = []
    for order in ((0, 1, 2, 3, 4), (0, 4, 1, 2, 3)):
        folder = folder_of(source, tmp_path / "mlx", state | {name: state[name].permute(order)})
        patches.append(pack(open_checkpoint(folder).tensors.peek("visual.patch_embed.proj.weight")).array)
    np.testing.assert_array_equal(*patches)
    mlx.write(folder, state | {name: state[name].permute(0, 1, 2, 4, 3)})
    with pytest.raises(CheckpointError, match=r"patch_embed.*has shape \[32, 2, 16, 3, 16\].* 3 channels"):
        open_checkpoint(folder)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_only_sound_errors_come_out(data: st.DataObject, base: TinyCheckpoint, tmp_path: Path) -> None:
    """Tensors of a module in other shapes and types, missing, or doubled."""
    state, _ = mlx.quantized(mlx.mlx_layout(base.state), data.draw(st.sampled_from([mlx.affine(4), mlx.affine(3, 32)])))
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(state)))
        change = data.draw(st.sampled_from(["drop", "shape", "dtype", "rename"]))
        if change == "drop":
            del state[name]
        elif change == "shape":
            shape = data.draw(st.lists(st.integers(0, 130), max_size=4))
            state[name] = torch.zeros(shape, dtype=state[name].dtype)
        elif change == "dtype":
            dtype = data.draw(st.sampled_from([torch.uint32, torch.uint8, HALF, BRAIN, SINGLE, torch.int64]))
            state[name] = torch.ones(state[name].shape).to(dtype)
        else:
            ending = data.draw(st.sampled_from([".scales", ".biases", ".weight", ".global_scale", ".bias"]))
            state[f"{name.rpartition('.')[0]}{ending}"] = state.pop(name)
    folder = folder_of(base, tmp_path / "mlx", state)
    with suppress(UserError):
        Ours(folder, "reference")


def test_what_config_json_says_of_modules_need_not_be_right(base: TinyCheckpoint, tmp_path: Path) -> None:
    """Shapes say it: as in mixed recipes, whose entries have other names in other versions."""
    state, values = mlx.quantized(mlx.mlx_layout(base.state), mlx.affine(6, 32))
    folder = folder_of(base, tmp_path / "mlx", state, bits=4, group_size=None, mode="affine")
    assert json.loads((folder / "config.json").read_text())["quantization"]["group_size"] is None
    np.testing.assert_array_equal(
        pack(open_checkpoint(folder).tensors.peek(NAME)).array, values[f"language_model.model.{NAME}"]
    )
