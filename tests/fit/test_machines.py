"""Machines by name, and what the drivers' names are taken for."""

import pytest

from qwill.errors import InvalidArgument
from qwill.fit.machines import GIB, SYSTEM_BYTES, known_mac, named_machine, names


@pytest.mark.parametrize("name", names())
def test_every_name_is_a_machine(name: str) -> None:
    machine = named_machine(name)
    assert machine.memory_bytes > GIB
    assert machine.watts is not None
    assert machine.usd is not None
    assert named_machine(name.lower().replace(" ", "")).memory_bytes == machine.memory_bytes


def test_cards_and_ram() -> None:
    machine = named_machine("RTX 4090 24GB + 256GB RAM")
    assert [gpu.name for gpu in machine.gpus] == ["RTX 4090"]
    assert machine.gpus[0].memory_bytes == 24 * GIB
    assert machine.host is not None
    assert machine.host.memory_bytes == 256 * GIB - SYSTEM_BYTES


@pytest.mark.parametrize("text", ["8x H100", "8×H100 80GB", "8 x nvidia h100", "8xH100 SXM"])
def test_a_number_of_cards(text: str) -> None:
    machine = named_machine(text)
    assert [gpu.name for gpu in machine.gpus] == ["H100 80GB"] * 8
    assert machine.host is not None
    assert machine.host.memory_bytes == 0  # nobody said that there is RAM for weights


def test_cards_of_two_kinds() -> None:
    machine = named_machine("192GB RAM + 3090 + 3060")
    assert [gpu.name for gpu in machine.gpus] == ["RTX 3090", "RTX 3060"]


def test_memory_in_the_name() -> None:
    assert named_machine("Mac Studio M3 Ultra 512GB").memory_bytes == 512 * GIB - SYSTEM_BYTES
    assert named_machine("EPYC 9654 1024GB").memory_bytes == 1024 * GIB - SYSTEM_BYTES
    assert named_machine("EPYC 9654 + 384GB RAM").memory_bytes == 384 * GIB - SYSTEM_BYTES
    assert named_machine("A100 40GB").gpus[0].memory_bytes == 40 * GIB
    assert named_machine("64GB RAM").memory_bytes == 64 * GIB - SYSTEM_BYTES


@pytest.mark.parametrize("text", ["RTX 9090", "", "8x", "RTX 4090 + RTX 9090", "H100 24GB", "GB RAM", "1x H100 + x"])
def test_what_is_not_known_is_told_with_what_is(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"is not known; there are auto, .*RTX 4090.*M3 Ultra.*EPYC 9654"):
        named_machine(text)


@pytest.mark.parametrize("text", ["M3 Ultra + 64GB RAM", "M1 + RTX 4090"])
def test_a_mac_is_one_memory(text: str) -> None:
    with pytest.raises(InvalidArgument, match="a Mac's memory is one for all"):
        named_machine(text)


def test_a_macs_processor() -> None:
    mac = known_mac("Apple M3 Ultra", 96 * GIB)
    assert mac is not None
    assert mac.unified
    assert (mac.name, mac.memory_bytes) == ("M3 Ultra", 96 * GIB - SYSTEM_BYTES)
    assert known_mac("Apple M99", 96 * GIB) is None


@pytest.mark.parametrize(("memory", "bandwidth"), [(36, 300e9), (48, 400e9), (64, 400e9), (96, 300e9), (128, 400e9)])
def test_a_macs_memory_tells_which_of_a_name_it_is(memory: int, bandwidth: float) -> None:
    mac = known_mac("Apple M3 Max", memory * GIB)
    assert mac is not None
    assert mac.bandwidth == bandwidth
    assert named_machine(f"MacBook Pro M3 Max {memory}GB").gpus[0].bandwidth == bandwidth


@pytest.mark.parametrize("text", ["2x M2 Ultra", "2x DGX Spark 128GB", "M4 + M4"])
def test_machines_beside_each_other_are_not_one(text: str) -> None:
    with pytest.raises(InvalidArgument, match="fit tells of one machine"):
        named_machine(text)


@pytest.mark.parametrize("text", ["0x RTX 3090", "0x 24GB VRAM at 936GB/s", "RTX 3090 + 0x 3060"])
def test_none_of_something(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is none; leave it out"):
        named_machine(text)


@pytest.mark.parametrize(("text", "boards"), [("GH200 96GB", 1), ("GH200 144GB", 1), ("2x GH200", 2)])
def test_a_card_on_one_board_with_its_processor(text: str, boards: int) -> None:
    host = named_machine(text).host
    assert host is not None
    assert (host.name, host.cores, host.memory_bytes) == ("Grace", 72 * boards, 480 * boards * GIB - SYSTEM_BYTES)
