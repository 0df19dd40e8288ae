"""The bytes of Windows' list of cores, made here as its documentation lays them out."""

import struct
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from qwill.system.windows_processors import WindowsCore, fastest, read_cores, within_affinity

Masks = Sequence[tuple[int, int]]  # a group, and a bit for each processor of it
MASKS = st.dictionaries(st.integers(0, 9), st.integers(1, 2**64 - 1), min_size=1, max_size=3).map(
    lambda masks: list(masks.items())
)


def entry(efficiency: int, masks: Masks, relationship: int = 0, tail: bytes = b"") -> bytes:
    groups = b"".join(struct.pack("<QH6x", mask, group) for group, mask in masks)
    body = struct.pack("<BB20sH", 1, efficiency, bytes(20), len(masks)) + groups + tail
    return struct.pack("<II", relationship, 8 + len(body)) + body


def test_cores_with_two_threads_and_slower_ones_with_one() -> None:
    """As a processor of six fast and eight slow cores has them."""
    data = b"".join(entry(1, [(0, 0b11 << 2 * core)]) for core in range(6))
    data += b"".join(entry(0, [(0, 1 << 12 + core)]) for core in range(8))
    cores = read_cores(data)
    assert len(cores) == 14
    assert cores[5] == WindowsCore(1, frozenset({(0, 10), (0, 11)}))
    assert [len(core.processors) for core in fastest(cores)] == [2] * 6
    # Only slow ones may be used: then those are the fastest.
    assert len(fastest(within_affinity(cores, 0, 0b111 << 12))) == 3
    assert within_affinity(cores, 0, 0b0110) == [
        WindowsCore(1, frozenset({(0, 1)})),
        WindowsCore(1, frozenset({(0, 2)})),
    ]


def test_more_than_64_processors_stand_in_groups() -> None:
    cores = read_cores(b"".join(entry(0, [(group, 1 << bit)]) for group in range(3) for bit in range(64)))
    assert len(within_affinity(cores, None, 0)) == len(fastest(cores)) == 192
    assert within_affinity(cores, 2, 1 << 63) == [WindowsCore(0, frozenset({(2, 63)}))]


def test_what_is_no_core_is_passed_over() -> None:
    data = entry(0, [(0, 1)], tail=b"later fields") + entry(9, [(0, 2)], relationship=2) + entry(0, [(0, 4)])
    assert [core.processors for core in read_cores(data)] == [{(0, 0)}, {(0, 2)}]


@given(st.binary(max_size=200) | st.builds(lambda cut: entry(0, [(0, 1), (1, 5)])[:cut], st.integers(0, 64)))
def test_any_bytes_are_read(data: bytes) -> None:
    for core in read_cores(data):
        assert 0 <= core.efficiency < 256
    assert fastest([]) == []


@given(st.lists(st.tuples(st.integers(0, 255), MASKS)))
def test_lists_are_read_back(cores: list[tuple[int, Masks]]) -> None:
    read = read_cores(b"".join(entry(efficiency, masks) for efficiency, masks in cores))
    assert [core.efficiency for core in read] == [efficiency for efficiency, _ in cores]
    for core, (_, masks) in zip(read, cores, strict=True):
        assert sum(1 << bit << 64 * group for group, bit in core.processors) == sum(
            mask << 64 * group for group, mask in masks
        )
