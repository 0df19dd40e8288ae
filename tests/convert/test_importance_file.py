"""Importance files: our own through the `gguf` package, its through ours, the older format, and damaged ones."""

import struct
from pathlib import Path
from unittest.mock import patch

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwill.convert.importance_file import read_importance, write_importance
from qwill.errors import CheckpointError, InvalidArgument, ModelNotFound, UserError
from qwill.quant.importance import Importance, Statistics


def random_importance(rng: np.random.Generator) -> Importance:
    statistics = {}
    for number, (experts, columns) in enumerate(((1, 7), (1, 256), (5, 33), (1, 1))):
        sums = rng.exponential(100, (experts, columns)).astype(np.float32)
        counts = rng.integers(0, 5, experts).astype(np.float32)
        statistics[f"blk.{number}.ffn_down.weight"] = Statistics(sums, counts)
    return Importance(statistics, ("a text.txt", "größer.jsonl"), 12, 512)


@pytest.fixture
def importance() -> Importance:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    return random_importance(np.random.default_rng(seed))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "imatrix.gguf"


def assert_same(got: Importance, wanted: Importance) -> None:
    assert got.statistics.keys() == wanted.statistics.keys()
    for name, own in got.statistics.items():
        np.testing.assert_array_equal(own.sums, wanted.statistics[name].sums)
        np.testing.assert_array_equal(own.counts, wanted.statistics[name].counts)
        assert own.sums.dtype == own.counts.dtype == np.float32
    assert (got.datasets, got.chunk_count, got.chunk_size) == (wanted.datasets, wanted.chunk_count, wanted.chunk_size)


def test_there_and_back(importance: Importance, path: Path) -> None:
    write_importance(path, importance)
    found = read_importance(path)
    assert_same(found, importance)
    assert found.source == str(path)


def test_what_llama_quantize_looks_for(importance: Importance, path: Path) -> None:
    write_importance(path, importance)
    reader = gguf.GGUFReader(path)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert len(tensors) == 2 * len(importance.statistics)
    for name, own in importance.statistics.items():
        sums, counts = tensors[f"{name}.in_sum2"], tensors[f"{name}.counts"]
        assert sums.tensor_type == counts.tensor_type == gguf.GGMLQuantizationType.F32
        assert sums.shape.tolist() == [own.sums.shape[1], len(own.sums)]
        assert counts.shape.tolist() == [1, len(own.counts)]
        np.testing.assert_array_equal(sums.data, own.sums)
        np.testing.assert_array_equal(counts.data[:, 0], own.counts)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.type"] == "imatrix"
    assert fields["imatrix.datasets"] == ["a text.txt", "größer.jsonl"]
    assert (fields["imatrix.chunk_count"], fields["imatrix.chunk_size"]) == (12, 512)
    for key in ("imatrix.chunk_count", "imatrix.chunk_size"):
        assert reader.fields[key].types == [gguf.GGUFValueType.UINT32]


def foreign(path: Path, arrays: dict[str, np.ndarray], **keys: int) -> Path:
    writer = gguf.GGUFWriter(path, "")
    for key, value in keys.items():
        writer.add_uint32(f"imatrix.{key}", value)
    for name, array in arrays.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_one_count_for_several_rows_and_no_keys(path: Path) -> None:
    sums = np.arange(12, dtype=np.float32).reshape(3, 4)
    found = read_importance(foreign(path, {"w.in_sum2": sums, "w.counts": np.full((1,), 2, np.float32)}))
    np.testing.assert_array_equal(found.statistics["w"].counts, [2, 2, 2])
    np.testing.assert_array_equal(found.mean_squares("w", 4, 3), sums / 2)
    assert (found.datasets, found.chunk_count, found.chunk_size) == ((), 0, 0)


ONE = np.ones((2, 3), np.float32)
TWO = np.ones((2, 1), np.float32)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"token_embd.weight": ONE}, "holds no importance; give a file that qwill imatrix wrote"),
        ({"w.in_sum2": ONE}, r"w.in_sum2 has no .counts"),
        ({"w.in_sum2": ONE.astype(np.float16), "w.counts": TWO}, "w.in_sum2 is F16, expected F32"),
        ({"w.in_sum2": ONE, "w.counts": TWO.astype(np.float16)}, "w.counts is F16, expected F32"),
        ({"w.in_sum2": ONE, "w.counts": np.ones((3, 1), np.float32)}, "w has 2 rows of sums and 3 counts"),
        ({"w.in_sum2": ONE * np.nan, "w.counts": TWO}, "w holds values that are negative or not finite"),
        ({"w.in_sum2": -ONE, "w.counts": TWO}, "w holds values that are negative or not finite"),
        ({"w.in_sum2": ONE, "w.counts": TWO * np.inf}, "w holds values that are negative or not finite"),
    ],
)
def test_foreign_files(path: Path, arrays: dict[str, np.ndarray], says: str) -> None:
    with pytest.raises(CheckpointError, match=says) as raised:
        read_importance(foreign(path, arrays))
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def legacy(entries: dict[str, tuple[int, list[float]]], tail: bytes = b"") -> bytes:
    data = struct.pack("<i", len(entries))
    for name, (calls, values) in entries.items():
        encoded = name.encode()
        data += struct.pack("<i", len(encoded)) + encoded + struct.pack("<ii", calls, len(values))
        data += np.array(values, "<f4").tobytes()
    return data + tail


def test_the_older_format(path: Path) -> None:
    tail = struct.pack("<ii", 9, 5) + b"x.txt"
    path.write_bytes(legacy({"blk.0.ffn_up.weight": (4, [4, 8, 0, 2]), "output.weight": (0, [3])}, tail))
    found = read_importance(path)
    np.testing.assert_array_equal(found.mean_squares("blk.0.ffn_up.weight", 4), [[1, 2, 0, 0.5]])
    np.testing.assert_array_equal(found.mean_squares("blk.0.ffn_up.weight", 2, 2), [[1, 2], [0, 0.5]])
    np.testing.assert_array_equal(found.mean_squares("output.weight", 1), [[3]])
    assert (found.datasets, found.chunk_count) == (("x.txt",), 9)
    path.write_bytes(legacy({"w": (1, [1])}))
    assert (read_importance(path).datasets, read_importance(path).chunk_count) == ((), 0)


@pytest.mark.parametrize(
    "data",
    [
        b"text, not numbers",
        struct.pack("<i", 0),
        struct.pack("<i", -1),
        struct.pack("<i", 2**31 - 1),
        legacy({"w": (1, [])}),
        legacy({"": (1, [1])}),
        legacy({"\n": (1, [1])}),
        legacy({"w": (1, [1])})[:-1],
        legacy({"w": (1, [1])}, b"\1\0\0"),
        legacy({"w": (1, [1])}, struct.pack("<ii", 1, 50)),
        struct.pack("<i", 2) + 2 * legacy({"w": (1, [1])})[4:],
        legacy({"w": (1, [float("nan")])}),
    ],
)
def test_damaged_older_files(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"is no importance file|not finite"):
        read_importance(path)


def test_no_file_and_an_empty_one(path: Path) -> None:
    with pytest.raises(ModelNotFound):
        read_importance(path)
    path.touch()
    with pytest.raises(CheckpointError, match="empty"):
        read_importance(path)


@pytest.mark.parametrize("older", [False, True])
@given(data=st.data())
def test_any_damage_is_one_line_or_none(
    older: bool, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Torn, lengthened or altered files give an error of one line, or are read; nothing else happens."""
    path = tmp_path_factory.getbasetemp() / f"damaged-{older}"
    if older:
        path.write_bytes(legacy({"blk.0.w": (4, [1, 2, 3]), "blk.1.w": (2, [5])}, struct.pack("<ii", 9, 1) + b"x"))
    else:
        write_importance(path, random_importance(np.random.default_rng(0)), overwrite=True)
    contents = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        contents[data.draw(st.integers(0, min(len(contents), 600) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(contents)), st.integers(1, len(contents))))
    path.write_bytes(contents[:end] + data.draw(st.binary(max_size=8)))
    message, found = "", None
    try:
        found = read_importance(path)
    except UserError as error:
        message = str(error)
    assert "\n" not in message
    if found is not None:
        for name, own in found.statistics.items():
            assert np.isfinite(own.sums).all()
            found.mean_squares(name, own.sums.shape[1], len(own.sums))


def test_nothing_is_overwritten_unasked(importance: Importance, path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(InvalidArgument, match="exists"):
        write_importance(path, importance)
    assert path.read_text() == "precious"
    write_importance(path, importance, overwrite=True)
    assert_same(read_importance(path), importance)


def test_an_interruption_leaves_what_was_there(importance: Importance, path: Path) -> None:
    path.write_text("precious")
    with patch("qwill.convert.output.replace", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        write_importance(path, importance, overwrite=True)
    assert path.read_text() == "precious"
    assert list(path.parent.iterdir()) == [path]
