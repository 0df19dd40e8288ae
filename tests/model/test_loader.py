"""How many weights wait to be packed: all of a mapped file, few of those that were made in memory."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qwill.model import loader
from qwill.model.loader import Planned
from qwill.quant.types import TYPES
from qwill.weights.mapped import map_file
from qwill.weights.tensor import Tensor


@pytest.fixture
def packed() -> list[int]:
    """How many weights were packed together each time."""
    return []


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, packed: list[int]) -> Planned:
    monkeypatch.setattr(loader, "MADE_TOGETHER", 3000)
    operations: Any = SimpleNamespace(
        plan=lambda tensor: tensor.name, pack_planned=lambda weights: packed.extend([len(weights)] * bool(weights))
    )
    return Planned(operations, None)


def matrix(name: str, data: np.ndarray) -> Tensor:
    return Tensor(name, (16, 16), TYPES["F32"], (data,), "test")


def test_what_no_file_holds_is_packed_as_it_comes(planned: Planned, packed: list[int]) -> None:
    for index in range(7):
        planned.add(matrix(str(index), np.zeros(1024, np.uint8)), 1024)
    assert packed == [3, 3]
    planned.pack()
    assert packed == [3, 3, 1]


def test_what_is_mapped_waits(planned: Planned, packed: list[int], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(7 * 1024))
    mapped = map_file(tmp_path / "file")
    for index in range(7):
        planned.add(matrix(str(index), mapped[index * 1024 : (index + 1) * 1024]), 1024)
    assert packed == []
    planned.pack()
    assert sum(packed) == 7
