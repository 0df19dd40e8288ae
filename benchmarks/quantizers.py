"""Size against divergence for every type: files by qwill's quantizer and by llama.cpp's, of the demonstration model.

    QWILL_LLAMA_CPP=... QWILL_LLAMA_BIN=... python benchmarks/quantizers.py [--texts 60] [--types Q4_K_M] [--write]

Both make each file from the same float32 values with the same importance matrix, gathered by qwill from conversations
of the kind that the model was trained on. Held-out conversations tell the divergence (Kullback and Leibler's, nats)
from the float32 file, all with qwill's engine. `weights` is that of the file's weights alone: decoded to float32, so
that no activation is rounded. The mixes are those of `qwill quantize`; "pure" files have one type for all matrices, but
for rows that are no whole blocks. --write: puts the tables and the picture into docs/quantization.md and .png.
"""

import argparse
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import divergence
import gguf
import numpy as np
import peer

from qwill.convert.importance_file import write_importance
from qwill.convert.quantize import plan_model, write_gguf
from qwill.importance import gather, observed
from qwill.quant.codecs import can_encode
from qwill.quant.importance import Importance
from qwill.quant.recipes import DYNAMIC, STOCK, Recipe, load_recipe
from qwill.quant.types import TYPES
from qwill.weights.hub import resolve_model

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- measured: benchmarks/quantizers.py -->", "<!-- end of what is measured -->"
# A single type: what llama-quantize is told. IQ2_M is the mix whose plain type is IQ2_S.
PURE = {
    **{kind: kind for kind in ("Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")},
    **{kind: kind for kind in ("IQ4_NL", "IQ4_XS", "IQ3_S", "IQ3_XXS", "IQ2_XS", "IQ2_XXS", "IQ1_S", "IQ1_M")},
    "IQ2_S": "IQ2_M",
}
MIXES = tuple(name for name in (*STOCK, *DYNAMIC) if name != "F32")


@dataclass(frozen=True)
class File:
    """What one file is: its bytes of tensors, its types by tensor, and divergences of each held-out text's tokens."""

    nbytes: int
    types: dict[str, str]
    as_run: list[np.ndarray]
    weights: list[np.ndarray]


@dataclass(frozen=True)
class Row:
    """One type, by both quantizers; llama.cpp has no dynamic recipes."""

    name: str
    pure: bool
    ours: File
    theirs: File | None


class Bench:
    """The float32 file, its logits on held-out texts, and the importance."""

    def __init__(self, scratch: Path, texts: int, seed: int) -> None:
        self.scratch = scratch
        self.base = scratch / "base.gguf"
        write_gguf(plan_model(resolve_model("demo"), load_recipe("F32")), self.base, threads=2)
        llm, observer = observed(str(self.base), 2, max_context=divergence.LONGEST)
        self.texts = divergence.conversations(llm, texts, random.Random(seed))
        read = divergence.conversations(llm, 4 * texts, random.Random(seed + 1), held_out=False)
        passages = [llm.answer(ids.tolist()).request for ids in read]
        self.importance: Importance = gather(llm, observer, passages, 256, ["conversations"])
        self.tokens = sum(map(len, self.texts)), sum(map(len, read))
        self.matrix = scratch / "imatrix.gguf"
        write_importance(self.matrix, self.importance)
        self.exact = divergence.ours(self.base, self.texts)

    def row(self, name: str, pure: bool) -> Row:
        recipe = Recipe(name, "", TYPES[name], fallbacks=True) if pure else load_recipe(name)
        ours = self.scratch / "ours.gguf"
        write_gguf(plan_model(self.base, recipe, self.importance), ours, overwrite=True, threads=2)
        theirs = None
        if name not in DYNAMIC:
            options = ["--pure"] if pure else []
            kind = PURE[name] if pure else name
            theirs = peer.quantize(self.base, self.scratch / "theirs.gguf", kind, *options, "--imatrix", self.matrix)
        own = self.measure(ours)
        if theirs is None:
            return Row(name, pure, own, None)
        same = same_tensors(ours, theirs)
        return Row(name, pure, own, own if same else self.measure(theirs))

    def measure(self, file: Path) -> File:
        tensors = gguf.GGUFReader(file).tensors
        decoded = self.scratch / "decoded.gguf"
        write_gguf(plan_model(file, load_recipe("F32")), decoded, overwrite=True, threads=2)
        return File(
            sum(int(tensor.n_bytes) for tensor in tensors),
            {tensor.name: tensor.tensor_type.name for tensor in tensors},
            divergence.divergences(self.exact, divergence.ours(file, self.texts)),
            divergence.divergences(self.exact, divergence.ours(decoded, self.texts)),
        )


def same_tensors(one: Path, other: Path) -> bool:
    """To the bit, as float types are."""
    a, b = ({tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors} for file in (one, other))
    return a.keys() == b.keys() and all(
        tensor.tensor_type == b[name].tensor_type and np.array_equal(tensor.data, b[name].data)
        for name, tensor in a.items()
    )


def mean(texts: list[np.ndarray]) -> float:
    return float(np.concatenate(texts).mean())


def ratio(ours: list[np.ndarray], theirs: list[np.ndarray]) -> str:
    """Of mean divergences, and its standard error: texts are independent of each other, tokens of a text are not."""
    a, b = (np.array([text.sum() for text in texts]) for texts in (ours, theirs))
    if not b.any():
        return "–"
    value = a.sum() / b.sum()
    error = np.sqrt(((a - value * b) ** 2).sum() * len(a) / (len(a) - 1)) / b.sum()
    return f"{value:.3f} ± {error:.3f}"


def line(row: Row) -> str:
    own, other = row.ours, row.theirs
    cells = [row.name, f"{own.nbytes / 1e6:.3f}", f"{mean(own.as_run):.2e}", f"{mean(own.weights):.2e}"]
    if other is None:
        cells += ["–"] * 4
    else:
        same = own.nbytes == other.nbytes and own.types == other.types  # as chosen; the bytes may differ
        cells += ["the same" if same else f"{other.nbytes / 1e6:.3f}", f"{mean(other.as_run):.2e}"]
        cells += [f"{mean(other.weights):.2e}", ratio(own.weights, other.weights)]
    return f"| {' | '.join(cells)} |"


HEADER = (
    "| type | MB | divergence | its weights' | llama.cpp's MB | divergence | its weights' | ratio of the weights' |\n"
    "|---|---|---|---|---|---|---|---|"
)


def draw(rows: list[Row], path: Path) -> None:
    """Bytes against divergence of the files as they run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    for pure, marker in ((False, "o"), (True, "s")):
        chosen = [row for row in rows if row.pure == pure]
        size = [row.ours.nbytes / 1e6 for row in chosen]
        label = "one type" if pure else "mix"
        axes.plot(size, [mean(row.ours.as_run) for row in chosen], marker, color="#4b3fbf", label=f"qwill, {label}")
        others = [(row.theirs.nbytes / 1e6, mean(row.theirs.as_run)) for row in chosen if row.theirs is not None]
        axes.plot(*zip(*others, strict=True), marker, color="#c0562c", fillstyle="none", label=f"llama.cpp, {label}")
        for row in chosen:
            if not pure:
                place = (row.ours.nbytes / 1e6, mean(row.ours.as_run))
                axes.annotate(f"  {row.name}", place, fontsize=7, rotation=35, va="bottom")
    axes.set(yscale="log", xscale="log", xlabel="tensors, MB", ylabel="divergence from float32, nats")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=130)


def put(text: str, path: Path) -> None:
    """Replaces what stands between the marks of a page."""
    page = path.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    assert found, f"{path} has no marks"
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--types", nargs="+", default=MIXES, help="mixes")
    parser.add_argument("--pure", nargs="*", default=[kind for kind in PURE if can_encode(TYPES[kind])])
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="into docs/")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place), arguments.texts, arguments.seed)
        print(f"{bench.tokens[0]:,} tokens, importance of {bench.tokens[1]:,} tokens\n{HEADER}")
        rows, parts = [], []
        for pure, names in ((False, arguments.types), (True, arguments.pure)):
            lines = []
            for name in names:
                rows.append(bench.row(name, pure))
                lines.append(line(rows[-1]))
                print(lines[-1], flush=True)
            parts.append("\n".join([HEADER, *lines]))
    if arguments.write:
        told = (
            f"{arguments.texts} held-out conversations of {bench.tokens[0]:,} tokens; importance of"
            f" {4 * arguments.texts} others of {bench.tokens[1]:,} tokens."
        )
        put(f"{told}\n\nMixes:\n\n{parts[0]}\n\nOne type for all matrices:\n\n{parts[1]}\n", DOCS / "quantization.md")
        draw(rows, DOCS / "quantization.png")


if __name__ == "__main__":
    sys.exit(main())
