"""The GGUF writer, read back by qwill's own reader and by the `gguf` package."""

import errno
import os
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qwill.convert import output
from qwill.convert.gguf_writer import GgufWriter, TensorInfo, file_bytes, part_paths
from qwill.errors import InvalidArgument, UserError
from qwill.quant.types import BY_GGUF_ID, TYPES
from qwill.weights.gguf.file import read_gguf
from qwill.weights.string_array import StringArray

F32 = TYPES["F32"]
WORDS = st.text(max_size=9, alphabet=st.characters(codec="utf-8"))
SCALARS = (
    st.booleans()
    | st.integers(0, 2**32 - 1)
    | st.floats(width=32, allow_nan=False)
    | WORDS
    | st.integers(-(2**63), 2**63 - 1).map(np.int64)
    | st.integers(0, 2**64 - 1).map(np.uint64)
    | st.integers(-128, 127).map(np.int8)
    | st.integers(0, 2**16 - 1).map(np.uint16)
    | st.floats(allow_nan=False).map(np.float64)
)
ARRAYS = (
    st.lists(WORDS, min_size=1, max_size=5)
    | st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=5)
    | st.lists(st.booleans(), min_size=1, max_size=5)
    | st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=5)
    | st.lists(st.integers(0, 255), max_size=5).map(lambda values: np.array(values, np.uint8))
    | st.lists(st.floats(allow_nan=False), max_size=5).map(lambda values: np.array(values, np.float64))
)
KEYS = st.text("abc.", min_size=1, max_size=6).filter(lambda key: not key.startswith("general."))


def write(path: Path, metadata: dict[str, Any], tensors: dict[str, np.ndarray], **options: Any) -> list[Path]:
    """A file of float32 tensors."""
    infos = [TensorInfo(name, values.shape, F32) for name, values in tensors.items()]
    with GgufWriter(path, metadata, infos, **options) as writer:
        for values in tensors.values():
            writer.write(values)
    return writer.paths


def plain(value: Any) -> Any:
    """As the readers give it: Python values, lists for arrays."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return list(value) if isinstance(value, StringArray) else value


def random_tensors(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    shapes = [tuple(rng.integers(1, 7, rng.integers(1, 5))) for _ in range(count)]
    return {f"blk.{i}.weight": rng.normal(size=shape).astype(np.float32) for i, shape in enumerate(shapes)}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.dictionaries(KEYS, SCALARS | ARRAYS, max_size=8), st.integers(0, 2**32))
def test_both_readers_find_what_was_written(tmp_path: Path, metadata: dict[str, Any], seed: int) -> None:
    metadata = {"general.architecture": "any"} | metadata
    tensors = random_tensors(np.random.default_rng(seed), seed % 4)
    write(tmp_path / "it.gguf", metadata, tensors, overwrite=True)
    ours = read_gguf(tmp_path / "it.gguf")
    assert {key: plain(value) for key, value in ours.metadata.items()} == {k: plain(v) for k, v in metadata.items()}
    theirs = gguf.GGUFReader(tmp_path / "it.gguf")
    for key, value in metadata.items():
        if not (isinstance(value, np.ndarray) and len(value) == 0):  # the package cannot show these
            assert theirs.fields[key].contents() == plain(value), key
    assert list(ours.tensors) == list(tensors) == [tensor.name for tensor in theirs.tensors]
    for (name, values), found in zip(tensors.items(), theirs.tensors, strict=True):
        assert ours.tensors[name].shape == values.shape
        np.testing.assert_array_equal(ours.tensors[name].data.view(np.float32).reshape(values.shape), values)
        np.testing.assert_array_equal(found.data.reshape(values.shape), values)


def test_values_are_copied_in_their_own_types(tmp_path: Path) -> None:
    """`encoded` of a file that the package wrote, into one of ours."""
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "any")
    writer.add_uint8("one", 1)
    writer.add_int64("two", -5)
    writer.add_array("three", ["x", "yz", ""])
    writer.add_array("four", [True, False])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    write(tmp_path / "b.gguf", read_gguf(tmp_path / "a.gguf").encoded, {})
    first, second = (gguf.GGUFReader(tmp_path / f"{name}.gguf").fields for name in "ab")
    assert {name: (field.types, field.contents()) for name, field in first.items()} == {
        name: (field.types, field.contents()) for name, field in second.items()
    }


@pytest.mark.parametrize("type_id", sorted(BY_GGUF_ID))
def test_every_type(type_id: int, tmp_path: Path) -> None:
    """Rows of three blocks, written in two pieces."""
    kind = BY_GGUF_ID[type_id]
    data = np.random.default_rng().integers(0, 255, (5, 3 * kind.block_bytes), np.uint8)
    info = TensorInfo("it", (5, 3 * kind.block_elements), kind)
    with GgufWriter(tmp_path / "it.gguf", {"general.architecture": "any"}, [info]) as writer:
        writer.write(data[:2])
        writer.write(data[2:])
    (tensor,) = gguf.GGUFReader(tmp_path / "it.gguf").tensors
    assert (tensor.tensor_type.name, tensor.shape.tolist()) == (kind.name, [3 * kind.block_elements, 5])
    assert tensor.data.tobytes() == data.tobytes()


def test_parts(tmp_path: Path) -> None:
    """The first has the metadata, every part its number; a tensor above the limit is a part of its own."""
    rng = np.random.default_rng()
    tensors = {f"t{i}": rng.normal(size=size).astype(np.float32) for i, size in enumerate((8, 16, 100, 3, 1))}
    metadata = {"general.architecture": "any", "x": 7}
    paths = write(tmp_path / "it.gguf", metadata, tensors, split_bytes=100)
    assert [path.name for path in paths] == [f"it-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert sorted(tmp_path.iterdir()) == paths
    readers = [gguf.GGUFReader(path) for path in paths]
    assert [[tensor.name for tensor in reader.tensors] for reader in readers] == [["t0", "t1"], ["t2"], ["t3", "t4"]]
    assert ["x" in reader.fields for reader in readers] == [True, False, False]
    for number, reader in enumerate(readers):
        split = {key: reader.fields[f"split.{key}"] for key in ("no", "count", "tensors.count")}
        assert [field.contents() for field in split.values()] == [number, 3, 5]
        assert [field.types[0].name for field in split.values()] == ["UINT16", "UINT16", "INT32"]
    whole = read_gguf(paths[0])
    for name, values in tensors.items():
        np.testing.assert_array_equal(whole.tensors[name].data.view(np.float32), values)
    infos = [TensorInfo(name, values.shape, F32) for name, values in tensors.items()]
    assert file_bytes(metadata, infos, 100) == sum(path.stat().st_size for path in paths)


def test_one_part_keeps_its_name(tmp_path: Path) -> None:
    values = np.ones(8, np.float32)
    assert write(tmp_path / "a.gguf", {}, {"t": values}, split_bytes=1000) == [tmp_path / "a.gguf"]
    assert "split.count" not in read_gguf(tmp_path / "a.gguf").metadata
    assert part_paths(Path("x/a.gguf"), 2)[1] == Path("x/a-00002-of-00002.gguf")


def test_what_was_written_before_goes_when_the_new_parts_are_there(tmp_path: Path) -> None:
    """Parts of another number, and the whole file; nothing that is read, and nothing of another name."""
    tensors = {f"t{i}": np.full(8, i, np.float32) for i in range(4)}
    others = [tmp_path / name for name in ("it.gguf.txt", "it-00001-of-00002-x.gguf", "other-00001-of-00003.gguf")]
    for other in others:
        other.write_text("mine")
    four = write(tmp_path / "it.gguf", {}, tensors, split_bytes=32)
    assert len(four) == 4
    for options in ({"split_bytes": 64}, {}):
        with pytest.raises(InvalidArgument, match=r"it-00001-of-00004\.gguf: exists; .*--force"):
            write(tmp_path / "it.gguf", {}, tensors, **options)
    two = write(tmp_path / "it.gguf", {}, tensors, split_bytes=64, overwrite=True)
    assert sorted(tmp_path.iterdir()) == sorted([*two, *others])
    one = write(tmp_path / "it.gguf", {}, tensors, sources=two)
    assert sorted(tmp_path.iterdir()) == sorted([*one, *two, *others])
    four = write(tmp_path / "it.gguf", {}, tensors, split_bytes=32, overwrite=True)
    assert sorted(tmp_path.iterdir()) == sorted([*four, *others])


def test_what_was_written_before_stays_when_writing_fails(tmp_path: Path) -> None:
    tensors = {f"t{i}": np.full(8, i, np.float32) for i in range(4)}
    before = write(tmp_path / "it.gguf", {}, tensors, split_bytes=32)
    with pytest.raises(KeyboardInterrupt), GgufWriter(tmp_path / "it.gguf", {}, [], overwrite=True):
        raise KeyboardInterrupt
    assert sorted(tmp_path.iterdir()) == before


def write_halves_and_stop(folder: Path) -> None:
    infos = [TensorInfo("a", (8,), F32), TensorInfo("b", (8,), F32)]
    with GgufWriter(folder / "x.gguf", {}, infos, split_bytes=32) as writer:
        writer.write(np.ones(8, np.float32))
        writer.write(np.ones(4, np.float32))
        assert len(list(folder.iterdir())) == 2
        raise KeyboardInterrupt


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_halves_and_stop(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = output.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"x\.gguf: takes 0\.00 GB and the disk has 0\.00 GB free"):
        write(tmp_path / "new" / "x.gguf", {}, {"t": np.ones(1000, np.float32)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("when", ["write", "sync"])
def test_a_disk_that_fills_up(when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match="the disk is full; nothing was kept"):  # noqa: PT012, SIM117
        with GgufWriter(tmp_path / "x.gguf", {}, [TensorInfo("a", (8,), F32)]) as writer:
            if when == "write":
                writer._begin_files(0)
                monkeypatch.setattr(writer._output, "_file", Full(writer._output._file))
            else:
                monkeypatch.setattr(output.os, "fsync", full)
            writer.write(np.ones(8, np.float32))
    assert list(tmp_path.iterdir()) == []


class Full:
    """A file on a disk that is full."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.close = file.close

    def write(self, _: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_exists_is_kept(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_text("precious")
    with pytest.raises(InvalidArgument, match="--force"):
        write(tmp_path / "x.gguf", {}, {})
    assert (tmp_path / "x.gguf").read_text() == "precious"
    write(tmp_path / "x.gguf", {}, {}, overwrite=True)
    assert read_gguf(tmp_path / "x.gguf").tensors == {}
    with pytest.raises(InvalidArgument, match="is a folder"):
        write(tmp_path, {}, {}, overwrite=True)
