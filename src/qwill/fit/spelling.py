"""What people write for a part of a machine, read apart: how many, of what name, with what numbers.

`2x RTX 4090 24GB`, `dual 3090`, `EPYC 9654 12ch DDR5-4800 768GB`, `24GB VRAM at 936GB/s`, `2x32GB DDR5 6000MHz`,
`7GB/s disk`.
"""

import re
from dataclasses import dataclass, field

GIB = 1 << 30
RAM, VRAM, UNIFIED, DISK = "RAM", "VRAM", "unified memory", "disk"

_NUMBER = r"(?<![\d.])(\d{1,9}(?:\.\d{1,9})?)"
_UNITS = {"": 1e9, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_BINARY = {"k": 1 << 10, "m": 1 << 20, "g": GIB, "t": 1 << 40}
_RATE = re.compile(_NUMBER + r"\s*([kmgt])(i?)b(?:ytes)?(?:\s*(?:/|\ba\b|\bper\b)\s*s(?:ec(?:ond)?)?\b|ps\b)")
_FLOPS = re.compile(_NUMBER + r"\s*([gt])(?:flops?|flop/s|ops?)\b")
_KIND = {
    VRAM: r"vram|video (?:ram|memory)|gpu (?:ram|memory)|graphics memory|gddr\w*|hbm\w*",
    UNIFIED: r"unified(?: memory| ram)?|shared memory",
    RAM: r"(?:system |main )?(?:ram|memory)|(?=(?:lp)?ddr\d)",
    DISK: r"disk|ssd|nvme|drive|storage|hdd",
}
_SIZE = re.compile(
    rf"(?:(?<!\d)(\d{{1,2}})\s*[x*]\s*)?{_NUMBER}\s*([mgt])i?b\b(?:\s*(?:of\s+)?(?:(?P<kind>"
    + "|".join(f"(?P<k{n}>{words})" for n, words in enumerate(_KIND.values()))
    + r")(?!\w)|(?=\W|$)))"
)
_WORD = {kind: re.compile(rf"\b(?:{words})(?!\w)") for kind, words in _KIND.items()}
_DDR = re.compile(r"\b(lp)?ddr(\d)[xl]?(?:[\s-]*(\d{4,5})(?!\s*[gt]i?b))?(?:\s*(?:mt/s|mts|mhz))?\b")
_SPEED = re.compile(r"\b(\d{4,5})\s*(?:mt/s|mts|mhz)(?!\w)")
_INCHES = re.compile(r"(?<![\w.])1[1-8](?:\.\d)?\s*-?\s*(?:inch(?:es)?\b|in\b|\"|”|″|'')")
_NUMERALS = {"single": 1, "one": 1, "dual": 2, "two": 2, "triple": 3, "three": 3, "quad": 4, "four": 4, "five": 5,
             "six": 6, "hexa": 6, "octa": 8, "octo": 8, "eight": 8, "twelve": 12}  # fmt: skip
_WORDS = "|".join(_NUMERALS)
_CHANNELS = re.compile(rf"\b(?:(\d{{1,2}})\s*-?\s*|({_WORDS})[\s-]*)ch(?:annels?)?\b")
_BEFORE = re.compile(rf"(?:(\d{{1,3}})\s*(?:x(?!eon)|\*)\s*|({_WORDS})\b[\s-]*)(?=\S)")
# Between parts; "with" before a rate is none.
_BETWEEN = re.compile(
    r"\+|&|,|;|\||\n|\s/\s(?!\s*s)|/(?=(?:rtx|gtx|rx)\b)|(?<!\bx )\bplus\b|\bw/|\band\b"
    r"|\bwith\b(?!\s*[\d.]+\s*[mgt]i?b(?:/|ps|\s*per))",
    re.IGNORECASE,
)
# How many without a sign, before what begins only a card's or a server processor's name.
_BEFORE_MAKER = re.compile(
    r"(\d{1,2})\s+(?=(?:nvidia|geforce|rtx|gtx|amd radeon|radeon|rx|intel arc|arc|tesla|quadro|instinct|epyc|xeon)\b"
    r"|mi\d\d|[abhlpvt]\d{1,3}\b)"
)
_AFTER = re.compile(r"(?<=[\d\s])\s*[x*]\s*(\d{1,2})$")
_FILLING = (
    *("of", "the", "my", "total", "system", "with", "bandwidth", "gaming", "used", "modded", "nvlink", "fe", "oc"),
    *("asus", "msi", "evga", "zotac", "palit", "pny", "dell", "hp", "lenovo", "acer", "razer", "sapphire", "xfx"),
    *("aws", "colab", "powercolor", "gainward", "minisforum", "beelink", "gmktec"),
)
# Words that say whose memory it is.
_ALONE = {"gpu": VRAM, "card": VRAM, "graphics card": VRAM, "cpu": RAM, "host": RAM}
# DDR without its speed, MT/s: what most machines have.
_USUAL_SPEED = {"3": 1600, "4": 3200, "5": 5600, "lp4": 4267, "lp5": 7500}


@dataclass
class Part:
    """text: as it was written. name: what is left of it beside the numbers, in lower case. sizes: bytes of each kind of
    memory, "" where none is said. rate: bytes per second; flops: operations per second; speed: MT/s.
    """

    count: int
    name: str
    text: str
    sizes: dict[str, int] = field(default_factory=dict)
    kind: str = ""
    rate: float | None = None
    flops: float | None = None
    channels: int | None = None
    speed: int | None = None


def parts(text: str) -> list[str]:
    """The parts of a machine's name: between plus signs, commas, slashes, "and", "with"."""
    plain = text.replace("×", "x").replace("·", ",")
    plain = re.sub(r"\bmax\s*\+\s*(?=(?:pro\s*)?3[89]\d\b)", "max ", plain, flags=re.IGNORECASE)  # Ryzen AI Max+ 395
    plain = re.sub(r"(?<![\w.])(?<!x )(\d{1,3}),(\d{3})(?=\s*[kmgt]i?b)", r"\1\2", plain, flags=re.IGNORECASE)
    plain = re.sub(r"(?<![\w.])(\d{1,2}),(\d)(?=\s*[gt]i?b)", r"\1.\2", plain, flags=re.IGNORECASE)  # 1,5TB
    found = _BETWEEN.split(plain)
    return [part.strip() for part in found if part.strip()]


def read_part(text: str) -> Part:
    """One part. Of numbers that contradict each other the first counts."""
    rest = _INCHES.sub(" ", text.lower())
    rest = re.sub(r"(?<=\d)\s*(?:gigabytes?|gigs?)\b", "gb", rest)
    rest = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", rest)
    rest = re.sub(r"\b(\d{1,3})g\b", r"\1gb", re.sub(r"[()@,:]|\bat\b", " ", rest)).strip()
    part = Part(1, "", text)
    rest = _take_rates(part, rest)
    rest = _take_modules(part, rest)
    rest = _take_count(part, rest)
    rest = _take_sizes(part, rest)
    for kind, words in _WORD.items():
        if not part.kind and (match := words.search(rest)):
            part.kind, rest = kind, _without(rest, match)
    part.name = " ".join(word for word in rest.split() if word not in _FILLING)
    if not part.kind and part.name in _ALONE:
        part.kind, part.name = _ALONE[part.name], ""
    return part


def _take_rates(part: Part, rest: str) -> str:
    while match := _RATE.search(rest):
        unit = _BINARY[match[2]] if match[3] else _UNITS[match[2]]
        part.rate, rest = part.rate or float(match[1]) * unit, _without(rest, match)
    if match := _FLOPS.search(rest):
        part.flops, rest = float(match[1]) * _UNITS[match[2]], _without(rest, match)
    return rest


def _take_modules(part: Part, rest: str) -> str:
    """Channels, type and speed of memory modules."""
    if match := _CHANNELS.search(rest):
        part.channels, rest = int(match[1]) if match[1] else _NUMERALS[match[2]], _without(rest, match)
    if match := _DDR.search(rest):
        usual = _USUAL_SPEED.get((match[1] or "") + match[2])
        part.speed, rest = int(match[3]) if match[3] else usual, _without(rest, match, f" {RAM.lower()} ")
    if match := _SPEED.search(rest):
        part.speed, rest = int(match[1]), _without(rest, match)
    return rest


def _take_count(part: Part, rest: str) -> str:
    match = _BEFORE.match(rest)
    if match and not re.match(r"\d+\s*[x*]\s*[\d.]+\s*[gt]i?b?\s*(?:ram|memory)?$", rest):
        part.count, rest = int(match[1]) if match[1] else _NUMERALS[match[2]], rest[match.end() :]
    elif match := _BEFORE_MAKER.match(rest):
        part.count, rest = int(match[1]), rest[match.end() :]
    elif match := _AFTER.search(rest):
        part.count, rest = int(match[1]), rest[: match.start()]
    elif match := re.fullmatch(r"(\d{1,2})\s+(\S.*\d\w*)s", rest):  # 2 3090s
        part.count, rest = int(match[1]), match[2]
    return rest


def _take_sizes(part: Part, rest: str) -> str:
    while match := _SIZE.search(rest):
        size = int(match[1] or 1) * float(match[2]) * _BINARY[match[3]]
        kind = next((kind for n, kind in enumerate(_KIND) if match[f"k{n}"] is not None), "")
        part.sizes.setdefault(kind, int(size))
        rest = _without(rest, match)
    return rest


def _without(text: str, match: "re.Match[str]", instead: str = " ") -> str:
    return text[: match.start()] + instead + text[match.end() :]
