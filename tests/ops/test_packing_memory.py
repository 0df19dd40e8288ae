"""Packing gives a mapped file's pages back to the system: nothing of the file, nor of what lies beside it, is lost."""

import mmap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kernels import ISAS, cpu_of, normal
from weights import random_tensor

from qwill.ops.linear import native as linear
from qwill.weights.mapped import map_file


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("before", [0, 1, mmap.PAGESIZE - 1, mmap.PAGESIZE])
def test_a_mapped_file_stays_as_it_is(isa: str, before: int, rng: np.random.Generator, tmp_path: Path) -> None:
    """Wherever the weight lies among the pages. Packed, it fills huge pages, and no whole number of them."""
    tensor = random_tensor(rng, "Q8_0", 1037, 2112)
    neighbour = rng.integers(0, 256, before + 77, np.uint8)
    (tmp_path / "file").write_bytes(np.concatenate([neighbour[:before], *tensor.parts, neighbour[before:]]).tobytes())
    mapped = map_file(tmp_path / "file")
    part = mapped[before : before + tensor.nbytes]
    weight = linear.pack(cpu_of(isa), replace(tensor, parts=(part,)))
    assert weight.nbytes > 2 << 20
    assert (part == tensor.parts[0]).all()
    assert (np.concatenate([mapped[:before], mapped[before + tensor.nbytes :]]) == neighbour).all()
    x = normal(rng, 3, 2112)
    expected = linear.linear(cpu_of(isa), x, linear.pack(cpu_of(isa), tensor))
    assert (linear.linear(cpu_of(isa), x, weight) == expected).all()
