"""Mapped files: what is packed from them takes no more memory, and can still be read."""

from pathlib import Path

import numpy as np
import pytest
from qwill._native import available_isas

from qwill.ops import native_operations
from qwill.quant.types import TYPES
from qwill.weights.mapped import is_mapped, map_file
from qwill.weights.tensor import Tensor


def resident(path: Path) -> int:
    """Bytes of the file's mapping that count as memory of this process."""
    sizes, ours = [], False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            ours = line.endswith(str(path))
        elif ours and line.startswith("Rss:"):
            sizes.append(int(line.split()[1]) * 1024)
    return sum(sizes)


def test_what_lies_in_a_file_and_what_does_not(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(100))
    mapped = map_file(file)
    assert is_mapped(mapped)
    assert is_mapped(mapped[12:20].view(np.uint32)[:1])
    assert is_mapped(np.frombuffer(memoryview(mapped)[5:], np.uint8))
    assert not is_mapped(mapped.copy())
    assert not is_mapped(np.frombuffer(bytes(8), np.uint8))


@pytest.mark.needs("proc")
def test_packing_gives_mapped_pages_back(tmp_path: Path) -> None:
    rows, columns = 8192, 1024
    values = np.random.default_rng().standard_normal((rows, columns), np.float32)
    file = tmp_path / "weights"
    values.tofile(file)
    data = map_file(file)
    tensor = Tensor("w", (rows, columns), TYPES["F32"], (data,), "file")
    x = np.random.default_rng().standard_normal((1, columns), np.float32)
    expected = values.tobytes()
    for isa in available_isas():
        operations = native_operations(2, isa)
        weight = operations.plan(tensor)
        operations.pack_planned([(weight, tensor)])
        assert resident(file) < data.nbytes / 4  # pages at the edges of what a task packs stay
        np.testing.assert_allclose(operations.linear(x, weight), x @ values.T, rtol=0, atol=1e-3)
        assert data.tobytes() == expected


@pytest.mark.needs("proc")
def test_looking_up_rows_gives_mapped_pages_back(tmp_path: Path) -> None:
    rows, columns = 4096, 256
    values = np.random.default_rng().standard_normal((rows, columns), np.float32)
    file = tmp_path / "table"
    values.tofile(file)
    table = Tensor("t", (rows, columns), TYPES["F32"], (map_file(file),), "file")
    ids = np.random.default_rng().integers(0, rows, 300).astype(np.int32)
    for _ in range(2):
        np.testing.assert_array_equal(native_operations(2).embedding(table, ids), values[ids])
        assert resident(file) == 0


def test_packing_leaves_other_memory_alone() -> None:
    """Were its pages given back, they would be zeros."""
    values = np.random.default_rng().standard_normal((4096, 1024), np.float32)
    before = values.copy()
    tensor = Tensor("w", values.shape, TYPES["F32"], (values.reshape(-1).view(np.uint8),), "memory")
    operations = native_operations(2)
    operations.pack_planned([(operations.plan(tensor), tensor)])
    np.testing.assert_array_equal(values, before)
