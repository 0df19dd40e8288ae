"""Graphics cards of AMD and Intel, as Linux lists them: by the numbers of their devices.

https://docs.kernel.org/gpu/amdgpu/driver-misc.html tells of the files of AMD's; Intel's memory is not told.
"""

from pathlib import Path

from qwill.fit.machines import Gpu, known_device
from qwill.system.linux import ROOT

AMD, INTEL = "0x1002", "0x8086"


def drm_gpus(root: Path = ROOT) -> tuple[Gpu, ...]:
    """Cards that are known; processors' own graphics and others are left out."""
    found = (_gpu(device) for device in sorted((root / "sys/class/drm").glob("card[0-9]*/device")))
    return tuple(gpu for gpu in found if gpu is not None)


def _gpu(device: Path) -> Gpu | None:
    vendor, number = _word(device / "vendor"), _word(device / "device").removeprefix("0x")
    total, used = _word(device / "mem_info_vram_total"), _word(device / "mem_info_vram_used")
    if vendor == AMD and total.isdigit() and int(total):
        return known_device(number, int(total) - (int(used) if used.isdigit() else 0), int(total))
    return known_device(number, None, None) if vendor == INTEL else None


def _word(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
