"""Files that are no model, given as one: each message says what the file is and what to do with it."""

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from checkpoints import TinyCheckpoint, save_hf, tiny_config
from gguf_checkpoints import add_value, add_vocabulary, copy_fields, finish, save_gguf, save_mmproj

from qwill.cli import main
from qwill.convert.importance_file import write_importance
from qwill.convert.quantize import plan_model
from qwill.errors import CheckpointError, UnsupportedModel
from qwill.quant.importance import Importance, Statistics
from qwill.quant.recipes import load_recipe
from qwill.weights.load import open_checkpoint


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    return save_hf(tmp_path_factory.mktemp("seeing"), tiny_config(vision=True))


def small_file(path: Path, architecture: str, metadata: dict[str, Any], *tensors: str) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata.items():
        add_value(writer, key, value)
    for name in tensors:
        writer.add_tensor(name, np.ones((4, 32), np.float32))
    finish(writer)
    return path


def imatrix(path: Path, *names: str, columns: int = 64) -> Path:
    rng = np.random.default_rng()
    statistics = {
        name: Statistics(rng.random((1, columns), np.float32), np.array([7], np.float32))
        for name in names or ("blk.0.x",)
    }
    write_importance(path, Importance(statistics, ("text",), 3, 512))
    return path


LORA = "blk.0.attn_q.weight.lora_a"
KINDS: dict[str, tuple[str, dict[str, Any], tuple[str, ...], str]] = {
    "adapter": (
        "qwen35", {"general.type": "adapter", "adapter.type": "lora"}, (LORA,),
        r"is an adapter \(LoRA\), no model; give it with its base: qwill run MODEL --lora FILE",
    ),
    "adapter by its tensors": ("qwen35", {}, (LORA,), r"is an adapter \(LoRA\), no model"),
    "vision file": (
        "clip", {"general.type": "mmproj"}, ("v.x",),
        "is a vision file, give the language model's file; this one is found beside it, or named by --mmproj FILE",
    ),
    "vision file by its type": ("qwen35", {"general.type": "mmproj"}, ("v.x",), "is a vision file, give the language"),
    "eagle3": ("eagle3", {}, ("x",), r"is a draft model of another kind \(eagle3\), which qwill does not run; give"),
    "dflash": ("qwen3-dflash", {}, ("x",), r"is a draft model of another kind \(qwen3-dflash\)"),
    "another architecture": (
        "qwen3vl", {}, ("x",),
        r"architecture 'qwen3vl' is not supported \(Qwen 3.5: qwen35, qwen35moe\); run it with another program",
    ),
    "draft head": ("qwen35moe", {}, ("blk.9.nextn.eh_proj.weight",), r"is a draft head \(MTP\), no model; give"),
    "vocabulary": ("qwen35", {}, (), "holds no weights, only a vocabulary; give the model's file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_model_says_what_it_is(kind: str, tmp_path: Path) -> None:
    architecture, metadata, tensors, words = KINDS[kind]
    path = small_file(tmp_path / "model.gguf", architecture, metadata, *tensors)
    for opened in (open_checkpoint, lambda path: plan_model(path, load_recipe("Q8_0"))):
        with pytest.raises(UnsupportedModel, match=words) as caught:
            opened(path)
        assert str(caught.value).startswith(str(path))


def test_an_importance_file_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It names no architecture, and that must not be what people read."""
    path = imatrix(tmp_path / "imatrix.gguf")
    for verb in (["run", "--prompt", "x"], ["inspect"], ["quantize"]):
        target = [str(tmp_path / "out.gguf"), "--type", "Q8_0"] if verb == ["quantize"] else []
        assert main([verb[0], str(path), *target, *verb[1:]]) == 2
        told = capsys.readouterr().err
        assert (
            "is an importance file (imatrix), no model; it goes with: qwill quantize MODEL OUT --imatrix FILE" in told
        )
        assert told.count("\n") == 1
    old = tmp_path / "imatrix.dat"
    old.write_bytes(struct.pack("<ii", 1, 3) + b"abc" + struct.pack("<iif", 1, 1, 1.0))
    with pytest.raises(CheckpointError, match=r"is no GGUF file, it is an importance file \(imatrix\), which goes"):
        open_checkpoint(old)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("model", "it is a language model; give it as MODEL, and an mmproj file here"),
        ("adapter", r"is an adapter \(LoRA\)"), ("imatrix", "is an importance file"),
        ("another tower", "of another family"),
    ],
)  # fmt: skip
def test_what_is_no_vision_file_says_what_it_is(kind: str, words: str, seeing: TinyCheckpoint, tmp_path: Path) -> None:
    save_gguf(tmp_path / "model.gguf", seeing)
    given = tmp_path / "given.gguf"
    if kind == "model":
        save_gguf(given, seeing)
    elif kind == "imatrix":
        imatrix(given)
    elif kind == "adapter":
        small_file(given, "qwen35", {"general.type": "adapter"}, LORA)
    else:
        save_mmproj(given, seeing, metadata={"clip.projector_type": "ldp"})
    with pytest.raises(UnsupportedModel, match=words) as caught:
        open_checkpoint(tmp_path / "model.gguf", given)
    assert str(caught.value).startswith(str(given))


@pytest.mark.parametrize(
    ("type_id", "words"),
    [
        (146, r"has type 146 \(IQ4_KSS\), one of ik_llama.cpp's own, which is not supported; take a file of one that"),
        (339, r"has type 339 \(IQ4_K_R4\), one of ik_llama.cpp's own"),
        (36, r"has type 36 \(I2_S\)"),
        (31, r"has type 31 \(Q4_0_4_4\), which llama.cpp has given up; take"),
        (28, r"has type 28 \(F64\), which is not supported; take a file of another type, such as Q4_K_M"),
        (90, "has type 90, which is not supported: it is newer than this qwill, or another program's own; take"),
    ],
)
def test_types_of_other_programs_have_names(type_id: int, words: str, tmp_path: Path) -> None:
    path = small_file(tmp_path / "m.gguf", "qwen35", {}, "blk.0.attn_q.weight")
    content = bytearray(path.read_bytes())
    place = content.index(b"blk.0.attn_q.weight") + len("blk.0.attn_q.weight") + 4 + 2 * 8
    content[place : place + 4] = struct.pack("<I", type_id)
    path.write_bytes(content)
    with pytest.raises(UnsupportedModel, match=f"tensor blk.0.attn_q.weight {words}"):
        open_checkpoint(path)


def test_every_type_of_the_package_is_read_or_has_its_name(tmp_path: Path) -> None:
    from qwill.quant.foreign_types import why_not
    from qwill.quant.types import BY_GGUF_ID

    for kind in gguf.GGMLQuantizationType:
        if kind.value not in BY_GGUF_ID:
            assert f"({kind.name})" in why_not(kind.value)


HEADS = {
    b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n": "is a Git LFS pointer, not the file itself",
    b"<!DOCTYPE html>\n<html><head>": "is a web page that was saved in place of the file",
    b"PK\x03\x04abcdefgh": "is a pickle or an archive, whatever its name says",
    b"tjgg\x03\0\0\0": "is no GGUF file, it is a GGML file of 2023",
    b"\x1f\x8b\x08\0\0\0\0\0": "is no GGUF file, it is one packed with gzip, unpack it first",
    struct.pack("<Q", 20) + b'{"a":{"dtype": "F32"}': "is no GGUF file, it is a safetensors file",
    b"GGUF" + struct.pack("<I", 1) + bytes(40): "GGUF version 1 is not supported, only 2 and 3; take a newer file",
    b"GGUF" + struct.pack("<I", 9) + bytes(40): "GGUF version 9 is not supported.* it is newer than this qwill, or dam",
    b"GGUF"
    + struct.pack(">I", 3)
    + bytes(40): r"version 3 in the byte order of other processors \(big-endian\).*gguf-c",
    b"something else": "is no GGUF file; give a .gguf file or a model's folder",
}


@pytest.mark.parametrize("head", HEADS, ids=[f"{number}" for number in range(len(HEADS))])
def test_what_is_no_gguf_file_says_what_it_is(head: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(head)
    with pytest.raises(CheckpointError, match=HEADS[head]) as caught:
        open_checkpoint(tmp_path / "m.gguf")
    assert str(caught.value).startswith(f"{tmp_path / 'm.gguf'}: ")
    assert "\n" not in str(caught.value)


def test_a_file_of_the_other_byte_order(seeing: TinyCheckpoint, tmp_path: Path) -> None:
    """As the package itself writes one."""
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "qwen35", endianess=gguf.GGUFEndian.BIG)
    add_vocabulary(writer, 288)
    writer.add_tensor("x", np.ones((2, 32), np.float32))
    finish(writer)
    with pytest.raises(UnsupportedModel, match="byte order of other processors"):
        open_checkpoint(tmp_path / "m.gguf")


def test_any_part_stands_for_all_of_them(seeing: TinyCheckpoint, tmp_path: Path) -> None:
    save_gguf(tmp_path / "m.gguf", seeing, shard_tensors=20)
    parts = sorted(tmp_path.glob("m-*.gguf"))
    assert len(parts) > 2
    names = [{tensor.name for tensor in open_checkpoint(part).tensors} for part in parts]
    assert all(found == names[0] for found in names)


def test_a_file_that_is_cut_off(seeing: TinyCheckpoint, tmp_path: Path) -> None:
    save_gguf(tmp_path / "m.gguf", seeing)
    whole = (tmp_path / "m.gguf").read_bytes()
    for length, words in (
        (len(whole) - 1, r"ends \d+ bytes too early .*the file is torn, download it again"),
        (900, "download it again"),
    ):
        (tmp_path / "m.gguf").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=words):
            open_checkpoint(tmp_path / "m.gguf")


def test_importance_of_another_model_is_refused_before_anything_is_written(
    seeing: TinyCheckpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_gguf(tmp_path / "m.gguf", seeing)
    for name, columns, words in (
        (
            "blk.0.attn_qkv.weight",
            96,
            "statistics of 1 x 96 columns where the model has 1 x 64; they are of another model",
        ),
        ("blk.7.attn_qkv.weight", 64, "knows none of the tensors of"),
    ):
        given = imatrix(tmp_path / f"{columns}.gguf", name, columns=columns)
        command = ["quantize", str(tmp_path / "m.gguf"), str(tmp_path / "o.gguf"), "--type", "Q8_0", "--imatrix"]
        assert main([*command, str(given)]) == 2
        told = capsys.readouterr().err
        assert words in told
        assert "qwill imatrix" in told or "another model" in told
        assert not (tmp_path / "o.gguf").exists()


def test_general_type_of_another_kind_is_no_matter(seeing: TinyCheckpoint, tmp_path: Path) -> None:
    save_gguf(tmp_path / "m.gguf", seeing)
    whole = gguf.GGUFReader(tmp_path / "m.gguf")
    writer = gguf.GGUFWriter(tmp_path / "n.gguf", "qwen35")
    copy_fields(whole, writer)
    writer.add_array("general.type", [1, 2])
    for tensor in whole.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    finish(writer)
    open_checkpoint(tmp_path / "n.gguf")
