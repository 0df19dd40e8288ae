"""Arrays for outputs: memory that is used again only when nothing refers to it."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwill.ops import arrays


@pytest.fixture(autouse=True)
def no_blocks(monkeypatch):
    monkeypatch.setattr(arrays, "_blocks", [])


def test_large_arrays_begin_on_a_line():
    for shape in ((512, 1000), (70000,), (3, 5, 7000)):
        x = arrays.empty(*shape)
        assert (x.shape, x.dtype) == (shape, np.float32)
        assert x.flags.c_contiguous
        assert x.flags.writeable
        assert x.ctypes.data % 64 == 0


def test_small_and_huge_ones_are_not_kept():
    kept = [arrays.empty(4, 1000), arrays.empty(0, 7), arrays.empty(17, 1 << 20)]
    assert [x.shape for x in kept] == [(4, 1000), (0, 7), (17, 1 << 20)]
    assert arrays._blocks == []


def test_memory_is_used_again_when_the_last_view_is_gone():
    x = arrays.empty(512, 1024)
    place = x.ctypes.data
    view = x[3:].reshape(-1)
    del x
    assert arrays.empty(512, 1024).ctypes.data != place
    del view
    assert place in {x.ctypes.data for x in [arrays.empty(512, 1024), arrays.empty(512, 1024)]}


def test_a_block_that_is_too_small_makes_room_for_a_larger_one():
    for rows in range(100, 1000, 100):
        arrays.empty(rows, 1024)
    assert [block.size for block in arrays._blocks] == [900 * 4096]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(60, 900), st.integers(0, 6)), min_size=1, max_size=40))
def test_arrays_in_use_never_share_memory(steps):
    """Each step takes an array and lets another go; what was written stays until then."""
    arrays._blocks.clear()
    held: list[tuple[np.ndarray, int]] = []
    for number, (rows, which) in enumerate(steps):
        x = arrays.empty(rows, 1200)
        x[:] = number
        held.append((x[rows // 2 :], number))
        del x
        if which < len(held):
            del held[which]
        assert all((view == value).all() for view, value in held)
    assert len(arrays._blocks) <= 41


def test_threads_do_not_get_the_same_block():
    wrong = []

    def use(number: int) -> None:
        for _ in range(300):
            x = arrays.empty(70, 1024)
            x[:] = number
            if not (x == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
