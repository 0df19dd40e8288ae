"""Rows of the embedding table against the decoders."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from kernels import ISAS, cpu_of
from weights import odd_columns, random_tensor

from qwill.ops.embedding import native, reference
from qwill.ops.linear.reference import pack as decoded
from qwill.quant.types import TYPES


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", TYPES)
def test_embedding(isa: str, name: str, rng: np.random.Generator) -> None:
    table = random_tensor(rng, name, 300, odd_columns(TYPES[name]))
    ids = rng.integers(0, 300, 147).astype(np.int32)
    np.testing.assert_array_equal(native.embedding(cpu_of(isa), table, ids), decoded(table).array[ids])


@pytest.mark.parametrize("operation", [partial(native.embedding, cpu_of(ISAS[-1])), reference.embedding])
@pytest.mark.parametrize("by_row", [False, True])
def test_scales(operation: Callable[..., np.ndarray], by_row: bool, rng: np.random.Generator) -> None:
    table = random_tensor(rng, "F8_E4M3", 300, 200, by_row=by_row)
    ids = rng.integers(0, 300, 50).astype(np.int32)
    np.testing.assert_array_equal(operation(table, ids), decoded(table).array[ids])


@pytest.mark.parametrize("bad", [-1, 300])
def test_ids_outside_the_table_are_refused(bad: int, rng: np.random.Generator) -> None:
    table = random_tensor(rng, "Q8_0", 300, 32)
    with pytest.raises(ValueError, match="out of range"):
        native.embedding(cpu_of(ISAS[-1]), table, np.array([0, bad], np.int32))
