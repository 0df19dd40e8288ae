"""What llama-quantize chose for three shapes of the family, in a file that people can read and compare.

A line is a case, a type, and what has it: `ffn_down[0-2,5]` are those tensors of these blocks, without brackets of all
that have one. Vectors, norms, routers and convolutions are not listed: they stay F32. The file was written from
llama-quantize's own words by tests/peer/shape_files.py, not by qwill's recipes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FROZEN = Path(__file__).with_name("stock_types.txt")
MEMBERS = {"Qwen3.5-0.8B": False, "Qwen3.5-9B": True, "Qwen3.5-35B-A3B": True}  # with a draft head or without
MIXES = (
    "BF16", "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q3_K_M", "Q2_K", "Q4_0", "IQ4_XS", "IQ4_NL",
    "MXFP4_MOE",
)  # fmt: skip
BY_IMPORTANCE = ("Q4_0", "IQ4_XS", "IQ4_NL")  # mixes that differ when there is an importance file


@dataclass(frozen=True)
class Case:
    """A member, with a draft head or without, and what llama-quantize was asked for."""

    member: str
    draft_head: bool
    mix: str
    importance: bool

    def __str__(self) -> str:
        return f"{self.member}{'+draft' * self.draft_head} {self.mix}{'+importance' * self.importance}"


CASES = tuple(
    Case(member, draft_head, mix, importance)
    for member, draft_head in MEMBERS.items()
    for mix in MIXES
    for importance in ((False, True) if mix in BY_IMPORTANCE else (False,))
)


def render(types: dict[Case, dict[str, str]]) -> str:
    """The file's text, from types by GGUF name."""
    return "".join(
        f"{case} {kind}: {' '.join(sorted(_places(names, found)))}\n"
        for case, found in types.items()
        for kind in sorted({*found.values()} - {"F32"})
        for names in [[name for name, its in found.items() if its == kind]]
    )


def parse(text: str, case: Case, names: Iterable[str]) -> dict[str, str]:
    """The types of a case by GGUF name, of which `names` are all."""
    result = dict.fromkeys(names, "F32")
    for line in text.splitlines():
        head, _, places = line.partition(": ")
        its_case, _, kind = head.rpartition(" ")
        if its_case != str(case):
            continue
        for place in places.split():
            stem, _, blocks = place.removesuffix("]").partition("[")
            for name in result:
                own, block = _split(name)
                if own == stem and (not blocks or block in _numbers(blocks)):
                    result[name] = kind
    return result


def _split(name: str) -> tuple[str, int | None]:
    """The name without block and `.weight`, and the block."""
    stem = name.removesuffix(".weight")
    if not stem.startswith("blk."):
        return stem, None
    _, block, own = stem.split(".", 2)
    return own, int(block)


def _places(names: list[str], everything: Iterable[str]) -> list[str]:
    found: dict[str, list[int | None]] = {}
    for name in names:
        own, block = _split(name)
        found.setdefault(own, []).append(block)
    whole: dict[str, int] = {}
    for name in everything:
        own, _ = _split(name)
        whole[own] = whole.get(own, 0) + 1
    return [own if len(blocks) == whole[own] else f"{own}[{_ranges(blocks)}]" for own, blocks in found.items()]


def _ranges(blocks: list[int | None]) -> str:
    numbers = sorted(block for block in blocks if block is not None)
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _numbers(ranges: str) -> set[int]:
    numbers: set[int] = set()
    for run in ranges.split(","):
        first, _, last = run.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    return numbers
