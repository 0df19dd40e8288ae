"""Machines to estimate for: what holds bytes and computes. Named ones from machines.toml; detect.py describes this one.

A name is made of parts: `RTX 4090`, `8x H100`, `RTX 4090 + 256GB RAM`, `RTX 3090 + RTX 3060 + 192GB RAM`,
`M3 Ultra 256GB`, `EPYC 9654 + 768GB RAM`.
"""

import re
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from qwill.errors import InvalidArgument

GIB = 1 << 30
READ_OF_NOMINAL = 0.8  # what a plain sum reads of a memory's nominal bandwidth: STREAM's usual share
SYSTEM_BYTES = 4 * GIB  # of a named machine's memory that system and other programs keep
DISK_BANDWIDTH = 3e9  # of a named machine: an NVMe drive on four lanes of PCIe 3.0
AUTO, DESKTOP, SERVER = "auto", "desktop", "server"
WIDEST_DESKTOP = 2  # cards; more of them stand in a server


@dataclass(frozen=True)
class Host:
    """Processor and memory, 0 bytes where it was not told how much is beside the cards.

    bandwidth: bytes per second that all cores read together; rate: operations per second of int8 dot products; both as
    `qwill.fit` measures them.
    """

    name: str
    isa: str
    cores: int
    memory_bytes: int
    bandwidth: float
    rate: float


@dataclass(frozen=True)
class Gpu:
    """A graphics processor, or the one of a Mac, whose memory is all the machine's. Rates in operations per second, as
    its maker says; link: bytes per second from the host.
    """

    name: str
    memory_bytes: int
    bandwidth: float
    bf16: float
    fp8: float | None = None
    int8: float | None = None
    link: float = 25e9
    unified: bool = False


@dataclass(frozen=True)
class Machine:
    """What a model may run on. disk_free: None where nobody knows. watts, usd: None where nobody knows."""

    name: str
    host: Host | None
    gpus: tuple[Gpu, ...] = ()
    disk_bandwidth: float | None = DISK_BANDWIDTH
    disk_free: int | None = None
    watts: float | None = None
    usd: float | None = None

    @property
    def memory_bytes(self) -> int:
        """That can hold weights."""
        return sum(gpu.memory_bytes for gpu in self.gpus) + (self.host.memory_bytes if self.host else 0)

    def without_gpus(self) -> "Machine":
        return replace(self, gpus=())


def names() -> list[str]:
    """What `--hardware` knows, without the combinations."""
    table = _table()
    return [*table["gpus"], *table["macs"], *(name for name in table["hosts"] if name not in (DESKTOP, SERVER))]


def named_machine(text: str) -> Machine:
    """The machine of that name. Raises InvalidArgument for what is not known, with all that is."""
    gpus: list[Gpu] = []
    host: Host | None = None
    ram: int | None = None
    watts = usd = 0.0
    for word in text.split("+"):
        count, name = _counted(word.strip())
        if match := re.fullmatch(r"(\d+)\s*(?:gb|gib)(?:\s*(?:of\s*)?(?:ram|memory))", name, re.IGNORECASE):
            ram = int(match[1]) * GIB * count
            continue
        kind, own_name, own, size = _look_up(name, text)
        watts += count * own["watts"]
        usd += count * own["usd"]
        if kind == "hosts":
            host = _host(own_name, own)
            ram = size if size is not None else ram
        else:
            gpus += [_gpu(own_name, own, kind == "macs", size)] * count
    macs = [gpu for gpu in gpus if gpu.unified]
    if macs and (len(gpus) > 1 or host is not None or ram is not None):
        raise InvalidArgument(f"{text}: a Mac's memory is one for all; say it so: {macs[0].name} 128GB")
    if host is None and not macs:
        around = DESKTOP if len(gpus) <= WIDEST_DESKTOP else SERVER
        own = _table()["hosts"][around]
        host, watts, usd = _host(around, own), watts + own["watts"], usd + own["usd"]
        ram = ram or 0
    if host is not None:
        installed = host.memory_bytes if ram is None else ram
        host = replace(host, memory_bytes=max(installed - SYSTEM_BYTES, min(installed, 1)))
    return Machine(text.strip(), host, tuple(gpus), watts=watts, usd=usd)


def known_gpu(driver_name: str, free: int, installed: int) -> Gpu | None:
    """The card that a driver calls so, with the memory that is free; None when its rates are not known here.

    A card of a laptop is slower than its name, so it is not known.
    """
    words = set(re.findall(r"[a-z0-9]+", driver_name.lower()))
    if "laptop" in words or "max" in words:
        return None
    best: tuple[int, str] | None = None
    for name, own in _table()["gpus"].items():
        its = set(re.findall(r"[a-z0-9]+", re.sub(r"\b\d+GB", "", name).lower()))
        differs = abs(own["memory_gib"] * GIB - installed) / installed
        if its <= words and differs < 0.15 and (best is None or len(its) > best[0]):
            best = (len(its), name)
    return replace(_gpu(best[1], _table()["gpus"][best[1]], False, None), memory_bytes=free) if best else None


def known_mac(processor: str, installed: int) -> Gpu | None:
    """The graphics processor of a Mac with that processor, such as "Apple M3 Ultra"; None when it is not known here."""
    macs = _table()["macs"]
    name = next((name for name in macs if _plain(name) == _plain(processor)), None)
    return _gpu(name, macs[name], True, installed) if name else None


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("machines.toml").read_text("utf-8"))


def _counted(word: str) -> tuple[int, str]:
    match = re.fullmatch(r"(\d{1,3})\s*[x×*]\s*(.+)", word, re.IGNORECASE)
    return (max(int(match[1]), 1), match[2].strip()) if match else (1, word)


def _look_up(name: str, whole: str) -> tuple[str, str, dict[str, Any], int | None]:
    """Kind, name and table of a part of a machine, and the memory that its name says, if that is not the part's own."""
    for candidate, size in ((name, None), _without_size(name)):
        for kind, entries in _table().items():
            for own_name, own in entries.items():
                if _plain(candidate) in (_plain(own_name), *map(_plain, own.get("also", ()))):
                    if kind == "gpus" and size is not None and abs(size / GIB - own["memory_gib"]) > 0.15 * size / GIB:
                        continue  # another card of that name
                    return kind, own_name, own, size if kind != "gpus" else None
    raise InvalidArgument(f"--hardware {whole}: {name!r} is not known; there are auto, NGB RAM, {', '.join(names())}")


def _without_size(name: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(.+?)\s*\b(\d+)\s*(?:gb|gib)", name, re.IGNORECASE)
    return (match[1], int(match[2]) * GIB) if match else (name, None)


def _plain(name: str) -> str:
    """Without makers, product lines, spaces and case."""
    makers = r"\b(nvidia|geforce|apple|amd|intel|instinct|tesla|mac ?(studio|mini|book( pro| air)?))\b"
    name = re.sub(makers, "", name.lower())
    return re.sub(r"rtx|[^a-z0-9+]", "", name)


def _host(name: str, own: dict[str, Any]) -> Host:
    bandwidth = own["bandwidth"] * 1e9 * READ_OF_NOMINAL
    return Host(name, own["isa"], own["cores"], int(own["memory_gib"] * GIB), bandwidth, own["gops"] * 1e9)


def _gpu(name: str, own: dict[str, Any], unified: bool, size: int | None) -> Gpu:
    memory = int(own["memory_gib"] * GIB) if size is None else size
    return Gpu(
        name,
        memory - SYSTEM_BYTES if unified else memory,
        own["bandwidth"] * 1e9,
        own["bf16"] * 1e12,
        own["fp8"] * 1e12 if "fp8" in own else None,
        own["int8"] * 1e12 if "int8" in own else None,
        own.get("link", 0) * 1e9,
        unified,
    )
