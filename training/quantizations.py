"""Measures every quantization of the GGUF list against F32: `python -m training.quantizations FOLDER`.

llama.cpp's `llama-quantize` makes the files; the environment variable QWILL_LLAMA_BIN names the folder it is in.
"""

import argparse
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

from rich.console import Console

from qwill import LLM
from training.evaluation.card import CARD, Table, aim, percent, write_section
from training.evaluation.tasks import held_out_examples, measure
from training.gguf_export import MMPROJ_NAME, MODEL_NAME, export_gguf
from training.train import DEFAULT_RUN

NO_LOSS = 0.995  # of F32's mean accuracy: a few hundred examples tell no more
TARGETS = {"Q8_0": NO_LOSS, "Q6_K": NO_LOSS, "Q4_K_M": 0.97, "Q4_K_S": 0.97}
BASE = "F32"
TYPES = (
    "BF16", "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q3_K_M", "Q2_K", "Q4_0", "IQ4_XS", "IQ4_NL",
    "MXFP4_MOE",
)  # fmt: skip
# Of every kind of task some.
TASKS = (
    "arithmetic, thinking", "multiplication, thinking", "languages", "sort", "memory", "tools: typed", "tools: chain",
    "JSON to a schema", "needle", "picture: position", "picture: reading", "video: order",
)  # fmt: skip


def quantize(program: Path, source: Path, destination: Path, kind: str) -> None:
    """Raises CalledProcessError after llama.cpp's own message."""
    made = subprocess.run([program, source, destination, kind, "1"], capture_output=True, text=True, check=False)
    if made.returncode:
        print(made.stdout[-1000:], made.stderr[-2000:])
    made.check_returncode()


def files(folder: Path, kinds: list[str], program: Path, place: Path) -> Iterator[tuple[str, Path]]:
    """The F32 file, then one of each kind; each lasts until the next is asked for."""
    export_gguf(folder, place, BASE)
    source = place / MODEL_NAME
    yield BASE, source
    for kind in kinds:
        quantized = place / f"{kind}.gguf"
        quantize(program, source, quantized, kind)
        yield kind, quantized
        quantized.unlink()


def table(folder: Path, kinds: list[str], program: Path, seed: int, count: int, threads: int | None) -> Table:
    """Size and mean accuracy of every kind, the same examples for all."""
    examples = {row: held_out_examples(row, seed, count) for row in TASKS}
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as place:
        base = 0.0
        for kind, file in files(folder, kinds, program, Path(place)):
            llm = LLM(str(file), mmproj=str(file.with_name(MMPROJ_NAME)), threads=threads)
            scores = measure(llm, examples, kind).values()
            accuracy = mean(score.accuracy for score in scores)
            base = base or accuracy
            share = accuracy / base if base else 1.0
            size = f"{file.stat().st_size / 1e6:.1f} MB"
            asked = str(sum(score.asked for score in scores))
            reached = aim(share, TARGETS.get(kind), "{:.1%}")
            rows.append((kind, size, asked, percent(accuracy), percent(share), *reached))
    header = ("type", "text model's file", "asked", "mean accuracy", "of F32's", "target", "reached")
    return Table("quantizations", header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT_RUN / "exported", help="an exported folder")
    parser.add_argument("--types", nargs="+", choices=TYPES, default=TYPES, metavar="TYPE")
    parser.add_argument("--count", type=int, default=200, help="examples of each of the tasks")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--threads", type=int, help="by default one a core")
    parser.add_argument("--card", action="store_true", help="write the table into the model card")
    options = parser.parse_args()
    if "QWILL_LLAMA_BIN" not in os.environ:
        parser.error("QWILL_LLAMA_BIN has to name the folder with llama.cpp's programs")
    program = Path(os.environ["QWILL_LLAMA_BIN"], "llama-quantize")
    result = table(options.folder, options.types, program, options.seed, options.count, options.threads)
    Console().print(result.rich())
    if options.card:
        write_section(CARD, result)


if __name__ == "__main__":
    main()
