"""Apple's chips, by texts as macOS prints them. None of this was ever run on a Mac."""

import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwill.fit import detect
from qwill.fit.apple import IOREG, PROFILER, SYSCTL, Chip, chip, gpu_cores, mac_gpu, read_names
from qwill.fit.machines import GIB, named_machine

IOREG_TEXT = """+-o AGXAcceleratorG15X  <class AGXAcceleratorG15X, id 0x1000008b1, registered, matched, active>
    {
      "IOClass" = "AGXAcceleratorG15X"
      "model" = "Apple chip"
      "AGCInfo" = {"fLastSubmissionPID"=615,"fBusyCount"=0}
      "gpu-core-count" = %d
    }
"""
PROFILER_TEXT = """Graphics/Displays:

    Apple chip:

      Chipset Model: Apple chip
      Type: GPU
      Total Number of Cores: %d
      Metal Support: Metal 3
"""


def mac(name: str, gib: int, cores: int | None = None, text: str = IOREG_TEXT, *lines: str) -> Chip | None:
    sysctl = [f"machdep.cpu.brand_string: {name}", f"hw.memsize: {gib * GIB}", *lines]
    asked_for = IOREG if text == IOREG_TEXT else PROFILER

    def ask(words: Sequence[str]) -> str:
        if words == SYSCTL:
            return "\n".join(sysctl) + "\n"
        return text % cores if words == asked_for and cores is not None else ""

    return chip(ask)


# Cores of graphics processors and GB/s, of Apple's technical specifications; memory in GiB that they are sold with.
SOLD = [
    ("M1", 7, 8, 68), ("M1", 8, 16, 68), ("M1 Pro", 14, 16, 200), ("M1 Pro", 16, 32, 200), ("M1 Max", 24, 32, 400),
    ("M1 Max", 32, 64, 400), ("M1 Ultra", 48, 64, 800), ("M1 Ultra", 64, 128, 800),
    ("M2", 8, 8, 100), ("M2", 10, 24, 100), ("M2 Pro", 16, 16, 200), ("M2 Pro", 19, 32, 200), ("M2 Max", 30, 32, 400),
    ("M2 Max", 38, 96, 400), ("M2 Ultra", 60, 64, 800), ("M2 Ultra", 76, 192, 800),
    ("M3", 8, 8, 100), ("M3", 10, 24, 100), ("M3 Pro", 14, 18, 150), ("M3 Pro", 18, 36, 150), ("M3 Max", 30, 36, 300),
    ("M3 Max", 30, 96, 300), ("M3 Max", 40, 48, 400), ("M3 Max", 40, 128, 400), ("M3 Ultra", 60, 96, 819),
    ("M3 Ultra", 80, 512, 819),
    ("M4", 8, 16, 120), ("M4", 10, 32, 120), ("M4 Pro", 16, 24, 273), ("M4 Pro", 20, 64, 273), ("M4 Max", 32, 36, 410),
    ("M4 Max", 40, 48, 546), ("M4 Max", 40, 128, 546),
    ("M5", 8, 16, 153), ("M5", 10, 32, 153), ("M5 Pro", 16, 24, 307), ("M5 Pro", 20, 64, 307), ("M5 Max", 32, 36, 460),
    ("M5 Max", 40, 128, 614), ("A18 Pro", 5, 8, 60),
]  # fmt: skip


@pytest.mark.parametrize(("name", "cores", "gib", "bandwidth"), SOLD)
@pytest.mark.parametrize("text", [IOREG_TEXT, PROFILER_TEXT])
def test_every_chip_that_is_sold(name: str, cores: int, gib: int, bandwidth: int, text: str) -> None:
    own = mac(f"Apple {name}", gib, cores, text)
    assert own is not None
    assert own.gpu_cores == cores
    gpu = mac_gpu(own, gib * GIB)
    assert gpu is not None
    assert gpu.name in (name, f"{name} {cores}-core")
    assert gpu.unified
    assert gpu.bandwidth == bandwidth * 1e9
    assert gpu.bandwidth == named_machine(f"{name} {cores}-core GPU {gib}GB").gpus[0].bandwidth


def test_fewer_cores_compute_less() -> None:
    whole, binned = (mac_gpu(mac("Apple M2 Ultra", 64, cores), 64 * GIB) for cores in (76, 60))
    assert whole is not None
    assert binned is not None
    assert binned.bf16 == pytest.approx(whole.bf16 * 60 / 76)
    assert named_machine("M2 Ultra 60-core 64GB").gpus[0].bf16 == binned.bf16


def test_where_nobody_tells_the_cores_the_memory_does() -> None:
    for gib, bandwidth in ((36, 410e9), (64, 546e9)):
        own = mac("Apple M4 Max", gib)
        assert own is not None
        assert own.gpu_cores is None
        gpu = mac_gpu(own, gib * GIB)
        assert gpu is not None
        assert gpu.bandwidth == bandwidth


def test_an_ultra_that_is_not_known_is_two_of_the_same_max() -> None:
    own = mac("Apple M5 Ultra", 256, 80)
    assert own is not None
    gpu = mac_gpu(own, 256 * GIB)
    assert gpu is not None
    assert (gpu.name, gpu.bandwidth, gpu.bf16) == ("M5 Ultra", 2 * 614e9, 2 * 74e12)


@pytest.mark.parametrize("name", ["Apple M99", "Apple M99 Max", "Apple M99 Ultra", "Apple"])
def test_chips_that_are_not_known(name: str) -> None:
    own = mac(name, 64, 10)
    assert own is None or mac_gpu(own, 64 * GIB) is None


def test_other_processors() -> None:
    assert mac("Intel(R) Core(TM) i9-9880H CPU @ 2.30GHz", 32) is None
    assert chip(lambda _words: "") is None


@pytest.mark.parametrize(("name", "line"), [("Apple M1 (Virtual)", ""), ("Apple M2 Pro", "kern.hv_vmm_present: 1")])
def test_virtual_machines_have_no_graphics_processor(name: str, line: str) -> None:
    own = mac(name, 8, 8, IOREG_TEXT, line)
    assert own is not None
    assert own.virtual
    assert mac_gpu(own, 8 * GIB) is None


@pytest.mark.parametrize(
    ("gib", "lines", "limit"),
    [
        (16, ["iogpu.wired_limit_mb: 0"], 16 * GIB * 2 // 3),
        (24, [], 16 * GIB),
        (36, ["iogpu.wired_limit_mb: 0"], 27 * GIB),
        (192, [], 144 * GIB),
        (128, ["iogpu.wired_limit_mb: 122880"], 120 * GIB),
        (64, ["iogpu.wired_limit_mb: 999999"], 64 * GIB),
        (64, [f"debug.iogpu.wired_limit: {56 * GIB}"], 56 * GIB),
        (64, ["iogpu.wired_limit_mb: nonsense"], 48 * GIB),
    ],
)
def test_what_the_graphics_processor_may_use(gib: int, lines: list[str], limit: int) -> None:
    own = mac("Apple M2 Ultra", gib, 76, IOREG_TEXT, *lines)
    assert own is not None
    assert own.gpu_limit == limit
    for free in (limit - GIB, limit + GIB):
        gpu = mac_gpu(own, free)
        assert gpu is not None
        assert gpu.memory_bytes == min(free, limit)


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """`sysctl` fails where it lacks a name, and prints the others."""
    answers = {SYSCTL: f"machdep.cpu.brand_string: Apple M2 Ultra\nhw.memsize: {192 * GIB}\n", IOREG: IOREG_TEXT % 60}
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(detect, "printed", lambda words: answers.get(tuple(words), ""))
    monkeypatch.setattr(detect, "available_memory", lambda: 100 * GIB)
    assert [(gpu.name, gpu.memory_bytes) for gpu in detect.gpus()] == [("M2 Ultra 60-core", 100 * GIB)]
    answers[SYSCTL] = ""
    assert detect.gpus() == ()


def test_a_program_that_fails_in_part_is_read() -> None:
    program = (sys.executable, "-c", "print('hw.memsize: 7'); raise SystemExit(1)")
    assert read_names(detect.printed(program)) == {"hw.memsize": "7"}
    assert detect.printed(("/no/such/program",)) == ""


@given(st.text(), st.text(), st.text())
def test_any_text(sysctl: str, ioreg: str, profiler: str) -> None:
    told = {SYSCTL: sysctl, IOREG: ioreg, PROFILER: profiler}
    assert isinstance(chip(lambda words: told[tuple(words)]), Chip | None)
    assert gpu_cores(ioreg) is None or gpu_cores(ioreg) > 0


@given(st.text(), st.integers(), st.text())
def test_texts_that_are_nearly_right(name: str, memory: int, limit: str) -> None:
    text = f"machdep.cpu.brand_string: Apple {name}\nhw.memsize: {memory}\niogpu.wired_limit_mb: {limit}\n"
    own = chip(lambda words: text if words == SYSCTL else "")
    if own is not None:
        assert 0 < own.gpu_limit <= own.memory
        assert mac_gpu(own, own.memory) is None or own.memory > 0
