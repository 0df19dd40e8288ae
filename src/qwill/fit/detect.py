"""This machine, as far as it can be read or measured in about two seconds."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from qwill.fit.apple import chip, mac_gpu
from qwill.fit.bandwidth import read_bandwidth
from qwill.fit.disk import read_rate
from qwill.fit.drm import drm_gpus
from qwill.fit.integer_rate import integer_rate
from qwill.fit.machines import AUTO, Gpu, Host, Machine, known_gpu
from qwill.fit.nvidia import SMI, SMI_CLOCKS, cards, nvidia_gpus, read_chips, unified_gpus
from qwill.system.memory import available_memory, installed_memory
from qwill.system.processors import performance_cores, processor_name

SMI_SECONDS = 20


def this_machine(model_file: Path | None = None, folder: Path | None = None) -> Machine:
    """Free memory and disk, the memory's bandwidth and the rate of integer products measured now, and what the drivers
    tell of graphics processors. model_file: the disk's rate is measured on it. folder: whose disk must have room.
    """
    from qwill._native import available_isas

    isa = os.environ.get("QWILL_ISA") or available_isas()[-1]
    cores = performance_cores()
    host = Host(processor_name(), isa, cores, available_memory(), read_bandwidth(cores), integer_rate(cores, isa))
    file = model_file or _own_file()
    return Machine(
        AUTO, host, gpus(), disk_bandwidth=read_rate(file) if file else None, disk_free=disk_free(folder or Path.cwd())
    )


def gpus() -> tuple[Gpu, ...]:
    """Graphics processors whose bandwidth and rates are known or told by their driver; others are left out."""
    return driver_gpus() or (_torch_gpus() if Path("/dev/kfd").exists() else ())


def driver_gpus() -> tuple[Gpu, ...]:
    """Those that drivers and the system tell of, without importing anything large."""
    if sys.platform == "darwin":
        own = chip(printed)
        mac = mac_gpu(own, available_memory()) if own else None
        return (mac,) if mac else ()
    return _nvidia_gpus() or drm_gpus()


def _nvidia_gpus() -> tuple[Gpu, ...]:
    listing = command(SMI)
    if shared := unified_gpus(listing, installed_memory()):
        return shared
    found = nvidia_gpus(listing)
    return found if len(found) == cards(listing) else nvidia_gpus(listing, command(SMI_CLOCKS), read_chips())


def command(words: Sequence[str], run: Callable[..., "subprocess.CompletedProcess[str]"] = subprocess.run) -> str:
    """What a program prints; nothing where there is no such program or it fails."""
    result = _ended(words, run)
    return result.stdout if result is not None and result.returncode == 0 else ""


def printed(words: Sequence[str]) -> str:
    """What a program prints, also where it fails in part."""
    result = _ended(words, subprocess.run)
    return "" if result is None else result.stdout


def _ended(
    words: Sequence[str], run: Callable[..., "subprocess.CompletedProcess[str]"]
) -> "subprocess.CompletedProcess[str] | None":
    try:
        return run(words, capture_output=True, encoding="utf-8", errors="replace", timeout=SMI_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


def disk_free(folder: Path) -> int | None:
    """Free bytes where a folder is, or would be made."""
    for place in (folder, *folder.parents):
        if place.exists():
            return shutil.disk_usage(place).free
    return None


def _torch_gpus() -> tuple[Gpu, ...]:
    """AMD's, through torch where it is installed: its import takes a second, so only where there may be one."""
    if find_spec("torch") is None:
        return ()
    import torch

    found = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        gpu = known_gpu(torch.cuda.get_device_name(index), free, total)
        if gpu is not None:
            found.append(gpu)
    return tuple(found)


def _own_file() -> Path | None:
    """The largest file that came with qwill."""
    demo = Path(__file__).parent.parent / "demo" / "demo.gguf"
    return demo if demo.is_file() else None
