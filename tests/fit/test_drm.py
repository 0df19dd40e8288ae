"""Cards of AMD and Intel, on a made-up /sys."""

from pathlib import Path

import pytest

from qwill.fit.drm import drm_gpus
from qwill.fit.machines import GIB


def card(root: Path, index: int, vendor: str, device: str, total: int | None = None, used: int = 0) -> None:
    folder = root / f"sys/class/drm/card{index}/device"
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(f"{vendor}\n")
    (folder / "device").write_text(f"{device}\n")
    if total is not None:
        (folder / "mem_info_vram_total").write_text(f"{total}\n")
        (folder / "mem_info_vram_used").write_text(f"{used}\n")
    (root / f"sys/class/drm/card{index}-DP-1").mkdir()  # a connector


@pytest.mark.parametrize(
    ("device", "size", "name"),
    [
        ("0x744c", 24, "RX 7900 XTX"),
        ("0x744c", 20, "RX 7900 XT"),
        ("0x747e", 12, "RX 7700 XT"),
        ("0x73bf", 16, "RX 6800"),  # or one of two that are faster
        ("0x7550", 16, "RX 9070"),  # or the XT
        ("0x74a1", 192, "MI300X"),
    ],
)
def test_amd_tells_its_memory(tmp_path: Path, device: str, size: int, name: str) -> None:
    card(tmp_path, 0, "0x1002", device, size * GIB - (16 << 20), 2 * GIB)
    found = drm_gpus(tmp_path)
    assert [(gpu.name, gpu.memory_bytes) for gpu in found] == [(name, (size - 2) * GIB - (16 << 20))]


def test_intel_is_known_by_its_number(tmp_path: Path) -> None:
    card(tmp_path, 0, "0x8086", "0x7d55")  # a processor's own
    card(tmp_path, 1, "0x8086", "0xe20b")
    assert [(gpu.name, gpu.memory_bytes) for gpu in drm_gpus(tmp_path)] == [("Arc B580", 12 * GIB)]


def test_others_are_left_out(tmp_path: Path) -> None:
    assert drm_gpus(tmp_path) == ()
    card(tmp_path, 0, "0x1002", "0x164e", 512 << 20)  # a processor's own
    card(tmp_path, 1, "0x10de", "0x744c", 24 * GIB)
    card(tmp_path, 2, "0x1002", "0x744c")
    card(tmp_path, 3, "0x1002", "0x744c", 0)
    assert drm_gpus(tmp_path) == ()
