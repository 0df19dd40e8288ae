"""The cards, machines and processors that are known by name, and how they are found: gpus.toml, machines.toml and
processors.toml.

Whatever does not change which one is meant may be left out of a name: makers, product lines, case, spaces, hyphens.
"""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from qwill.fit.spelling import GIB, UNIFIED, VRAM, Part, parts, read_part

CARDS, MACS, UNIFIED_MACHINES, HOSTS = "gpus", "macs", "unified", "hosts"
SIZE_DIFFERS = 0.15  # between the memory that is said and what the driver tells, at most
NEAR = 4  # names, of one that is not known

_CARD_NOISE = re.compile(
    r"nvidia|geforce|amd|radeon|intel|apple|instinct|tesla|rtx|gtx|rx(?=\d)|arc(?=a\d|b\d|pro)|graphics|cards?|gpus?"
    r"|founders|edition|generation|mac(?:studio|mini|pro|book(?:pro|air|neo)?(?:1[3-6](?=m\d))?)|imac|chip|\(tm\)|desktop(?=.)|workstation(?=edition|$)"
)
_LAPTOP = re.compile(r"mobile|notebook")
_HOST_NOISE = re.compile(
    r"amd|intel|processors?|cpus?|epyc|xeon|threadripper|gold|silver|platinum|bronze|ampere|altra(?:max)?(?=[mq]\d|$)"
    r"|(?:naples|rome|milan|genoa|bergamo|siena|turin)(?=\d)|series|generation"
)
_HOST_LINE = re.compile(
    r"^(?:ryzen[3579]?(?=pro|ai|z\d|\d{4})|ryzen|core(?:ultra[3579]?|i[3579])?|ultra[3579](?=\d{3})|[ir][3579](?=\d{4})"
    r"|tr(?=pro|\d{4})|w[3579](?=\d{4})|6(?=6[79]\d\dp))"
)
_CORES = re.compile(r"\b\d{1,3}[\s-]*cores?\b")
# Words that only cards, only processors have.
_OF_CARDS = re.compile(r"rtx|gtx|\brx|radeon|geforce|\barc\b|\bgpu|quadro|tesla|instinct|nvidia")
_OF_HOSTS = re.compile(r"ryzen|epyc|xeon|(?<!\d[ -])\bcore\b|threadripper|\bi[3579]\b|\bcpu|processor")


@dataclass(frozen=True)
class Entry:
    """A row of the tables. kind: CARDS, MACS, UNIFIED_MACHINES or HOSTS."""

    name: str
    kind: str
    row: dict[str, Any]


@cache
def entries() -> tuple[Entry, ...]:
    """All that have a name."""
    found = [Entry(name, CARDS, row) for name, row in _table("gpus")["gpus"].items()]
    machines, processors = _table("machines"), _table("processors")
    found += [Entry(name, kind, row) for kind in (MACS, UNIFIED_MACHINES) for name, row in machines[kind].items()]
    found += [_with_cores(entry, cores) for entry in found for cores in entry.row.get("fewer", ())]
    found += [Entry(name, HOSTS, row) for name, row in processors["hosts"].items()]
    for series, told in processors["series"].items():
        line = re.match(r"\D*(?=\s\S*\d)", series.replace("Scalable ", ""))
        prefix = line[0] if line else series
        rows = ((model, told["common"] | {"cores": cores}) for model, cores in told["models"].items())
        found += [Entry(f"{prefix} {model}", HOSTS, row) for model, row in rows]
        if "typical" in told:
            row = told["common"] | {"cores": told["typical"], "also": told.get("also", ())}
            found.append(Entry(series, HOSTS, row))
    return tuple(found)


def mac(name: str, gpu_cores: int | None, installed: int) -> Entry | None:
    """The Mac whose processor calls itself so, such as "Apple M3 Max", with so many cores of its graphics processor. An
    Ultra that is not known is two of the same Max."""
    part = Part(1, name.lower(), name, {UNIFIED: installed})
    found = [entry for entry in find(part) if entry.kind == MACS]
    exact = [entry for entry in found if entry.row["gpu_cores"] == gpu_cores]
    if found:
        entry = (exact or found)[0]
        return entry if exact or gpu_cores is None else _with_cores(entry, gpu_cores)
    half = None if gpu_cores is None else gpu_cores // 2
    single = mac(name.removesuffix("Ultra") + "Max", half, installed // 2) if name.endswith(" Ultra") else None
    if single is None:
        return None
    doubled = {key: 2 * single.row[key] for key in ("memory_gib", "gpu_cores", "bandwidth", "bf16", "watts", "usd")}
    return Entry(name.removeprefix("Apple "), MACS, doubled)


def host(name: str) -> Entry:
    """What is in processors.toml by that very name."""
    return Entry(name, HOSTS, _table("processors")["hosts"][name])


def system(part: str) -> list[str]:
    """What a machine of a cloud or shop is made of; a part of that name alone is itself."""
    whole = {_joined(name): made_of for name, made_of in _table("machines")["systems"].items()}
    name = _joined(re.sub(r"^(?:aws|amazon|ec2)\b", "", part, flags=re.IGNORECASE))
    return parts(whole[name]) if name in whole else [part]


def find(part: Part) -> list[Entry]:
    """What a part may mean, the likeliest first. A card with another memory than is said is not meant."""
    size = part.sizes.get(VRAM, part.sizes.get(""))
    any_size = next(iter(part.sizes.values()), None) if size is None else size
    if not _OF_HOSTS.search(part.name):
        whole = _index(False).get(_card_key(part.text))
        if whole is not None:
            return sorted(whole, key=lambda entry: _unlikely(entry, any_size))
        for key in _card_keys(part.name):
            found = [each for each in _index(False).get(key, ()) if each.kind != CARDS or _fits(each, size)]
            if found:
                return sorted(found, key=lambda entry: _unlikely(entry, any_size))
    if not _OF_CARDS.search(part.name) or _OF_HOSTS.search(part.name):
        for key in _host_keys(part.name):
            if key in _index(True):
                # "Ryzen 7000", "Threadripper PRO 7000": what is left of them is the same.
                said = part.name.split()
                return sorted(_index(True)[key], key=lambda entry: -_shared(entry.name, said))
    return []


def near(part: Part) -> list[str]:
    """Names that are written nearly so."""
    card, processor = _card_key(part.name), _host_key(part.name)
    of_cards = [] if _OF_HOSTS.search(part.name) else get_close_matches(card, _index(False), NEAR)
    of_hosts = [] if _OF_CARDS.search(part.name) else get_close_matches(processor, _index(True), NEAR)
    found = [entry.name for key in of_cards for entry in _index(False)[key]]
    found += [entry.name for key in of_hosts for entry in _index(True)[key]]
    return list(dict.fromkeys(found))[:NEAR]


def by_driver_name(driver_name: str, installed: int) -> Entry | None:
    """The card whose name has most of the driver's words, none beside them, and that memory."""
    words = set(re.findall(r"[a-z0-9]+", driver_name.lower()))
    best: tuple[int, Entry] | None = None
    for entry in entries():
        its = set(re.findall(r"[a-z0-9]+", re.sub(r"\b\d+GB", "", entry.name).lower()))
        # A card of a laptop is slower than its name.
        other = any((word in words) != (word in its) for word in ("laptop", "max"))
        if entry.kind == CARDS and its <= words and not other and _fits(entry, installed):
            best = max(best or (0, entry), (len(its), entry), key=lambda each: each[0])
    return best[1] if best else None


def by_device(device: str, installed: int | None) -> list[Entry]:
    """Cards of that PCI device number, with that memory if it is known."""
    return [entry for entry in entries() if device in entry.row.get("pci", ()) and _fits(entry, installed)]


def _with_cores(entry: Entry, cores: int) -> Entry:
    """The same chip with another number of them, each as fast."""
    changed = {"gpu_cores": cores, "bf16": entry.row["bf16"] * cores / entry.row["gpu_cores"]}
    row = {key: value for key, value in entry.row.items() if key not in ("fewer", "also")}
    return Entry(f"{_CORES.sub('', entry.name).strip()} {cores}-core", entry.kind, row | changed)


def _shared(name: str, said: list[str]) -> int:
    """How many words of a name are said, less those that are not."""
    words = name.lower().split()
    joined = "".join(said)
    return sum(1 if word in joined else -1 for word in words)


def _unlikely(entry: Entry, size: int | None) -> float:
    """How little a card's, or a Mac's, memory is the one that is said."""
    if entry.kind == CARDS:
        return _off(entry, size)
    return size not in [gib * GIB for gib in entry.row["sold_with"]] if "sold_with" in entry.row else 0.5


def _fits(entry: Entry, size: int | None) -> bool:
    return _off(entry, size) < SIZE_DIFFERS


def _off(entry: Entry, size: int | None) -> float:
    return 0.0 if size is None else abs(entry.row["memory_gib"] * GIB - size) / size


@cache
def _table(name: str) -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name(f"{name}.toml").read_text("utf-8"))


@cache
def _index(hosts: bool) -> dict[str, list[Entry]]:
    """By what is left of a name, and of its other names."""
    index: dict[str, list[Entry]] = {}
    for entry in entries():
        if hosts == (entry.kind == HOSTS):
            for name in (entry.name, *entry.row.get("also", ())):
                for spelling in (name, read_part(name).name):
                    key = (_host_key if hosts else _card_key)(spelling)
                    if entry not in index.setdefault(key, []):
                        index[key].append(entry)
    return index


def _joined(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _card_key(name: str) -> str:
    return re.sub(r"^laptop(?=.)(.*)", r"\1laptop", _CARD_NOISE.sub("", _LAPTOP.sub("laptop", _joined(name))))


def _card_keys(name: str) -> Iterable[str]:
    """As it is written, in the singular, and without a number of cores."""
    key = _card_key(name)
    return key, key.removesuffix("s"), _card_key(_CORES.sub("", name))


def _host_key(name: str) -> str:
    return re.sub(r"^(?:pro|ai)(?=\d|hx)", "", _HOST_LINE.sub("", _HOST_NOISE.sub("", _joined(_CORES.sub("", name)))))


def _host_keys(name: str) -> Iterable[str]:
    """As it is written, and with another end that changes nothing: 9654P, 13900KF, 8534, 7970."""
    key = _host_key(name)
    yield key
    if key[-1:] in ("p", "f", "x", "s"):
        yield key[:-1]
    yield from (key + "p", key + "x", "e5" + key)
