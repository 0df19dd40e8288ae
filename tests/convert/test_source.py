"""Tensors of folders and GGUF files under GGUF names, against a conversion that shares no code with qwill."""

import os
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from checkpoints import TinyCheckpoint, dequantize_fp8, save_hf, tiny_config, write_shards
from gguf_checkpoints import language_tensors as expected_tensors
from gguf_checkpoints import save_gguf

from qwill.convert.source import SourceTensor, Watch, gguf_tensors, language_tensors, vision_tensors
from qwill.errors import CheckpointError
from qwill.quant.types import TYPES
from qwill.weights.gguf.file import read_gguf
from qwill.weights.load import open_checkpoint

# Heads are whole blocks of 32, so that a column of blocks can move; 3 V heads for each K head.
HEADS = {"linear_key_head_dim": 32, "linear_value_head_dim": 32, "linear_num_value_heads": 6}


def values(tensor: SourceTensor, step: int = 5) -> np.ndarray:
    """All values of a tensor, read a few rows at a time."""
    pieces = [
        tensor.values(part, begin, min(begin + step, tensor.rows))
        for part in range(len(tensor.parts))
        for begin in range(0, tensor.rows, step)
    ]
    return np.concatenate(pieces).reshape(tensor.shape)


def stored(tensor: SourceTensor, step: int = 5) -> bytes:
    return b"".join(
        tensor.stored(part, begin, min(begin + step, tensor.rows)).tobytes()
        for part in range(len(tensor.parts))
        for begin in range(0, tensor.rows, step)
    )


@pytest.mark.parametrize(
    ("overrides", "options"),
    [
        ({"linear_num_value_heads": 2}, {"dtype": torch.bfloat16}),
        (HEADS, {"dtype": torch.float16, "mtp": True, "shards": 3}),
        (HEADS | {"moe": True}, {"mtp": True}),
        (HEADS | {"moe": True}, {"mtp": True, "packed": False, "dtype": torch.bfloat16}),
        (HEADS | {"tie_word_embeddings": True, "vision": True}, {}),
    ],
    ids=["V = K", "shards", "packed experts", "experts apart", "tied"],
)
def test_a_folder(overrides: dict[str, Any], options: dict[str, Any], tmp_path: Path) -> None:
    """To the bit, but for exp, whose last bits differ between libraries."""
    made = save_hf(tmp_path / "hf", tiny_config(**overrides), **options)
    found = {tensor.name: tensor for tensor in language_tensors(open_checkpoint(made.folder))}
    wanted = expected_tensors(made)
    assert sorted(found) == sorted(wanted)
    for name, expected in wanted.items():
        assert found[name].shape == expected.shape
        np.testing.assert_allclose(values(found[name]), expected, rtol=2**-20 * name.endswith("ssm_a"), err_msg=name)


def test_without_its_draft_head(tmp_path: Path) -> None:
    made = save_hf(tmp_path / "hf", tiny_config(), mtp=True)
    save_gguf(tmp_path / "it.gguf", made)
    wanted = {name for name in expected_tensors(made) if not name.startswith("blk.4.")}
    assert {tensor.name for tensor in language_tensors(open_checkpoint(made.folder), draft_head=False)} == wanted
    assert {tensor.name for tensor in gguf_tensors(read_gguf(tmp_path / "it.gguf"), draft_head=False)} == wanted


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_bytes_of_a_type_that_stays(dtype: torch.dtype, tmp_path: Path) -> None:
    """Matrices are copied, V heads in their new order; so is the patch embedding, a slice at a time."""
    kind = TYPES[{torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}[dtype]]
    made = save_hf(tmp_path / "hf", tiny_config(vision=True, **HEADS), dtype=dtype)
    save_gguf(tmp_path / "it.gguf", made, types=kind.name, mmproj=tmp_path / "mmproj.gguf")
    checkpoint = open_checkpoint(made.folder)
    written = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "it.gguf").tensors}
    matrices = [tensor for tensor in language_tensors(checkpoint) if tensor.type is kind]
    assert len(matrices) >= 4 * 7
    for tensor in matrices:
        if written[tensor.name].tensor_type.name == kind.name and tensor.name != "blk.0.ssm_a":
            assert tensor.can_copy(kind)
            assert not tensor.can_copy(TYPES["Q8_0"])
            if not tensor.name.endswith(("ssm_a", "norm.weight")):
                assert stored(tensor) == written[tensor.name].data.tobytes(), tensor.name
    floats = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "mmproj.gguf").tensors}
    tower = list(vision_tensors(checkpoint))
    assert sorted(tensor.name for tensor in tower) == sorted(floats)
    for tensor in tower:
        np.testing.assert_array_equal(values(tensor), floats[tensor.name].reshape(tensor.shape), err_msg=tensor.name)
    patches = next(tensor for tensor in tower if tensor.name == "v.patch_embd.weight.1")
    assert patches.can_copy(kind)
    bits = made.state["model.visual.patch_embed.proj.weight"][:, :, 1].contiguous().view(torch.uint8)
    assert stored(patches) == bits.numpy().tobytes()


def test_whole_blocks_move(tmp_path: Path) -> None:
    """Q8_0 columns in V heads of 32 are copied in another order, those of Q4_K (256) are not."""
    config = tiny_config(hidden_size=256, **HEADS)
    made = save_hf(tmp_path / "hf", config)
    tensor = next(t for t in language_tensors(open_checkpoint(made.folder)) if t.name == "blk.0.ssm_out.weight")
    float_rows = np.concatenate(tensor.parts).view(np.float32).reshape(256, -1)
    quantized = gguf.quantize(float_rows, gguf.GGMLQuantizationType.Q8_0)
    blocks = SourceTensor(
        tensor.name,
        tensor.canonical,
        tensor.shape,
        TYPES["Q8_0"],
        (quantized,),
        "here",
        tensor.width,
        column_order=tensor.column_order,
    )
    assert blocks.can_copy(TYPES["Q8_0"])
    expected = gguf.quantize(expected_tensors(made)["blk.0.ssm_out.weight"], gguf.GGMLQuantizationType.Q8_0)
    assert stored(blocks) == expected.tobytes()
    wide = SourceTensor(
        "x", "x", (1, 512), TYPES["Q4_K"], (np.zeros(288, np.uint8),), "here", 512, None, None, np.arange(512)
    )
    assert wide.can_copy(TYPES["Q4_K"])
    halves = np.arange(512).reshape(2, 2, 128).swapaxes(0, 1).reshape(-1)
    moved = SourceTensor("x", "x", (1, 512), TYPES["Q4_K"], (np.zeros(288, np.uint8),), "here", 512, None, None, halves)
    assert not moved.can_copy(TYPES["Q4_K"])


def test_fp8(tmp_path: Path) -> None:
    """Scales of 128 x 128 blocks, also where V heads take other rows, and several blocks a matrix."""
    config = tiny_config(moe=True, hidden_size=192, intermediate_size=320, **HEADS)
    made = save_hf(tmp_path / "hf", config, fp8=True, mtp=True)
    plain = {
        name: dequantize_fp8(tensor, made.state[f"{name}_scale_inv"]) if f"{name}_scale_inv" in made.state else tensor
        for name, tensor in made.state.items()
        if not name.endswith("_scale_inv")
    }
    wanted = expected_tensors(TinyCheckpoint(made.folder, made.config, made.model, plain))
    found = list(language_tensors(open_checkpoint(made.folder)))
    assert sum(tensor.type.name == "F8_E4M3" for tensor in found) > 20
    assert not any(tensor.can_copy(TYPES["F8_E4M3"]) for tensor in found)
    for tensor in found:
        np.testing.assert_allclose(values(tensor, 33), wanted[tensor.name], rtol=2**-20, err_msg=tensor.name)


def test_a_gguf_is_as_it_is(tmp_path: Path) -> None:
    """In parts, with fused experts, in several types."""
    made = save_hf(tmp_path / "hf", tiny_config(moe=True, **HEADS), mtp=True)
    kinds = {"ffn_down_exps.weight": "Q8_0", "attn_q.weight": "BF16"}
    save_gguf(
        tmp_path / "it.gguf",
        made,
        types=lambda name: next((kind for end, kind in kinds.items() if name.endswith(end)), "F32"),
        shard_tensors=9,
        fused=True,
    )
    file = read_gguf(min(tmp_path.glob("*.gguf")))
    for tensor in gguf_tensors(file):
        raw = file.tensors[tensor.name]
        assert (tensor.type.name, tensor.shape) == (raw.dtype, raw.shape)
        assert stored(tensor) == raw.data.tobytes()
        assert len(tensor.parts) == (8 if "exps" in tensor.name else 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_no_number_is_named(value: float, dtype: torch.dtype, tmp_path: Path) -> None:
    made = save_hf(tmp_path / "hf", tiny_config(moe=True), dtype=dtype)
    name = "model.layers.1.mlp.experts.down_proj"
    state = made.state | {name: made.state[name].clone()}
    state[name][5, 33, 7] = value
    write_shards(made.folder, state, 1)
    tensors = {tensor.name: tensor for tensor in language_tensors(open_checkpoint(made.folder))}
    damaged = tensors["blk.1.ffn_down_exps.weight"]
    what = "NaN" if np.isnan(value) else "infinity"
    with pytest.raises(CheckpointError, match=rf"ffn_down_exps\.weight holds {what} \(expert 5, row 33, column 7\)"):
        damaged.values(5, 32, 36)
    with pytest.raises(CheckpointError, match=r"expert 5, row 33, column 7"):
        damaged.stored(5, 32, 36)
    assert np.isfinite(damaged.values(4, 0, damaged.rows)).all()


@pytest.mark.parametrize("change", ["append", "touch", "replace", "remove"])
def test_a_changed_file_is_noticed(change: str, tmp_path: Path) -> None:
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_bytes(bytes(100))
    other.write_bytes(bytes(100))
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    watch = Watch([file])
    watch.check()
    if change == "append":
        with file.open("ab") as appended:
            appended.write(b"x")
    elif change == "touch":
        os.utime(file, (1, 1))
    elif change == "replace":
        os.replace(other, file)
    else:
        file.unlink()
    with pytest.raises(CheckpointError, match="was changed while it was read"):
        watch.check()
