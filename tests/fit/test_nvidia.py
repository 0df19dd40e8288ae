"""NVIDIA's cards, by a driver's program and library that are made up."""

import ctypes
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwill.fit import detect
from qwill.fit.machines import GIB
from qwill.fit.nvidia import Chip, nvidia_gpus, read_chips

# Answers for the fields that it is asked for, as the driver's own does, and knows no others.
SMI = """#!{python}
import sys
cards = {cards!r}
asked = next(word.partition("=")[2] for word in sys.argv if word.startswith("--query-gpu=")).split(",")
assert "--format=csv,noheader,nounits" in sys.argv
for field in asked:
    if field not in cards[0]:
        print('Field "%s" is not a valid field to query.' % field)
        sys.exit(2)
for card in cards:
    print(", ".join(card[field] for field in asked))
"""
UNKNOWN = {
    "name": "NVIDIA GeForce RTX 6095",
    "memory.free": "32000",
    "memory.total": "32768",
    "clocks.max.memory": "16001",
    "clocks.max.sm": "3000",
}

Driver = Callable[..., None]


pytestmark = pytest.mark.needs("scripts")


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Puts a program of that name in front of all others, and a library beside it."""

    def install(*cards: dict[str, str], chips: tuple[Chip, ...] = ()) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(SMI.format(python=sys.executable, cards=cards))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(detect, "read_chips", lambda: list(chips))

    return install


def told(gpus: Any) -> list[tuple[str, float, float]]:
    return [(gpu.name, gpu.memory_bytes / (1 << 20), gpu.bandwidth / 1e9) for gpu in gpus]


def test_what_nvidia_smi_prints() -> None:
    listing = (
        "NVIDIA GeForce RTX 4090, 23000, 24564\n"
        "NVIDIA A100-SXM4-80GB, 80000, 81920\n"
        "NVIDIA A100-PCIE-40GB, 40000, 40960\n"
        "NVIDIA H100 80GB HBM3, 81000, 81559\n"
        "NVIDIA GeForce RTX 4060 Ti, 8000, 8188\n"
        "NVIDIA GeForce RTX 4070 Laptop GPU, 7000, 8188\n"  # slower than its name without that word
        "NVIDIA GeForce RTX 2080 Super with Max-Q Design, 7000, 8192\n"  # slower than its name, how much nobody says
        "Quadro K620, 2000, 2048\n"  # not known
        "[N/A], [N/A], [N/A]\n"
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"
    )
    found = nvidia_gpus(listing)
    known = ["RTX 4090", "A100 80GB", "A100 40GB", "H100 80GB", "RTX 4060 Ti 8GB", "RTX 4070 Laptop"]
    assert [gpu.name for gpu in found] == known
    assert found[0].memory_bytes == 23000 << 20  # what is free
    assert nvidia_gpus("") == ()


def test_an_unknown_card_is_read_from_the_system(driver: Driver) -> None:
    known = {"name": "NVIDIA GeForce RTX 3090", "memory.free": "24000", "memory.total": "24576"}
    known |= {"clocks.max.memory": "9751", "clocks.max.sm": "2100"}
    driver(known, UNKNOWN, chips=(Chip(384, 10496), Chip(512, 24000)))
    found = detect.gpus()
    # 512 bits, twice a clock; 4 operations a core and clock
    assert told(found) == [("RTX 3090", 24000, 936), ("NVIDIA GeForce RTX 6095", 32000, 2048.128)]
    assert found[1].bf16 == 24000 * 3e9 * 4


def test_where_no_library_tells_the_width_it_is_the_narrowest_that_is_usual(driver: Driver) -> None:
    driver(UNKNOWN)
    assert told(detect.gpus()) == [("NVIDIA GeForce RTX 6095", 32000, 2048.128)]  # 16 chips of 2 GiB and 32 bits
    driver(UNKNOWN | {"name": "NVIDIA X900", "memory.total": "98304", "clocks.max.memory": "2600"})
    assert told(detect.gpus()) == [("NVIDIA X900", 32000, 3993.6)]  # 6 stacks: 2 x 2.6 x 6144 / 8


@pytest.mark.parametrize(
    ("memory_clock", "bits", "name", "published"),
    [
        (10501, 384, "RTX 4090", 1008),
        (9751, 384, "RTX 3090", 936),
        (1593, 5120, "A100 80GB", 2039),
        (2619, 5120, "H100 80GB", 3350),
        (5001, 256, "T4", 320),
        (877, 4096, "V100", 900),
        (5505, 352, "GTX 1080 Ti", 484),
    ],
)
def test_clocks_and_widths_give_what_is_published(memory_clock: int, bits: int, name: str, published: float) -> None:
    """With what the driver tells of cards that are known."""
    listing = f"A card like the {name}, 9000, 10000"
    found = nvidia_gpus(listing, f"{listing}, {memory_clock}, 2000", [Chip(bits, None)])
    assert found[0].bandwidth / 1e9 == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(
    "card",
    [
        UNKNOWN | {"clocks.max.memory": "[N/A]"},
        {key: value for key, value in UNKNOWN.items() if not key.startswith("clocks")},  # an older program
    ],
)
def test_a_card_that_tells_no_clock_is_assumed_to_be_usual_and_named(
    driver: Driver, caplog: pytest.LogCaptureFixture, card: dict[str, str]
) -> None:
    driver(card)
    assert told(detect.gpus()) == [("NVIDIA GeForce RTX 6095", 32000, 896)]  # 16 chips of 32 bits at 14 Gb/s
    assert "RTX 6095 is not known, nor its memory's clock: taken to read 896 GB/s; --hardware" in caplog.text
    assert '"32GB VRAM at 896GB/s"' in caplog.text


@given(st.text() | st.lists(st.sampled_from(["x", ", ", "1", "-1", "[N/A]", '"', "\n", "²"])).map("".join))
def test_whatever_the_program_prints(listing: str) -> None:
    assert all(gpu.memory_bytes >= 0 for gpu in nvidia_gpus(listing, listing))


class Library:
    """NVML's functions, which return 0 when they could and write through pointers."""

    def __init__(self, cards: list[dict[str, int]], started: int = 0) -> None:
        self._cards, self._started, self.open = cards, started, 0

    def nvmlInit_v2(self) -> int:  # noqa: N802 - its own names
        self.open += not self._started
        return self._started

    def nvmlShutdown(self) -> int:  # noqa: N802
        self.open -= 1
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self._cards)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: ctypes.c_uint, device: Any) -> int:  # noqa: N802
        device._obj.value = index.value + 1
        return 15 if self._cards[index.value] == {} else 0

    def nvmlDeviceGetMemoryBusWidth(self, device: ctypes.c_void_p, value: Any) -> int:  # noqa: N802
        assert device.value is not None
        width = self._cards[device.value - 1].get("width")
        value._obj.value = width or 0
        return 0 if width else 3


def test_the_library_is_asked_for_widths() -> None:
    library = Library([{"width": 384}, {"other": 1}, {}])
    assert read_chips(lambda _name: library) == [Chip(384, None), Chip(None, None), Chip(None, None)]  # type: ignore[arg-type,return-value]
    assert library.open == 0


def test_a_library_that_does_not_start_or_is_not_there_tells_nothing() -> None:
    assert read_chips(lambda _name: Library([{"width": 384}], started=9)) == []  # type: ignore[arg-type,return-value]

    def load(name: str) -> ctypes.CDLL:
        raise OSError(f"{name}: cannot open shared object file")

    assert read_chips(load) == []


def test_a_card_that_has_the_machines_memory(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "installed_memory", lambda: 120 * GIB)
    driver({"name": "NVIDIA GB10", "memory.free": "[N/A]", "memory.total": "[N/A]"})
    assert [(gpu.name, gpu.memory_bytes, gpu.unified) for gpu in detect.gpus()] == [("DGX Spark", 116 * GIB, True)]


def test_memory_is_what_is_free() -> None:
    assert nvidia_gpus("NVIDIA H200, 100, 143771")[0].memory_bytes == 100 << 20 < GIB
