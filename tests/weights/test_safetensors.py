"""The safetensors reader against the format's own library, and on damaged files."""

import json
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qwill.errors import CheckpointError, ModelNotFound, UnsupportedModel, UserError
from qwill.weights.folders.safetensors import read_safetensors
from qwill.weights.mapped import RawTensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.float8_e4m3fn)


def build(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_reads_what_the_library_writes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    shapes = data.draw(st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=6))
    tensors = {}
    for number, shape in enumerate(shapes):
        dtype = data.draw(st.sampled_from(DTYPES))
        tensors[f"t.{number}"] = torch.randint(0, 100, shape).to(dtype)
    path = tmp_path_factory.mktemp("st") / "x.safetensors"
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    found = {tensor.name: tensor for tensor in read_safetensors(path)}
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].shape == tuple(tensor.shape)
        assert found[name].data.tobytes() == tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


@pytest.fixture
def sound(tmp_path: Path) -> bytes:
    path = tmp_path / "sound.safetensors"
    tensors = {"a": torch.randn(3, 5), "b.weight": torch.randn(7).bfloat16(), "c": torch.randn(2, 2).to(DTYPES[-1])}
    safetensors.torch.save_file(tensors, path)
    return path.read_bytes()


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        ({"a": entry(shape=[3])}, 8, "has 8 bytes, not those of F32"),
        ({"a": entry(data_offsets=[0, 2**40], shape=[2**38])}, 8, "its header says 1099511627776"),
        ({"a": entry(data_offsets=[4, 12])}, 12, "starts at byte 4"),
        ({"a": entry(data_offsets=[8, 0])}, 8, "-8 bytes"),
        ({"a": entry(data_offsets=[-8, 0])}, 8, "described wrongly"),
        ({"a": entry(data_offsets=[0])}, 8, "described wrongly"),
        ({"a": entry(data_offsets=[0, 2**60])}, 8, "described wrongly"),
        ({"a": entry(shape=[2.0])}, 8, "described wrongly"),
        ({"a": entry(shape=[True, 2])}, 8, "described wrongly"),
        ({"a": entry(shape=None)}, 8, "described wrongly"),
        ({"a": entry(dtype=4)}, 8, "described wrongly"),
        ({"a": []}, 8, "described wrongly"),
        ({"a\nb": entry()}, 8, "described wrongly"),
        ({"a": entry(), "b": entry(data_offsets=[4, 12])}, 12, "a and b overlap"),
        ({"a": entry(), "b": entry(data_offsets=[12, 20])}, 20, "leave a hole"),
        ({"a": entry()}, 9, "holds 9 bytes of tensors, its header says 8"),
        ({"a": entry()}, 7, "holds 7 bytes of tensors, its header says 8"),
        ([], 0, "no JSON object"),
        (b'{"a": {}, "a": {}}', 0, "its header is damaged"),
        (b"[" * 100_000, 0, "its header is damaged"),
        (b"\xff", 0, "its header is damaged"),
    ],
)
def test_inconsistent_headers_are_named(header: Any, data: int, words: str, tmp_path: Path) -> None:
    path = build(tmp_path / "bad.safetensors", header, bytes(data))
    with pytest.raises(CheckpointError, match=words) as caught:
        read_safetensors(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_dtype(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="stored as 'F6_E3M2'"):
        read_safetensors(build(tmp_path / "x.safetensors", {"a": entry(dtype="F6_E3M2")}, bytes(8)))


def test_missing_empty_foreign_and_torn_files(tmp_path: Path, sound: bytes) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(ModelNotFound, match="no such file"):
        read_safetensors(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_safetensors(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="is empty"):
        read_safetensors(path)
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + bytes(100))
    with pytest.raises(CheckpointError, match="no safetensors file"):
        read_safetensors(path)
    for length in range(1, len(sound)):
        path.write_bytes(sound[:length])
        with pytest.raises(CheckpointError):
            read_safetensors(path)


def attempt(path: Path) -> tuple[list[RawTensor], str]:
    """The tensors of a file that may be damaged, and the message of the one kind of error that it may raise."""
    try:
        return read_safetensors(path), ""
    except UserError as error:
        return [], str(error)


@settings(max_examples=100, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.booleans())
def test_damage_raises_only_user_errors(
    tmp_path_factory: pytest.TempPathFactory, position: float, value: int, cut: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    sound = folder / "fuzz-sound.safetensors"
    if not sound.exists():
        tensors = {"a": torch.randn(3, 5), "b.weight": torch.randn(7).bfloat16()}
        safetensors.torch.save_file(tensors, sound)
    content = bytearray(sound.read_bytes())
    header = 8 + struct.unpack("<Q", content[:8])[0]
    at = int(position * header)
    content[at] = value
    if cut:
        del content[at + 1 :]
    path = folder / "fuzz.safetensors"
    path.write_bytes(content)
    began = time.process_time()
    tensors, error = attempt(path)
    assert all(tensor.data.nbytes <= len(content) for tensor in tensors)
    assert "\n" not in error
    assert time.process_time() - began < 1


def test_many_tensors_are_read_in_order_of_their_bytes(tmp_path: Path) -> None:
    sizes = np.random.default_rng(1).integers(0, 9, 500)
    ends = np.cumsum(sizes)
    header = {
        f"t{number}": {"dtype": "U8", "shape": [int(size)], "data_offsets": [int(end - size), int(end)]}
        for number, (size, end) in enumerate(zip(sizes, ends, strict=True))
    }
    shuffled = dict(np.random.default_rng(2).permutation(list(header.items())).tolist())
    data = bytes(range(256)) * 20
    content = {name: data[slice(*value["data_offsets"])] for name, value in header.items()}
    found = read_safetensors(build(tmp_path / "x.safetensors", shuffled, data[: ends[-1]]))
    assert {tensor.name: tensor.data.tobytes() for tensor in found} == content
