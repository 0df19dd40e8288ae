"""Writes the tables of docs/models.md that set the guide's figures beside computed ones: python scripts/fit_tables.py

What the guide says is here; all else is what `qwill fit` computes. tests/fit/test_models_page.py checks that the page
is up to date.
"""

from dataclasses import dataclass
from pathlib import Path

from qwill.fit.machines import named_machine
from qwill.fit.plan import RAM, Plan, Wish, best_quantization, cache_size, cached_weights, plan, program_size
from qwill.fit.report import answer
from qwill.fit.weights import RELEASED, member_weights

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- begin: python scripts/fit_tables.py -->\n", "<!-- end -->\n"
MEMBER = "Qwen3.5-397B-A17B"
WISH = Wish(16_384)  # the context of the guide's own command
GB = 1e9


@dataclass(frozen=True)
class Size:
    """A row of the guide's first table: GB on disk and in memory, and why we differ."""

    quant: str
    disk: float
    memory: float
    why: str


SIZES = (
    Size("BF16", 807, 810, "the release with vision tower and draft head"),
    Size(
        "FP8", 400, 400, "embeddings, head, router, `mtp.fc` and tower stay in BF16, and each 128×128 block has a scale"
    ),
    Size("Q8_0", 420, 420, "rounded down"),
    Size("Q6_K", 320, 320, "rounded down; the published file is 342 GB, another mix"),
    Size("Q5_K_M", 280, 280, "rounded down; published 283 GB"),
    Size("UD-Q4_K_XL", 214, 256, "published 219.2 GB; 256 is the machine to buy, not what is needed"),
    Size("UD-Q3_K_XL", 170, 192, "published 178.7 GB; 192 is the machine to buy"),
    Size("UD-Q2_K_XL", 146, 150, "published 139 GB"),
)


@dataclass(frozen=True)
class Row:
    """A row of the guide's second table. speed: tokens a second, if it says so; quant: the one it speaks of."""

    guide: str
    name: str
    verdict: str
    quant: str
    speed: str
    why: str


ROWS = (
    Row("8×H100 80GB (640 GB)", "8x H100 80GB", "yes", "FP8", "45",
        "reading the weights takes a millisecond of a token, launches and exchanges of 60 layers five; "
        "the guide's 22 are an engine's own"),
    Row("8×A100 80GB (640 GB)", "8x A100 80GB", "yes", "Q8_0", "", "the A100 has no FP8"),
    Row("Mac Studio M3 Ultra 256GB", "M3 Ultra 256GB", "yes", "UD-Q4_K_XL", "",
        "macOS lends the graphics processor three quarters of the memory unless `iogpu.wired_limit_mb` says more"),
    Row("Mac Studio M2 Ultra 192GB", "M2 Ultra 192GB", "yes", "UD-Q3_K_XL", "", "likewise"),
    Row("4×A100 80GB (320 GB)", "4x A100 80GB", "limited", "Q8_0", "",
        "Q8_0 is too large, Q6_K fits with little left, for a card of 80 GB has 85.9"),
    Row("RTX 4090 24GB + 256GB RAM", "RTX 4090 + 256GB RAM", "limited", "UD-Q4_K_XL", "3–4",
        "experts are read from two channels of DDR5-4800 at 80% of the nominal rate; the guide's figure fits an engine "
        "or a memory half as fast"),
    Row("RTX 4090 24GB alone", "RTX 4090", "no", "UD-Q2_K_XL", "", ""),
    Row("192GB RAM + 36GB VRAM (3090+3060)", "RTX 3090 + RTX 3060 + 192GB RAM", "–", "UD-Q2_K_XL", "3",
        "as above; decoding the 2- and 3-bit codebooks of the experts takes the processor longer than reading them"),
)  # fmt: skip


def text() -> str:
    """Both tables."""
    return f"{sizes()}\n{hardware()}"


def sizes() -> str:
    lines = [
        f"Sizes of {MEMBER} in GB. On disk GGUF files are without vision tower (0.92 GB more) and draft head;",
        f"memory is what qwill needs for weights, tower, a context of {WISH.context:,} tokens and itself.",
        "",
        "| quantization | guide: disk | computed | off by | guide: memory | computed | why |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in SIZES:
        whole = row.quant in RELEASED
        disk = member_weights(MEMBER, row.quant, draft_head=whole, vision=whole).file_bytes / GB
        weights = cached_weights(MEMBER, row.quant)
        memory = plan(weights, named_machine("2000GB RAM"), WISH).memory_bytes / GB
        lines.append(
            f"| {row.quant} | ~{row.disk:g} | {disk:.1f} | {row.disk / disk - 1:+.1%} | {row.memory:g} |"
            f" {memory:.1f} | {row.why} |"
        )
    weights = cached_weights(MEMBER, "Q8_0")
    cache, program = cache_size(weights, WISH) / GB, program_size(weights) / GB
    lines += ["", f"Of the memory {cache:.2f} GB are keys, values and states, and {program:.2f} GB the program.", ""]
    return "\n".join(lines)


def hardware() -> str:
    lines = [
        f"The guide's machines, with a context of {WISH.context:,} tokens. “Yes” is all in the fastest memory,",
        "“limited” with experts in RAM. Speeds of writing are a roofline for an engine that uses graphics processors",
        "(see [qwill fit](cli.md#qwill-fit)).",
        "",
        "| hardware | guide | its quantization: needed of what is there | computed | best that fits |"
        " guide: tokens/s | computed | why |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        machine = named_machine(row.name)
        told = answer(cached_weights(MEMBER, row.quant), MEMBER, machine, WISH)
        best = best_quantization(MEMBER, machine, WISH)
        speed = f"{told.decode.tokens_per_second:.3g}" if told.decode else "–"
        needed, there = told.plan.memory_bytes / GB, machine.memory_bytes / GB
        lines.append(
            f"| {row.guide} | {row.verdict} | {row.quant}: {needed:.0f} of {there:.0f} GB | {_verdict(told.plan)} |"
            f" {best.quant if best else 'none'} | {row.speed or '–'} | {speed} | {row.why} |"
        )
    return "\n".join(lines) + "\n"


def _verdict(placed: Plan) -> str:
    if not placed.fits:
        return "no"
    slow = [place for place in placed.places if place.kind == RAM and "experts" in place.parts]
    return "limited" if slow else "yes"


def updated(page: str) -> str:
    """The page with new tables between its marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + text() + END + after


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text("utf-8")), "utf-8")
