"""Folders in released layout, against the transformers models that they were saved from."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from canonical import array, by_name, decoded, expected
from checkpoints import edit_json, save_hf, tiny_config, tiny_model, write_shards

from qwill.errors import CheckpointError, ModelNotFound, UnsupportedModel
from qwill.quant.types import TYPES
from qwill.weights.checkpoint import memory_needed
from qwill.weights.load import open_checkpoint

VARIANTS = {
    "dense": ({}, {"mtp": True}),
    "tied": ({"tie_word_embeddings": True}, {}),
    "vision": ({"vision": True}, {"mtp": True, "shards": 3}),
    "moe": ({"moe": True}, {"mtp": True}),
    "moe-vision-each": ({"moe": True, "vision": True}, {"mtp": True, "packed": False, "shards": 2}),
    "fp8": ({"moe": True, "hidden_size": 160, "moe_intermediate_size": 96}, {"mtp": True, "fp8": True}),
    "three-v-heads": ({"linear_num_value_heads": 6}, {}),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=["f32", "bf16", "f16"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_values_equal_the_released_ones(variant: str, dtype: torch.dtype, tmp_path: Path) -> None:
    config, options = VARIANTS[variant]
    source = save_hf(tmp_path, tiny_config(**config), dtype=dtype, **options)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.format == "hf"
    assert not checkpoint.v_heads_tiled
    found, wanted = by_name(checkpoint.tensors), expected(source)
    assert sorted(found) == sorted(wanted)
    for name, values in wanted.items():
        assert found[name].shape == values.shape, name
        # Nothing is rounded on the way in but -exp, where two libraries may differ in the last bit.
        tolerance = 1e-6 if name.endswith(".A") else 0
        np.testing.assert_allclose(decoded(found[name]), values, rtol=tolerance, err_msg=name)
        small = values.ndim == 1 or name.endswith(("conv1d.weight", "shared_expert_gate.weight"))
        assert not small or found[name].type is TYPES["F32"], name


@pytest.mark.parametrize("moe", [False, True])
def test_norms_and_decay_equal_what_the_model_computes(moe: bool, tmp_path: Path) -> None:
    config = tiny_config(moe)
    source = save_hf(tmp_path, config)
    found = by_name(open_checkpoint(tmp_path).tensors)
    checked = 0
    for name, module in source.model.model.named_modules():
        if type(module).__name__.endswith("RMSNorm"):
            # A vector of ones normalises to itself (but for epsilon, 5e-7), so the output is the effective weight.
            output = array(module(torch.ones(1, module.weight.shape[0])))[0]
            np.testing.assert_allclose(found[f"{name}.weight"].float32(), output, rtol=1e-6)
            checked += 1
        if hasattr(module, "A_log"):
            decay = array(-module.A_log.exp())
            np.testing.assert_allclose(found[f"{name}.A"].float32(), decay, rtol=1e-6)
            checked += 1
    assert checked == 2 * 4 + 1 + 2 + 3  # two norms a layer, the final one, q and k norms, three decays


def test_every_parameter_of_the_model_has_one_tensor(tmp_path: Path) -> None:
    source = save_hf(tmp_path, tiny_config(moe=True, vision=True))
    checkpoint = open_checkpoint(tmp_path)
    parameters = sum(parameter.numel() for parameter in source.model.parameters())
    assert sum(np.prod(tensor.shape) for tensor in checkpoint.tensors) == parameters
    for tensor in list(checkpoint.tensors):
        checkpoint.tensors.take(tensor.name, tensor.shape)
    checkpoint.tensors.finish()


def test_big_tensors_stay_in_the_file(tmp_path: Path) -> None:
    save_hf(tmp_path, tiny_config(moe=True), dtype=torch.bfloat16)
    tensors = by_name(open_checkpoint(tmp_path).tensors)
    for name in ("embed_tokens.weight", "layers.0.mlp.experts.gate_proj", "layers.0.mlp.experts.up_proj"):
        for part in tensors[name].parts:
            assert not part.flags.writeable
            assert not part.flags.owndata
            assert part.flags.c_contiguous
            assert part.ndim == 1


def test_stored_head_of_a_tied_model_and_buffers_are_left_out(tmp_path: Path) -> None:
    source = save_hf(tmp_path, tiny_config(tie_word_embeddings=True))
    before = {tensor.name for tensor in open_checkpoint(tmp_path).tensors}
    extra = {
        "lm_head.weight": source.state["model.embed_tokens.weight"].clone(),
        "model.rotary_emb.inv_freq": torch.ones(4),
        "model.layers.3.self_attn.rotary_emb.inv_freq": torch.ones(4),
        "model.visual.rotary_pos_emb.inv_freq": torch.ones(4, dtype=torch.float64),
    }
    write_shards(tmp_path, source.state | extra, 1)
    assert {tensor.name for tensor in open_checkpoint(tmp_path).tensors} == before


def test_memory_is_that_of_the_tensors(tmp_path: Path) -> None:
    source = save_hf(tmp_path, tiny_config(), dtype=torch.float32)
    total = sum(tensor.nbytes for tensor in source.state.values())
    assert memory_needed(open_checkpoint(tmp_path)) == total


def test_files_beside_the_weights_are_read(tmp_path: Path) -> None:
    save_hf(tmp_path, tiny_config(vision=True), tokenizer=True)
    (tmp_path / "chat_template.jinja").write_text("{{ 1 }}")
    edit_json(tmp_path / "generation_config.json", temperature=0.6, top_k=20)
    edit_json(tmp_path / "preprocessor_config.json", patch_size=16)
    edit_json(tmp_path / "video_preprocessor_config.json", fps=2)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.config == json.loads((tmp_path / "config.json").read_text())
    assert checkpoint.tokenizer_json == tmp_path / "tokenizer.json"
    assert checkpoint.chat_template == "{{ 1 }}"
    assert checkpoint.generation_config["top_k"] == 20
    assert checkpoint.image_processor == {"patch_size": 16}
    assert checkpoint.video_processor == {"fps": 2}
    edit_json(tmp_path / "processor_config.json", image_processor={"patch_size": 14}, video_processor={"fps": 1})
    assert open_checkpoint(tmp_path).image_processor == {"patch_size": 14}
    assert open_checkpoint(tmp_path).video_processor == {"fps": 1}


@pytest.mark.parametrize(
    "template", ["{{ 2 }}", [{"name": "other", "template": "x"}, {"name": "default", "template": "{{ 2 }}"}]]
)
def test_template_of_the_tokenizer_configuration(template: object, tmp_path: Path) -> None:
    save_hf(tmp_path, tiny_config())
    assert open_checkpoint(tmp_path).chat_template is None
    edit_json(tmp_path / "chat_template.json", chat_template="{{ 3 }}")
    assert open_checkpoint(tmp_path).chat_template == "{{ 3 }}"
    edit_json(tmp_path / "tokenizer_config.json", chat_template=template)
    assert open_checkpoint(tmp_path).chat_template == "{{ 2 }}"


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        ({"quant_method": "someq"}, "'someq' is not supported"),
        ({}, "None is not supported"),
        ({"quant_method": "fp8", "fmt": "e5m2", "weight_block_size": [128, 128]}, "e5m2"),
        ({"quant_method": "fp8", "weight_block_size": [1, 128]}, r"\[1, 128\]"),
    ],
)
def test_other_quantizations_are_refused(quantization: dict[str, object], words: str, tmp_path: Path) -> None:
    save_hf(tmp_path, tiny_config())
    edit_json(tmp_path / "config.json", quantization_config=quantization)
    with pytest.raises(UnsupportedModel, match=words):
        open_checkpoint(tmp_path)


def test_foreign_architecture_is_named(tmp_path: Path) -> None:
    save_hf(tmp_path, tiny_config())
    edit_json(tmp_path / "config.json", model_type="llama")
    with pytest.raises(UnsupportedModel, match="model_type 'llama'"):
        open_checkpoint(tmp_path)
    edit_json(tmp_path / "config.json", model_type=None)
    with pytest.raises(UnsupportedModel, match="model_type None"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_broken_json_is_named(content: bytes, tmp_path: Path) -> None:
    save_hf(tmp_path, tiny_config())
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        open_checkpoint(tmp_path)


def test_missing_things_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no such file or folder"):
        open_checkpoint(tmp_path / "nowhere")
    with pytest.raises(ModelNotFound, match=r"no config\.json"):
        open_checkpoint(tmp_path)
    save_hf(tmp_path / "a", tiny_config())
    with pytest.raises(CheckpointError, match="give the folder"):
        open_checkpoint(tmp_path / "a" / "model.safetensors")
    (tmp_path / "a" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors nor"):
        open_checkpoint(tmp_path / "a")
    (tmp_path / "a" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(UnsupportedModel, match="pickle"):
        open_checkpoint(tmp_path / "a")


def test_damaged_shards_are_named(tmp_path: Path) -> None:
    source = save_hf(tmp_path, tiny_config(), shards=3)
    shard = tmp_path / "model-00002-of-00003.safetensors"
    content = shard.read_bytes()
    shard.unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-00003\.safetensors is missing"):
        open_checkpoint(tmp_path)
    shard.write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match="it is torn"):
        open_checkpoint(tmp_path)
    shard.write_bytes((tmp_path / "model-00001-of-00003.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"is in model-00001.* and in model-00002"):
        open_checkpoint(tmp_path)
    shard.write_bytes(content)
    index = tmp_path / "model.safetensors.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]
    for wrong, words in (
        ({}, "no weight_map"),
        (dict.fromkeys(weight_map, "../x.safetensors"), "not a plain file name"),
        (weight_map | {"model.extra": shard.name}, r"tensor model\.extra is missing"),
    ):
        edit_json(index, weight_map=wrong)
        with pytest.raises(CheckpointError, match=words):
            open_checkpoint(tmp_path)
    edit_json(index, weight_map=weight_map)
    assert len(open_checkpoint(tmp_path).tensors) == len(source.state)


def rewrite(folder: Path, state: dict[str, torch.Tensor], **changes: torch.Tensor | None) -> None:
    """The checkpoint with tensors (keys with `__` for dots) replaced, added or, for None, removed."""
    state = state | {name.replace("__", "."): tensor for name, tensor in changes.items()}
    write_shards(folder, {name: tensor for name, tensor in state.items() if tensor is not None}, 1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name", ["model.layers.1.linear_attn.A_log", "model.norm.weight", "model.layers.3.self_attn.q_norm.weight"]
)
def test_small_tensors_must_be_finite(bad: float, name: str, tmp_path: Path) -> None:
    source = save_hf(tmp_path, tiny_config(), dtype=torch.bfloat16)
    tensor = source.state[name].clone()
    tensor[-1] = bad
    write_shards(tmp_path, source.state | {name: tensor}, 1)
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        open_checkpoint(tmp_path)


def test_unknown_doubled_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    source = save_hf(tmp_path, tiny_config(moe=True), packed=False)
    expert = "model.layers.0.mlp.experts"
    cases: list[tuple[dict[str, torch.Tensor | None], type[CheckpointError], str]] = [
        ({"score.weight": torch.ones(2, 64)}, UnsupportedModel, r"score\.weight.*of a classifier or reward model"),
        ({"v_head.summary.weight": torch.ones(1, 64)}, UnsupportedModel, "the head of a critic"),
        ({"model.layers.0.strange.weight": torch.ones(2)}, CheckpointError, "strange.weight belongs to no part"),
        ({"model.layers.01.input_layernorm.weight": torch.ones(64)}, CheckpointError, "belongs to no part"),
        ({"model.layers.0.mlp.gate.qweight": torch.ones(2)}, UnsupportedModel, "qweight"),
        ({"model.language_model.norm.weight": torch.ones(64)}, CheckpointError, "are the same one"),
        ({"model.norm.weight": torch.ones(8, 8)}, CheckpointError, "does not fit"),
        ({"model.norm.weight": torch.ones(64, dtype=torch.float64)}, UnsupportedModel, "F64"),
        ({"model.embed_tokens.weight": torch.ones(8)}, CheckpointError, "expected 2 dimensions"),
        ({"model.embed_tokens.weight": torch.ones(8, 8, dtype=torch.int64)}, UnsupportedModel, "I64"),
        (
            {"model.embed_tokens.weight_scale_inv": torch.ones(1, 1)},
            CheckpointError,
            "scales beside a tensor of type F32",
        ),
        ({"model.layers.1.linear_attn.conv1d.weight": torch.ones(8, 2, 4)}, CheckpointError, "does not fit"),
        ({f"{expert}.3.up_proj.weight": None}, CheckpointError, "expert 3 of layers.0.mlp.experts.up_proj is missing"),
        ({f"{expert}.3.up_proj.weight": torch.ones(3, 64)}, CheckpointError, "unlike the other experts"),
        ({f"{expert}.gate_up_proj": torch.ones(8, 64, 64)}, CheckpointError, "stored twice"),
        ({f"{expert}.down_proj": torch.ones(8, 64, 32)}, CheckpointError, "also stored whole"),
    ]
    for changes, error, words in cases:
        rewrite(tmp_path, source.state, **changes)
        with pytest.raises(error, match=words):
            open_checkpoint(tmp_path)


def test_fp8_scales_are_checked(tmp_path: Path) -> None:
    source = save_hf(tmp_path, tiny_config(moe=True), fp8=True)
    name = "model.layers.3.self_attn.q_proj.weight"
    expert = "model.layers.0.mlp.experts.2.down_proj.weight"
    good = source.state[f"{name}_scale_inv"]
    assert good.shape == (2, 1)
    for changes, words in (
        ({f"{name}_scale_inv": None}, "no weight_scale_inv"),
        ({f"{expert}_scale_inv": None}, "no weight_scale_inv"),
        ({f"{name}_scale_inv": torch.ones(1, 2)}, r"need \[2, 1\]"),
        ({f"{name}_scale_inv": good * float("nan")}, "not finite"),
        ({name: None}, "no weight beside them"),
    ):
        rewrite(tmp_path, source.state, **changes)
        with pytest.raises(CheckpointError, match=words):
            open_checkpoint(tmp_path)
    rewrite(tmp_path, source.state, **{f"{name}_scale_inv": good.bfloat16()})
    scales = by_name(open_checkpoint(tmp_path).tensors)["layers.3.self_attn.q_proj.weight"].scales
    assert scales is not None
    np.testing.assert_array_equal(scales[0], array(good.bfloat16()))


def test_packed_fp8_experts_are_split_with_their_scales(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    source = save_hf(tmp_path, tiny_config(moe=True, num_experts=2, moe_intermediate_size=128))
    stem = "model.layers.2.mlp.experts.gate_up_proj"
    values = torch.from_numpy(generator.normal(size=(2, 256, 64))).to(torch.float8_e4m3fn)
    scale = torch.from_numpy(generator.random((2, 2, 1), np.float32))
    write_shards(tmp_path, source.state | {stem: values, f"{stem}_scale_inv": scale}, 1)
    tensors = by_name(open_checkpoint(tmp_path).tensors)
    whole = array(values).reshape(2, 2, 128, 64) * scale.numpy().reshape(2, 2, 1, 1)
    for half, projection in enumerate(("gate_proj", "up_proj")):
        np.testing.assert_array_equal(decoded(tensors[f"layers.2.mlp.experts.{projection}"]), whole[:, half])


def test_text_only_checkpoint_has_the_same_names_as_the_whole_one(tmp_path: Path) -> None:
    save_hf(tmp_path / "text", tiny_config())
    save_hf(tmp_path / "whole", tiny_config(vision=True))
    text = {tensor.name for tensor in open_checkpoint(tmp_path / "text").tensors}
    whole = {tensor.name for tensor in open_checkpoint(tmp_path / "whole").tensors}
    assert text == {name for name in whole if not name.startswith("visual.")}
    tower = tiny_model(tiny_config(vision=True)).model.visual.state_dict()
    assert whole - text == {f"visual.{name}" for name in tower if "inv_freq" not in name}
