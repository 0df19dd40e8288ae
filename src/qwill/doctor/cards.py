"""Graphics cards with their drivers, and what programs could use them by. Nothing large is imported."""

import csv
import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from qwill.doctor.packages import version
from qwill.fit.detect import command, driver_gpus
from qwill.system.linux import ROOT

VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}
SMI = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
MIB = 1 << 20
LIBRARIES = {
    "cuda": ("libcuda.so.1", "nvcuda.dll"),
    "rocm": ("libamdhip64.so", "amdhip64_7.dll", "amdhip64_6.dll"),
    "vulkan": ("libvulkan.so.1", "vulkan-1.dll", "libMoltenVK.dylib"),
    "level_zero": ("libze_loader.so.1", "ze_loader.dll"),
}
PACKAGES = ("torch", "wgpu", "triton", "cupy-cuda12x", "cupy-cuda13x", "mlx", "pyopencl", "vulkan")


def cards(root: Path = ROOT) -> dict[str, Any]:
    """Cards that `qwill fit` counts with, all that the system lists, and the libraries and packages for them."""
    return {
        "known_to_fit": [{"name": gpu.name, "free": gpu.memory_bytes, "unified": gpu.unified} for gpu in driver_gpus()],
        "listed": nvidia_cards(command(SMI)) or listed_cards(root),
        "libraries": {**{name: _loads(files) for name, files in LIBRARIES.items()}, "metal": sys.platform == "darwin"},
        "packages": {name: version(name) for name in PACKAGES if version(name) is not None},
        "unreadable": [str(path) for path in _nodes(root) if not os.access(path, os.R_OK | os.W_OK)],
    }


def nvidia_cards(listing: str) -> list[dict[str, Any]]:
    """From the CSV of `nvidia-smi`: name, MiB, driver. Other lines are passed over."""
    rows = [row for row in csv.reader(listing.splitlines(), skipinitialspace=True) if len(row) == 3]
    return [
        {"name": name, "memory": int(size) * MIB if size.isdecimal() else None, "driver": f"nvidia {driver}"}
        for name, size, driver in rows
    ]


def listed_cards(root: Path = ROOT) -> list[dict[str, Any]]:
    """What Linux has of graphics cards, by vendor and number of device; the memory where AMD's driver tells it."""
    found = []
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        kind, vendor = _text(device / "class"), VENDORS.get(_text(device / "vendor"))
        if kind.startswith("0x03") and vendor is not None:
            size = _text(device / "mem_info_vram_total")
            driver = device / "driver"
            name = driver.resolve().name if driver.exists() else None
            version = _text(driver / "module/version") if name else ""
            found.append({
                "name": f"{vendor} {_text(device / 'device')}",
                "memory": int(size) if size.isdecimal() else None,
                "driver": f"{name} {version}".strip() if name else None,
            })  # fmt: skip
    return found


def _nodes(root: Path) -> list[Path]:
    """Files by which programs reach cards."""
    return [path for path in (root / "dev/kfd", *sorted((root / "dev/dri").glob("renderD*"))) if path.exists()]


def _loads(files: tuple[str, ...]) -> bool:
    for file in files:
        with suppress(OSError):
            ctypes.CDLL(file)
            return True
    return False


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text("utf-8", "replace").strip()
    return ""
