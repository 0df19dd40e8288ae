"""The GGUF reader against the `gguf` package, and on damaged files."""

import struct
import time
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf_checkpoints import add_vocabulary, finish
from hypothesis import given, settings
from hypothesis import strategies as st

from qwill.errors import CheckpointError, ModelNotFound, UnsupportedModel, UserError
from qwill.quant.types import BY_GGUF_ID
from qwill.weights.gguf.file import read_gguf
from qwill.weights.gguf.vocabulary import read_vocabulary
from qwill.weights.mapped import RawTensor
from qwill.weights.string_array import StringArray

SCALARS = {
    "uint8": 200, "int8": -100, "uint16": 60_000, "int16": -30_000, "uint32": 4_000_000_000, "int32": -2_000_000_000,
    "float32": 0.5, "uint64": 2**63 + 1, "int64": -(2**62), "float64": 1e300, "bool": True, "string": "Grüße 🌍",
}  # fmt: skip


def text(value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(value)) + value


def key(name: str, type_id: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", type_id) + value


def info(name: str, shape: tuple[int, ...] = (8,), type_id: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, type_id, offset)


def build(path: Path, pairs: list[bytes], infos: list[bytes], data: int = 0, version: int = 3, **counts: int) -> Path:
    """A file from its pieces; `tensors` and `keys` in `counts` override the true counts."""
    counts = {"tensors": len(infos), "keys": len(pairs)} | counts
    header = b"GGUF" + struct.pack("<IQQ", version, counts["tensors"], counts["keys"]) + b"".join(pairs + infos)
    path.write_bytes(header + bytes(-len(header) % 32) + bytes(data))
    return path


@pytest.mark.parametrize("version", [2, 3])
def test_every_kind_of_metadata(version: int, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "any")
    arrays: dict[str, list[Any]] = {}
    for kind, value in SCALARS.items():
        getattr(writer, f"add_{kind}")(f"one.{kind}", value)
        arrays[kind] = [value, value] if kind in ("string", "bool") else [value, 0, 1]
        writer.add_key_value(f"many.{kind}", arrays[kind], gguf.GGUFValueType.ARRAY, gguf.GGUFValueType[kind.upper()])
    finish(writer)
    content = bytearray((tmp_path / "x.gguf").read_bytes())
    content[4] = version
    (tmp_path / "x.gguf").write_bytes(content)
    file = read_gguf(tmp_path / "x.gguf")
    assert file.architecture == "any"
    for kind, value in SCALARS.items():
        assert file.metadata[f"one.{kind}"] == value
        assert type(file.metadata[f"one.{kind}"]) is type(value)
        assert list(file.metadata[f"many.{kind}"]) == arrays[kind]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=9), min_size=1, max_size=20), st.data())
def test_string_arrays_behave_like_lists(
    tmp_path_factory: pytest.TempPathFactory, strings: list[str], data: st.DataObject
) -> None:
    strings = [string.encode("utf-8", "replace").decode() for string in strings]
    path = tmp_path_factory.getbasetemp() / "strings.gguf"
    value = struct.pack("<IQ", 8, len(strings)) + b"".join(map(text, strings))
    array = read_gguf(build(path, [key("s", 9, value)], [])).metadata["s"]
    assert isinstance(array, StringArray)
    assert len(array) == len(strings)
    assert list(array) == strings
    index = data.draw(st.integers(-len(strings), len(strings) - 1))
    assert array[index] == strings[index]
    bounds = slice(data.draw(st.integers(-9, 9)), data.draw(st.integers(-9, 9)))
    assert array[bounds] == strings[bounds]
    with pytest.raises(IndexError):
        array[len(strings)]
    buffer, begin, ends = array.stored()
    for string, end in zip(strings, ends.tolist(), strict=True):
        assert int.from_bytes(buffer[begin : begin + 8].tobytes(), "little") == end - begin - 8
        assert buffer[begin + 8 : end].tobytes().decode() == string
        begin = end
    array.give_back()
    assert list(array) == strings


@pytest.mark.parametrize("alignment", [None, 8, 64])
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_1", "MXFP4"])
def test_tensors_equal_those_of_the_package(kind: str, alignment: int | None, tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "any")
    if alignment:
        writer.add_custom_alignment(alignment)
    quantization = gguf.GGMLQuantizationType[kind]
    for name, shape in (("a", (5, 64)), ("b.weight", (3, 2, 32)), ("c", (96,))):
        values = generator.normal(size=shape).astype(np.float32)
        writer.add_tensor(name, gguf.quantize(values, quantization), raw_dtype=quantization)
    finish(writer)
    file, reader = read_gguf(tmp_path / "x.gguf"), gguf.GGUFReader(tmp_path / "x.gguf")
    assert list(file.tensors) == [tensor.name for tensor in reader.tensors]
    for tensor in reader.tensors:
        found = file.tensors[tensor.name]
        assert found.dtype == kind
        assert found.shape == tuple(tensor.shape.tolist())[::-1]
        assert found.data.tobytes() == tensor.data.tobytes()
        assert not found.data.flags.owndata


def test_block_sizes_equal_those_of_the_package() -> None:
    for type_id, tensor_type in BY_GGUF_ID.items():
        quantization = gguf.GGMLQuantizationType(type_id)
        assert quantization.name == tensor_type.name
        assert gguf.GGML_QUANT_SIZES[quantization] == (tensor_type.block_elements, tensor_type.block_bytes)


def test_split_files(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "any", split_max_tensors=2)
    values = {f"t{number}": np.full(4, number, np.float32) for number in range(5)}
    for name, value in values.items():
        writer.add_tensor(name, value)
    writer.add_string("hello", "world")
    finish(writer)
    parts = sorted(tmp_path.glob("m-*.gguf"))
    assert len(parts) == 3
    for part in parts:
        file = read_gguf(part)
        assert file.metadata["hello"] == "world"
        assert {name: tensor.data.view(np.float32)[0] for name, tensor in file.tensors.items()} == {
            name: value[0] for name, value in values.items()
        }
    second = parts[1].read_bytes()
    parts[1].unlink()
    with pytest.raises(CheckpointError, match=r"m-00002-of-00003\.gguf: part 2 of 3 is missing"):
        read_gguf(parts[0])
    parts[1].write_bytes(parts[2].read_bytes())
    with pytest.raises(CheckpointError, match="is not part 2 of 3"):
        read_gguf(parts[0])
    parts[1].write_bytes(second[:-17])  # 16 bytes of padding follow a tensor
    with pytest.raises(CheckpointError, match=r"m-00002-of-00003\.gguf: ends 1 bytes too early"):
        read_gguf(parts[0])
    parts[1].write_bytes(second.replace(b"\x02\0\0\0\0\0\0\0t2", b"\x02\0\0\0\0\0\0\0t0"))
    with pytest.raises(CheckpointError, match="tensor t0 is also in m-00001"):
        read_gguf(parts[0])
    renamed = tmp_path / "renamed.gguf"
    renamed.write_bytes(second)
    with pytest.raises(CheckpointError, match="is one of 3 parts; give it its name back"):
        read_gguf(renamed)


def test_split_with_a_wrong_total(tmp_path: Path) -> None:
    for number in range(2):
        counts = [key("split.no", 2, struct.pack("<H", number)), key("split.count", 2, struct.pack("<H", 2))]
        counts.append(key("split.tensors.count", 5, struct.pack("<i", 3)))
        build(tmp_path / f"m-0000{number + 1}-of-00002.gguf", counts, [info(f"t{number}")], 32)
    with pytest.raises(CheckpointError, match="hold 2 tensors instead of 3"):
        read_gguf(tmp_path / "m-00002-of-00002.gguf")


def test_vocabulary(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "any")
    add_vocabulary(writer, 300)
    finish(writer)
    vocabulary = read_vocabulary(read_gguf(tmp_path / "x.gguf"))
    tokens = list(vocabulary.tokens)
    assert len(tokens) == len(vocabulary.token_types) == 300
    assert (vocabulary.model, vocabulary.pre) == ("gpt2", "qwen35")
    assert vocabulary.merges[1] == "th e"
    assert tokens[vocabulary.eos_token_id] == "<|im_end|>"
    assert tokens[vocabulary.pad_token_id] == "<|endoftext|>"
    assert vocabulary.bos_token_id is None
    assert not vocabulary.add_bos_token
    assert vocabulary.special_ids() == {tokens[number]: number for number in range(264, 271)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("tokens", None), "has no tokenizer.ggml.tokens"),
        (("merges", key("tokenizer.ggml.merges", 4, bytes(4))), "has no tokenizer.ggml.merges"),
        (("pre", None), "has no tokenizer.ggml.pre"),
        (("eos", key("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 2))), "eos_token_id 2 is not in"),
        (("types", key("tokenizer.ggml.token_type", 9, struct.pack("<IQi", 5, 1, 1))), "one entry for each token"),
    ],
)
def test_incomplete_vocabulary(change: tuple[str, bytes | None], words: str, tmp_path: Path) -> None:
    pieces: dict[str, bytes | None] = {
        "tokens": key("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + text("a") + text("b")),
        "merges": key("tokenizer.ggml.merges", 9, struct.pack("<IQ", 8, 0)),
        "model": key("tokenizer.ggml.model", 8, text("gpt2")),
        "pre": key("tokenizer.ggml.pre", 8, text("qwen35")),
    }
    sound = build(tmp_path / "sound.gguf", [piece for piece in pieces.values() if piece], [])
    assert read_vocabulary(read_gguf(sound)).token_types.tolist() == [1, 1]
    pieces[change[0]] = change[1]
    file = read_gguf(build(tmp_path / "x.gguf", [piece for piece in pieces.values() if piece], []))
    with pytest.raises(CheckpointError, match=words):
        read_vocabulary(file)


HUGE = 2**62
A_STRING = key("a", 8, text("x"))
BAD: dict[str, tuple[dict[str, Any], type[CheckpointError], str]] = {
    "count of tensors": ({"tensors": HUGE}, CheckpointError, "claims 4611686018427387904 tensors"),
    "count of keys": ({"keys": HUGE}, CheckpointError, "claims 4611686018427387904 metadata keys"),
    "more keys than there are": ({"keys": 2, "infos": [info("t")]}, CheckpointError, "damaged|torn"),
    "more tensors than there are": ({"tensors": 2, "infos": [info("t")]}, CheckpointError, "damaged|torn"),
    "length of a key": ({"pairs": [struct.pack("<Q", HUGE)]}, CheckpointError, "claims|torn"),
    "length of a string": ({"pairs": [key("a", 8, struct.pack("<Q", HUGE))]}, CheckpointError, "a string claims"),
    "string past the end": ({"pairs": [key("a", 8, struct.pack("<Q", 5000))]}, CheckpointError, "torn"),
    "array length": ({"pairs": [key("a", 9, struct.pack("<IQ", 4, HUGE))]}, CheckpointError, "it claims .* a"),
    "strings of an array": ({"pairs": [key("a", 9, struct.pack("<IQ", 8, HUGE))]}, CheckpointError, "it claims .* a"),
    "string in an array": (
        {"pairs": [key("a", 9, struct.pack("<IQQ", 8, 2, HUGE) + bytes(64))]}, CheckpointError, "torn",
    ),
    "last string in an array": (
        {"pairs": [key("a", 9, struct.pack("<IQQ", 8, 1, HUGE) + bytes(64))]}, CheckpointError, "torn",
    ),
    "array of arrays": ({"pairs": [key("a", 9, struct.pack("<IQ", 9, 1) + bytes(64))]}, CheckpointError, "type 9"),
    "type of a value": ({"pairs": [key("a", 13, bytes(64))]}, CheckpointError, "unknown type 13"),
    "empty key": ({"pairs": [key("", 8, text("x"))]}, CheckpointError, "empty or stands twice"),
    "double key": ({"pairs": [A_STRING, A_STRING]}, CheckpointError, "'a' is empty or stands twice"),
    "alignment 0": ({"pairs": [key("general.alignment", 4, bytes(4))]}, CheckpointError, "alignment is 0"),
    "alignment 24": (
        {"pairs": [key("general.alignment", 4, struct.pack("<I", 24))]}, CheckpointError, "alignment is 24",
    ),
    "double tensor": ({"infos": [info("t"), info("t", offset=32)], "data": 64}, CheckpointError, "'t' stands twice"),
    "name that is no text": ({"infos": [info("a\nb")], "data": 32}, CheckpointError, "'a.*b' .* is no text"),
    "dimensions": ({"infos": [info("t", (1,) * 5)], "data": 64}, CheckpointError, "has 5 dimensions"),
    "no elements": ({"infos": [info("t", (0,))]}, CheckpointError, r"shape \[0\]"),
    "too many elements": ({"infos": [info("t", (2**40, 2**40))]}, CheckpointError, "has the shape"),
    "dimension": ({"infos": [info("t", (2**63,))]}, CheckpointError, "has the shape"),
    "type of a tensor": ({"infos": [info("t", type_id=77)], "data": 32}, UnsupportedModel, "tensor t has type 77"),
    "removed type": ({"infos": [info("t", type_id=4)], "data": 32}, UnsupportedModel, "tensor t has type 4"),
    "broken block": ({"infos": [info("t", (33,), 8)], "data": 64}, CheckpointError, "no whole Q8_0 blocks"),
    "unaligned": ({"infos": [info("t", offset=4)], "data": 64}, CheckpointError, "not a multiple of 32"),
    "offset": ({"infos": [info("t", offset=HUGE)], "data": 64}, CheckpointError, "bytes too early"),
    "overlap": ({"infos": [info("t", (16,)), info("u", offset=32)], "data": 64}, CheckpointError, "'t' and 'u' over"),
    "torn data": ({"infos": [info("t")], "data": 31}, CheckpointError, "ends 1 bytes too early"),
    "version 1": ({"version": 1}, UnsupportedModel, "version 1 "),
    "version 4": ({"version": 4}, UnsupportedModel, "version 4 "),
    "big-endian": ({"version": 3 << 24}, UnsupportedModel, "big-endian"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_absurd_headers_are_named(case: str, tmp_path: Path) -> None:
    pieces, error, words = BAD[case]
    pieces = dict(pieces)
    path = build(tmp_path / "bad.gguf", pieces.pop("pairs", []), pieces.pop("infos", []), **pieces)
    began = time.process_time()
    with pytest.raises(error, match=words) as caught:
        read_gguf(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.process_time() - began < 1


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no such file"):
        read_gguf(tmp_path / "x.gguf")
    (tmp_path / "x.gguf").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is empty"):
        read_gguf(tmp_path / "x.gguf")
    (tmp_path / "x.gguf").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(CheckpointError, match="is no GGUF file"):
        read_gguf(tmp_path / "x.gguf")
    with pytest.raises(CheckpointError, match=r"names no general\.architecture"):
        _ = read_gguf(build(tmp_path / "x.gguf", [], [])).architecture


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fuzz") / "sound.gguf"
    writer = gguf.GGUFWriter(path, "qwen35")
    writer.add_array("some.numbers", [1, 2, 3])
    writer.add_array("some.strings", ["a", "bcd", ""])
    writer.add_bool("flag", True)
    for number in range(3):
        writer.add_tensor(f"blk.{number}.x", np.ones((2, 32), np.float32))
    finish(writer)
    return path


def test_every_truncation_is_an_error(sound: Path) -> None:
    content = sound.read_bytes()
    path = sound.with_name("cut.gguf")
    for length in (*range(1, 700, 7), len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            read_gguf(path)


def attempt(path: Path) -> tuple[list[RawTensor], str]:
    """The tensors of a file that may be damaged, and the message of the one kind of error that it may raise."""
    try:
        return list(read_gguf(path).tensors.values()), ""
    except UserError as error:
        return [], str(error)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 499), st.integers(0, 255)), min_size=1, max_size=3))
def test_damage_raises_only_user_errors(sound: Path, damage: list[tuple[int, int]]) -> None:
    content = bytearray(sound.read_bytes())
    for position, value in damage:
        content[position] = value
    path = sound.with_name("damaged.gguf")
    path.write_bytes(content)
    began = time.process_time()
    tensors, error = attempt(path)
    assert all(tensor.data.nbytes <= len(content) for tensor in tensors)
    assert "\n" not in error
    assert time.process_time() - began < 1
