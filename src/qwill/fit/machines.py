"""Machines to estimate for: what holds bytes and computes. catalogue.py has those with names; detect.py describes this
one.

A name is made of parts: `RTX 4090`, `8x H100`, `2x4090 + 128GB`, `RTX 3090 + RTX 3060 + 192GB RAM`, `M3 Ultra 256GB`,
`EPYC 9654 12ch + 768GB RAM`, `24GB VRAM at 936GB/s + 64GB RAM at 80GB/s + 7GB/s disk`.
"""

from dataclasses import dataclass, field, replace

from qwill.errors import InvalidArgument
from qwill.fit import catalogue
from qwill.fit.catalogue import HOSTS, MACS, UNIFIED_MACHINES, Entry
from qwill.fit.spelling import DISK, GIB, RAM, UNIFIED, VRAM, Part, parts, read_part

READ_OF_NOMINAL = 0.8  # what a plain sum reads of a memory's nominal bandwidth: STREAM's usual share
SYSTEM_BYTES = 4 * GIB  # of a named machine's memory that system and other programs keep
DISK_BANDWIDTH = 3e9  # of a named machine: an NVMe drive on four lanes of PCIe 3.0
# That a card computes for each byte of memory traffic where its memory alone is told; those of an RTX 3090.
OPERATIONS_A_BYTE = 76
LONGEST_NAME = 500  # characters
AUTO, DESKTOP, LAPTOP, SERVER = "auto", "desktop", "laptop", "server"
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
    return [entry.name for entry in catalogue.entries() if entry.name not in (DESKTOP, LAPTOP, SERVER)]


def named_machine(text: str) -> Machine:
    """The machine of that name. Raises InvalidArgument for what is not known, with what is near."""
    if len(text) > LONGEST_NAME:
        raise InvalidArgument(f"--hardware: {len(text)} characters are too many for a machine's name")
    told = [read_part(each) for part in parts(text) for each in catalogue.system(part)]
    if not told:
        raise _unknown(text, text)
    machine = _Assembly(text)
    for part in told:
        machine.add(part)
    return machine.finish()


def known_gpu(driver_name: str, free: int, installed: int) -> Gpu | None:
    """The card that a driver calls so, with the memory that is free; None when its rates are not known here."""
    entry = catalogue.by_driver_name(driver_name, installed)
    return replace(_gpu(entry, None), memory_bytes=free) if entry else None


def known_device(device: str, free: int | None, installed: int | None) -> Gpu | None:
    """The card of that PCI device number, in hexadecimal digits; of several the slowest. None: nobody tells."""
    found = catalogue.by_device(device, installed)
    slowest = min(found, key=lambda entry: (entry.row["bandwidth"], entry.row["bf16"]), default=None)
    if slowest is None:
        return None
    gpu = _gpu(slowest, None)
    return replace(gpu, memory_bytes=gpu.memory_bytes if free is None else free)


def known_mac(processor: str, installed: int, gpu_cores: int | None = None) -> Gpu | None:
    """The graphics processor of a Mac with that processor, such as "Apple M3 Ultra"; None when it is not known here.

    gpu_cores: where they are told, else the memory says which of a name it is.
    """
    entry = catalogue.mac(processor, gpu_cores, installed)
    return _gpu(entry, installed) if entry else None


def known_unified(driver_name: str, installed: int) -> Gpu | None:
    """The graphics processor that a driver calls so and that has the machine's memory: "NVIDIA GB10"."""
    part = Part(1, driver_name.lower(), driver_name, {UNIFIED: installed})
    found = [entry for entry in catalogue.find(part) if entry.kind == UNIFIED_MACHINES]
    return _gpu(found[0], installed) if found else None


@dataclass
class _Assembly:
    """A machine while its parts are told. Sizes in bytes, rates in bytes per second."""

    text: str
    gpus: list[Gpu] = field(default_factory=list)
    processor: Entry | None = None
    processors: int = 1
    board: Entry | None = None  # the processor that a card is sold on one board with
    unified: Entry | None = None
    laptop: bool = False
    ram: int | None = None
    ram_rate: float | None = None
    channels: int | None = None
    speed: int | None = None
    disk_rate: float = DISK_BANDWIDTH
    disk_free: int | None = None
    watts: float = 0.0
    usd: float = 0.0

    def add(self, part: Part) -> None:
        if part.count == 0:
            raise InvalidArgument(f"--hardware {self.text}: {part.text!r} is none; leave it out")
        if not part.name:
            self._add_numbers(part)
            return
        entry = next(iter(catalogue.find(part)), None)
        if entry is None and DISK in (part.kind, *part.sizes):
            raise self._unknown_speed(part)
        if entry is None:
            raise _unknown(self.text, part.text, catalogue.near(part))
        count = part.count
        self.watts += count * entry.row["watts"]
        self.usd += count * entry.row["usd"]
        if entry.kind == HOSTS:
            self._add_processor(entry, count, part)
            return
        own = entry.kind in (MACS, UNIFIED_MACHINES)
        size = next(iter(part.sizes.values()), None) if own else part.sizes.get(VRAM)
        gpu = _gpu(entry, size)
        self.gpus += [replace(gpu, bandwidth=part.rate or gpu.bandwidth, bf16=part.flops or gpu.bf16)] * count
        self.unified = entry if own else self.unified
        if "host" in entry.row:
            self.board = catalogue.host(entry.row["host"])
        self.laptop = self.laptop or LAPTOP in entry.name.lower()
        if not own and RAM in part.sizes:
            self._add_memory(replace(part, count=1, rate=None))

    def _add_processor(self, entry: Entry, count: int, part: Part) -> None:
        if self.processor is not None:
            raise InvalidArgument(f"--hardware {self.text}: there are two kinds of processors; name one")
        self.processor, self.processors = entry, count
        self._add_memory(replace(part, count=1))

    def _add_numbers(self, part: Part) -> None:
        kind = part.kind or next(iter(part.sizes), "")
        size = part.sizes.get(kind, part.sizes.get(""))
        if kind == DISK and (part.rate or size):
            self.disk_rate, self.disk_free = part.rate or self.disk_rate, size or self.disk_free
        elif kind in (VRAM, UNIFIED) and size:
            if not part.rate:
                said = f"{size / GIB:g}GB {kind}"
                raise InvalidArgument(f"--hardware {self.text}: how fast is it read? Such as {said} at 936GB/s")
            unified = kind == UNIFIED
            compute = part.flops or part.rate * OPERATIONS_A_BYTE
            gpu = Gpu(f"{size / GIB:g}GB {'machine' if unified else 'card'}", size, part.rate, compute, unified=unified)
            self.gpus += [replace(gpu, memory_bytes=size - SYSTEM_BYTES * unified)] * part.count
            self.unified = Entry(gpu.name, UNIFIED_MACHINES, {}) if unified else self.unified
        elif kind in ("", RAM) and (size or part.speed or part.channels):
            self._add_memory(part)
        elif kind == DISK:
            raise self._unknown_speed(part)
        else:
            raise _unknown(self.text, part.text)

    def _unknown_speed(self, part: Part) -> InvalidArgument:
        return InvalidArgument(f"--hardware {self.text}: how fast is {part.text!r} read? Such as 0.5GB/s disk")

    def _add_memory(self, part: Part) -> None:
        size = part.sizes.get(RAM, part.sizes.get(""))
        self.ram = self.ram if size is None else size * part.count
        self.ram_rate = part.rate or self.ram_rate
        self.channels, self.speed = part.channels or self.channels, part.speed or self.speed

    def finish(self) -> Machine:
        if self.processor is None and self.board is not None:
            self.processor, self.processors = self.board, len(self.gpus)
            self.watts += self.processors * self.board.row["watts"]
            self.usd += self.processors * self.board.row["usd"]
        host = self._host()
        return Machine(
            self.text.strip(), host, tuple(self.gpus), disk_bandwidth=self.disk_rate, disk_free=self.disk_free,
            watts=self.watts, usd=self.usd,
        )  # fmt: skip

    def _host(self) -> Host | None:
        if self.unified is not None:
            if len(self.gpus) > 1 or self.processor is not None or self.ram is not None:
                if self.processor is None and self.ram is None and len({gpu.name for gpu in self.gpus}) == 1:
                    raise InvalidArgument(
                        f"--hardware {self.text}: fit tells of one machine, and the memory of each {self.unified.name}"
                        f" is its own; give one"
                    )
                whose = "a Mac's memory" if self.unified.kind == MACS else f"the memory of {self.unified.name}"
                raise InvalidArgument(f"{self.text}: {whose} is one for all; say it so: {self.unified.name} 128GB")
            return None
        entry = self.processor
        ram = self.ram
        if entry is None:
            entry = catalogue.host(LAPTOP if self.laptop else DESKTOP if len(self.gpus) <= WIDEST_DESKTOP else SERVER)
            ram = ram or 0
            if not self.laptop:  # whose price and power are told with its card
                self.watts, self.usd = self.watts + entry.row["watts"], self.usd + entry.row["usd"]
        host = _host(entry, self.processors, self.channels, self.speed)
        installed = host.memory_bytes if ram is None else ram
        left = max(installed - SYSTEM_BYTES, min(installed, 1))
        return replace(host, memory_bytes=left, bandwidth=self.ram_rate or host.bandwidth)


def _unknown(whole: str, name: str, near: list[str] | None = None) -> InvalidArgument:
    meant = f"; near it: {', '.join(near)}" if near else ""
    return InvalidArgument(
        f"--hardware {whole}: {name!r} is not known; there are auto, cards such as RTX 4090, Macs such as M3 Ultra,"
        f" processors such as EPYC 9654, 64GB RAM, and any machine by numbers:"
        f" 24GB VRAM at 936GB/s + 64GB RAM at 80GB/s + 7GB/s disk{meant}"
    )


def _host(entry: Entry, count: int, channels: int | None, speed: int | None) -> Host:
    """channels: of each processor."""
    row = entry.row
    nominal = count * (channels or row["channels"]) * 8 * (speed or row["speed"]) * 1e6
    memory = count * int(row["memory_gib"] * GIB)
    gops = row["gops"] if "gops" in row else row["core_gops"] * row["cores"]
    return Host(
        entry.name, row["isa"], count * row["cores"], memory, nominal * READ_OF_NOMINAL, count * gops * 1e9
    )  # fmt: skip


def _gpu(entry: Entry, size: int | None) -> Gpu:
    row = entry.row
    unified = entry.kind in (MACS, UNIFIED_MACHINES)
    memory = int(row["memory_gib"] * GIB) if size is None or not unified else size
    return Gpu(
        entry.name,
        memory - SYSTEM_BYTES if unified else memory,
        row["bandwidth"] * 1e9,
        row["bf16"] * 1e12,
        row["fp8"] * 1e12 if "fp8" in row else None,
        row["int8"] * 1e12 if "int8" in row else None,
        row.get("link", 0) * 1e9,
        unified,
    )
