"""GGUF files of every layout, against the released checkpoint that they were converted from."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from canonical import by_name, decoded, expected, untiled
from checkpoints import TinyCheckpoint, save_hf, text_config, tiny_config
from gguf_checkpoints import copy_fields, finish, save_gguf, save_mmproj

from qwill.errors import CheckpointError, ModelNotFound, UnsupportedModel
from qwill.media.video import VideoSettings
from qwill.text.chat_template import DEFAULT_TEMPLATE
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.load import open_checkpoint

VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dense": ({}, {}),
    "tied": ({"tie_word_embeddings": True}, {"head_counts": "array"}),
    "vision": ({"vision": True}, {"shard_tensors": 20}),
    "moe": ({"moe": True}, {"shard_tensors": 13}),
    "moe-fused": ({"moe": True, "vision": True}, {"fused": True, "head_counts": "array"}),
    "equal-heads": ({"linear_num_value_heads": 2}, {}),
    "three-per-key": ({"linear_num_value_heads": 6, "linear_value_head_dim": 8}, {}),
}


def first_part(path: Path) -> Path:
    return path if path.exists() else sorted(path.parent.glob(f"{path.stem}-00001-of-*.gguf"))[0]


@pytest.mark.parametrize("mtp", [False, True], ids=["plain", "nextn"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_values_equal_the_released_ones(variant: str, mtp: bool, tmp_path: Path) -> None:
    overrides, options = VARIANTS[variant]
    source = save_hf(tmp_path / "hf", tiny_config(**overrides), mtp=mtp)
    mmproj = tmp_path / "mmproj-F32.gguf" if "vision" in overrides else None
    save_gguf(tmp_path / "model.gguf", source, mmproj=mmproj, **options)
    checkpoint = open_checkpoint(first_part(tmp_path / "model.gguf"))
    assert checkpoint.v_heads_tiled
    assert checkpoint.format == "gguf"
    found, wanted = by_name(checkpoint.tensors), expected(source)
    assert sorted(found) == sorted(wanted)
    for name, values in wanted.items():
        assert found[name].shape == values.shape, name
        # The file holds float32 of the same numpy expressions, so only -exp could round differently.
        tolerance = 1e-6 if name.endswith(".A") else 0
        back = untiled(name, decoded(found[name]), source)
        np.testing.assert_allclose(back, values, rtol=tolerance, err_msg=name)
    assert_same_config(checkpoint, source, mtp)


def assert_same_config(checkpoint: Checkpoint, source: TinyCheckpoint, mtp: bool) -> None:
    """Every key that the GGUF can know has the value of the released configuration."""
    config, wanted = checkpoint.config, source.config.to_dict()
    text, wanted_text = config["text_config"], wanted.get("text_config", wanted)
    assert text.pop("mtp_num_hidden_layers") == int(mtp)
    assert text.pop("attn_output_gate") is True
    for key, value in text.items():
        assert value == wanted_text[key], key
    assert config["model_type"] == wanted["model_type"].removesuffix("_text")
    assert config["tie_word_embeddings"] == wanted_text["tie_word_embeddings"]
    tower = config.get("vision_config", {})
    assert bool(tower) == ("vision_config" in wanted)
    assert tower.pop("deepstack_visual_indexes", []) == []
    for key, value in tower.items():
        assert value == wanted["vision_config"][key], key
    if tower:
        for key in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"):
            assert config[key] == wanted[key]
        assert checkpoint.image_processor["image_mean"] == [0.5, 0.5, 0.5]


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    return save_hf(tmp_path_factory.mktemp("dense"), tiny_config(), mtp=True)


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    return save_hf(tmp_path_factory.mktemp("seeing"), tiny_config(vision=True))


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q5_1", "MXFP4"])
def test_storage_types_are_kept(kind: str, dense: TinyCheckpoint, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    save_gguf(path, dense, types=kind)
    found = by_name(open_checkpoint(path).tensors)
    reader = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    for name, other in (
        ("layers.2.linear_attn.out_proj.weight", "blk.2.ssm_out.weight"),
        ("layers.3.self_attn.q_proj.weight", "blk.3.attn_q.weight"),
        ("mtp.layers.0.mlp.up_proj.weight", "blk.4.ffn_up.weight"),
        ("mtp.fc.weight", "blk.4.nextn.eh_proj.weight"),
    ):
        assert found[name].type.name == kind
        assert found[name].parts[0].tobytes() == reader[other].data.tobytes()
    assert found["layers.0.input_layernorm.weight"].type.name == "F32"


def test_small_tensors_in_half_precision_become_float32(dense: TinyCheckpoint, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "qwen35")
    save_gguf(tmp_path / "whole.gguf", dense)
    whole = gguf.GGUFReader(tmp_path / "whole.gguf")
    copy_fields(whole, writer)
    for tensor in whole.tensors:
        writer.add_tensor(tensor.name, tensor.data.astype(np.float16))
    finish(writer)
    found, wanted = by_name(open_checkpoint(tmp_path / "model.gguf").tensors), expected(dense)
    for name in ("layers.1.linear_attn.conv1d.weight", "layers.1.linear_attn.A", "mtp.norm.weight"):
        assert found[name].type.name == "F32"
        # Half precision keeps 11 bits.
        np.testing.assert_allclose(untiled(name, found[name].float32(), dense), wanted[name], rtol=2**-11, atol=1e-6)


def test_missing_draft_norm_is_the_final_norm(dense: TinyCheckpoint, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "qwen35")
    save_gguf(tmp_path / "whole.gguf", dense)
    whole = gguf.GGUFReader(tmp_path / "whole.gguf")
    copy_fields(whole, writer)
    for tensor in whole.tensors:
        if "shared_head_norm" not in tensor.name:
            writer.add_tensor(tensor.name, tensor.data)
    finish(writer)
    tensors = open_checkpoint(tmp_path / "model.gguf").tensors
    final, draft = tensors.peek("norm.weight"), tensors.peek("mtp.norm.weight")
    np.testing.assert_array_equal(final.float32(), draft.float32())


def test_vocabulary_template_and_stops(dense: TinyCheckpoint, tmp_path: Path) -> None:
    save_gguf(tmp_path / "model.gguf", dense, metadata={"general.sampling.temp": 0.6, "general.sampling.top_k": 20})
    checkpoint = open_checkpoint(tmp_path / "model.gguf")
    vocabulary = checkpoint.vocabulary
    assert vocabulary is not None
    end, text_end = (list(vocabulary.tokens).index(token) for token in ("<|im_end|>", "<|endoftext|>"))
    assert checkpoint.chat_template == DEFAULT_TEMPLATE
    assert checkpoint.generation_config == {
        "eos_token_id": [end, text_end],
        "pad_token_id": text_end,
        "temperature": 0.6,
        "top_k": 20,
        "do_sample": True,
    }
    save_gguf(tmp_path / "bare.gguf", dense, vocabulary=False)
    bare = open_checkpoint(tmp_path / "bare.gguf")
    assert bare.vocabulary is None
    assert bare.chat_template is None
    assert "image_token_id" not in bare.config


def test_yarn(tmp_path: Path) -> None:
    rope = text_config(tiny_config()).rope_parameters | {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 1024,
    }
    source = save_hf(tmp_path / "hf", tiny_config(rope_parameters=rope))
    scaling = {"rope.scaling.yarn_beta_fast": 30.0, "rope.scaling.yarn_attn_factor": 1.2}
    save_gguf(tmp_path / "model.gguf", source, metadata=scaling)
    found = open_checkpoint(tmp_path / "model.gguf").config["text_config"]["rope_parameters"]
    assert found == rope | {"beta_fast": 30.0, "attention_factor": 1.2}
    for key, value in (("attn_factor", 0.5), ("yarn_log_multiplier", 0.1), ("yarn_ext_factor", 0.0)):
        save_gguf(tmp_path / "model.gguf", source, metadata={f"rope.scaling.{key}": value})
        with pytest.raises(UnsupportedModel, match=key):
            open_checkpoint(tmp_path / "model.gguf")
    save_gguf(tmp_path / "model.gguf", source, metadata={"rope.scaling.type": "longrope"})
    with pytest.raises(UnsupportedModel, match="longrope"):
        open_checkpoint(tmp_path / "model.gguf")


def test_layer_types_from_the_interval(dense: TinyCheckpoint, tmp_path: Path) -> None:
    save_gguf(tmp_path / "model.gguf", dense, metadata={"attention.recurrent_layers": None})
    text = open_checkpoint(tmp_path / "model.gguf").config["text_config"]
    assert text["layer_types"] == ["linear_attention"] * 3 + ["full_attention"]


REQUIRED = (
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
    "ssm.conv_kernel",
    "ssm.state_size",
    "ssm.group_count",
    "ssm.time_step_rank",
    "ssm.inner_size",
)


@pytest.mark.parametrize("key", REQUIRED)
def test_missing_and_senseless_keys_are_named(key: str, dense: TinyCheckpoint, tmp_path: Path) -> None:
    save_gguf(tmp_path / "model.gguf", dense, metadata={key: None})
    with pytest.raises(CheckpointError, match=rf"qwen35\.{key} is missing"):
        open_checkpoint(tmp_path / "model.gguf")
    save_gguf(tmp_path / "model.gguf", dense, metadata={key: "many"})
    with pytest.raises(CheckpointError, match=rf"qwen35\.{key} is 'many'"):
        open_checkpoint(tmp_path / "model.gguf")


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"block_count": 0}, "block_count is 0"),
        ({"block_count": 4_000_000_000}, "block_count is 4000000000"),
        ({"ssm.time_step_rank": 0}, "time_step_rank is 0"),
        ({"ssm.time_step_rank": 7}, "time_step_rank is 7"),
        ({"attention.key_length": 0}, "key_length is 0"),
        ({"attention.head_count_kv": [0, 0, 0, 0, 0]}, "head_count_kv is"),
        ({"nextn_predict_layers": 5}, "block_count is 5"),
        ({"attention.value_length": 16}, "different length"),
        ({"attention.head_count_kv": [2, 2]}, "head_count_kv is"),
        ({"attention.recurrent_layers": [True]}, "recurrent_layers is"),
        ({"attention.recurrent_layers": None, "full_attention_interval": 0}, "full_attention_interval is 0"),
        ({"rope.dimension_sections": [1]}, "dimension_sections is"),
        ({"rope.freq_base": float("nan")}, "freq_base is nan"),
    ],
)
def test_senseless_values_are_named(
    metadata: dict[str, Any], words: str, dense: TinyCheckpoint, tmp_path: Path
) -> None:
    save_gguf(tmp_path / "model.gguf", dense, metadata=metadata)
    with pytest.raises(CheckpointError, match=words):
        open_checkpoint(tmp_path / "model.gguf")


def test_unknown_tensor_and_foreign_architecture_are_named(dense: TinyCheckpoint, tmp_path: Path) -> None:
    for architecture, extra, words in (
        ("qwen35", "blk.0.strange.weight", "blk.0.strange.weight belongs to no part"),
        ("qwen35", "blk.0.ffn_up.scale", "scales beside a tensor of type F32"),
        ("llama", "x", "architecture 'llama' is not supported"),
        ("clip", "x", "is a vision file, give the language model's"),
    ):
        writer = gguf.GGUFWriter(tmp_path / "model.gguf", architecture)
        save_gguf(tmp_path / "whole.gguf", dense)
        whole = gguf.GGUFReader(tmp_path / "whole.gguf")
        copy_fields(whole, writer)
        for tensor in whole.tensors:
            writer.add_tensor(tensor.name, tensor.data)
        writer.add_tensor(extra, np.ones(1, np.float32))
        finish(writer)
        with pytest.raises(CheckpointError, match=words.replace("(", ".")):
            open_checkpoint(tmp_path / "model.gguf")


def test_vision_file_is_found_or_given(seeing: TinyCheckpoint, tmp_path: Path) -> None:
    save_gguf(tmp_path / "model.gguf", seeing)
    assert "vision_config" not in open_checkpoint(tmp_path / "model.gguf").config
    other = tmp_path / "elsewhere.gguf"
    save_mmproj(other, seeing)
    assert "vision_config" in open_checkpoint(tmp_path / "model.gguf", other).config
    other.rename(tmp_path / "mmproj-model-f32.gguf")
    checkpoint = open_checkpoint(tmp_path / "model.gguf")
    assert checkpoint.config["vision_config"]["num_position_embeddings"] == 16
    assert "visual.merger.linear_fc2.bias" in checkpoint.tensors
    with pytest.raises(ModelNotFound, match=r"nothing\.gguf: no such file"):
        open_checkpoint(tmp_path / "model.gguf", tmp_path / "nothing.gguf")
    with pytest.raises(CheckpointError, match="is a folder"):
        open_checkpoint(seeing.folder, tmp_path / "mmproj-model-f32.gguf")


def test_vision_file_of_another_model(seeing: TinyCheckpoint, tmp_path: Path) -> None:
    wide = save_hf(tmp_path / "wide", tiny_config(vision=True, hidden_size=96))
    save_gguf(tmp_path / "model.gguf", seeing, mmproj=tmp_path / "mmproj-b.gguf")
    save_mmproj(tmp_path / "mmproj-a.gguf", wide)
    assert "vision_config" in open_checkpoint(tmp_path / "model.gguf").config  # a does not fit, b does
    with pytest.raises(CheckpointError, match="hidden size 96, this one has 64"):
        open_checkpoint(tmp_path / "model.gguf", tmp_path / "mmproj-a.gguf")
    with pytest.raises(UnsupportedModel, match="vision projector None"):
        open_checkpoint(tmp_path / "model.gguf", tmp_path / "model.gguf")
    save_gguf(tmp_path / "bare.gguf", seeing, vocabulary=False)
    with pytest.raises(CheckpointError, match=r"no <\|image_pad\|>"):
        open_checkpoint(tmp_path / "bare.gguf", tmp_path / "mmproj-b.gguf")


def test_incomplete_vision_file(seeing: TinyCheckpoint, tmp_path: Path) -> None:
    save_gguf(tmp_path / "model.gguf", seeing, mmproj=tmp_path / "whole.gguf")
    whole = gguf.GGUFReader(tmp_path / "whole.gguf")
    for leave_out, words in (
        ("v.patch_embd.weight.1", "both time slices"),
        ("v.position_embd.weight", "is missing"),
        ("clip.vision.block_count", "block_count is missing"),
    ):
        writer = gguf.GGUFWriter(tmp_path / "part.gguf", "clip")
        copy_fields(whole, writer, leave_out)
        for tensor in whole.tensors:
            if tensor.name != leave_out:
                writer.add_tensor(tensor.name, tensor.data)
        finish(writer)
        with pytest.raises(CheckpointError, match=words):
            open_checkpoint(tmp_path / "model.gguf", tmp_path / "part.gguf")


def test_patch_embedding_is_joined_in_channel_time_order(seeing: TinyCheckpoint, tmp_path: Path) -> None:
    save_gguf(tmp_path / "model.gguf", seeing, mmproj=tmp_path / "mmproj.gguf")
    tensor = by_name(open_checkpoint(tmp_path / "model.gguf").tensors)["visual.patch_embed.proj.weight"]
    # In float64: in float32 the order of the sums makes a difference that grows with an unlucky patch.
    patch = torch.randn(3, 2, 16, 16, dtype=torch.float64)
    kernel = seeing.model.model.visual.patch_embed.proj.weight.detach().double()
    wanted = torch.nn.functional.conv3d(patch[None], kernel)[0, :, 0, 0, 0]
    torch.testing.assert_close(
        torch.from_numpy(tensor.float32()).double() @ patch.reshape(-1), wanted, atol=1e-12, rtol=1e-12
    )


def test_vision_file_one_folder_up(tmp_path: Path) -> None:
    """Repositories keep the parts of a large quantization in a folder of its own."""
    seeing = save_hf(tmp_path / "hf", tiny_config(vision=True))
    (tmp_path / "Q8_0").mkdir()
    save_gguf(tmp_path / "Q8_0" / "model.gguf", seeing, mmproj=tmp_path / "mmproj-F16.gguf")
    assert "visual.patch_embed.proj.weight" in open_checkpoint(tmp_path / "Q8_0" / "model.gguf").tensors


def save_with_video_keys(folder: Path, seeing: TinyCheckpoint, keys: dict[str, int | float]) -> Path:
    """A model whose vision file also has `qwill.video.` keys."""
    save_gguf(folder / "model.gguf", seeing, mmproj=folder / "plain.gguf")
    plain = gguf.GGUFReader(folder / "plain.gguf")
    writer = gguf.GGUFWriter(folder / "mmproj.gguf", "clip")
    copy_fields(plain, writer)
    for key, value in keys.items():
        add = writer.add_uint32 if type(value) is int else writer.add_float32
        add(f"qwill.video.{key}", value)
    for tensor in plain.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    finish(writer)
    return folder / "model.gguf"


@pytest.mark.parametrize(
    "keys", [{}, {"fps": 1.5, "min_frames": 2}, {"fps": 3}, {"min_pixels": 2048, "max_pixels": 4096}]
)
def test_video_settings(keys: dict[str, int | float], seeing: TinyCheckpoint, tmp_path: Path) -> None:
    """What a file leaves out keeps the family's value; mean, deviation and patches are the images'."""
    settings = open_checkpoint(save_with_video_keys(tmp_path, seeing, keys)).video_processor
    assert VideoSettings.from_config(settings) == VideoSettings(**keys)


@pytest.mark.parametrize("keys", [{"max_frames": 0}, {"min_pixels": 0.5}, {"fps": float("nan")}])
def test_video_settings_that_make_no_sense(
    keys: dict[str, int | float], seeing: TinyCheckpoint, tmp_path: Path
) -> None:
    path = save_with_video_keys(tmp_path, seeing, keys)
    with pytest.raises(CheckpointError, match=rf"mmproj\.gguf: metadata qwill\.video\.{next(iter(keys))} "):
        open_checkpoint(path)
