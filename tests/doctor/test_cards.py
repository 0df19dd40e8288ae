"""Cards and their drivers, on made-up answers and trees."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwill.doctor.cards import listed_cards, nvidia_cards


def test_nvidia() -> None:
    listing = "NVIDIA H200, 143771, 570.133.20\nNVIDIA GB10, [N/A], 580.95.05\nFailed to initialize NVML\n"
    assert nvidia_cards(listing) == [
        {"name": "NVIDIA H200", "memory": 143771 << 20, "driver": "nvidia 570.133.20"},
        {"name": "NVIDIA GB10", "memory": None, "driver": "nvidia 580.95.05"},
    ]


@given(st.text())
def test_any_answer(listing: str) -> None:
    assert isinstance(nvidia_cards(listing), list)


def device(root: Path, slot: str, driver: str | None = None, **files: str) -> None:
    folder = root / "sys/bus/pci/devices" / slot
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.removesuffix("_")).write_text(f"{text}\n")
    if driver:
        target = root / "sys/bus/pci/drivers" / driver
        (target / "module").mkdir(parents=True, exist_ok=True)
        (folder / "driver").symlink_to(target)


@pytest.mark.needs("links")
def test_what_the_system_lists(tmp_path: Path) -> None:
    device(tmp_path, "0000:03:00.0", "amdgpu", class_="0x030000", vendor="0x1002", device="0x744c",
           mem_info_vram_total=str(24 << 30))  # fmt: skip
    device(tmp_path, "0000:04:00.0", class_="0x030200", vendor="0x10de", device="0x2684")
    device(tmp_path, "0000:00:1f.0", "ahci", class_="0x010601", vendor="0x8086", device="0x1234")
    device(tmp_path, "0000:00:02.0", "bochs", class_="0x030000", vendor="0x1234", device="0x1111")
    (tmp_path / "sys/bus/pci/drivers/amdgpu/module/version").write_text("6.12.12\n")
    assert listed_cards(tmp_path) == [
        {"name": "AMD 0x744c", "memory": 24 << 30, "driver": "amdgpu 6.12.12"},
        {"name": "NVIDIA 0x2684", "memory": None, "driver": None},
    ]
    assert listed_cards(tmp_path / "nowhere") == []
