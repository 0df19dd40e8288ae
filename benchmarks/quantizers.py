"""Size against divergence for every type: files by qwill's quantizer and by llama.cpp's, of the demonstration model.

    QWILL_LLAMA_CPP=... QWILL_LLAMA_BIN=... python benchmarks/quantizers.py [--types Q4_K_M] [--draws 6] [--write]

Both make each file from the same float32 values with the same importance matrix, gathered by qwill from conversations
of the kind that the model was trained on. Held-out conversations tell the divergence (Kullback and Leibler's, nats)
from the float32 file, all with qwill's engine. `weights` is that of the file's weights alone: decoded to float32, so
that no activation is rounded. The mixes are those of `qwill quantize`; "pure" files have one type for all matrices, but
for rows that are no whole blocks. --write: puts the tables and the picture into docs/quantization.md and .png.
"""

import argparse
import json
import random
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import divergence
import gguf
import numpy as np
import peer

from qwill.convert.importance_file import write_importance
from qwill.convert.quantize import plan_model, write_gguf
from qwill.importance import gather, observed
from qwill.quant.importance import Importance, Statistics
from qwill.quant.recipes import DYNAMIC, STOCK, Recipe, load_recipe
from qwill.quant.types import TYPES
from qwill.weights.hub.cache import resolve_model

DOCS = Path(__file__).parents[1] / "docs"
SHOWN_BYTES = 13_000_000  # 16-bit files are far to the right
BEGIN, END = "<!-- measured: benchmarks/quantizers.py -->", "<!-- end of what is measured -->"
# A single type: what llama-quantize is told. IQ2_M is the mix whose plain type is IQ2_S.
PURE = {
    **{kind: kind for kind in ("Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS")},
    **{kind: kind for kind in ("Q3_K", "IQ3_S", "IQ3_XXS", "Q2_K")},
    "IQ2_S": "IQ2_M",
    "IQ2_XS": "IQ2_XS",
    **{kind: kind for kind in ("IQ2_XXS", "IQ1_M", "IQ1_S")},
}
MIXES = tuple(name for name in (*STOCK, *DYNAMIC) if name != "F32")


@dataclass(frozen=True)
class File:
    """A file's bytes of tensors, its types by tensor, and divergences of each held-out text's tokens."""

    nbytes: int
    types: dict[str, str]
    as_run: list[np.ndarray]
    weights: list[np.ndarray]


@dataclass(frozen=True)
class Row:
    """One type by both quantizers: bytes of tensors, mean divergences, and the ratio of the weights' with its error.

    llama.cpp has no dynamic recipes. `alike`: each tensor has the same type in both.
    """

    name: str
    pure: bool
    nbytes: int
    as_run: float
    weights: float
    alike: bool = False
    their_nbytes: int | None = None
    their_as_run: float | None = None
    their_weights: float | None = None
    ratio: str = "–"

    @classmethod
    def of(cls, name: str, pure: bool, ours: File, theirs: File | None) -> "Row":
        own = ours.nbytes, mean(ours.as_run), mean(ours.weights)
        if theirs is None:
            return cls(name, pure, *own)
        other = theirs.nbytes, mean(theirs.as_run), mean(theirs.weights)
        return cls(name, pure, *own, ours.types == theirs.types, *other, ratio(ours.weights, theirs.weights))


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
        # The table is looked up: its columns matter alike. llama-quantize makes no type of 2 bits or less without it.
        table = Statistics(np.ones((1, llm.config.text.hidden_size), np.float32), np.ones(1, np.float32))
        self.with_table = replace(
            self.importance, statistics={**self.importance.statistics, "token_embd.weight": table}
        )
        self.exact = divergence.ours(self.base, self.texts)

    def importance_for(self, name: str, pure: bool) -> Importance:
        return self.with_table if pure and name.startswith(("IQ2", "IQ1")) else self.importance

    def made(self, name: str, pure: bool, importance: Importance) -> tuple[Path, Path | None]:
        """The type's file by both quantizers; llama.cpp has no dynamic recipes."""
        recipe = Recipe(name, "", TYPES[name], fallbacks=True) if pure else load_recipe(name)
        ours, matrix = self.scratch / "ours.gguf", self.scratch / "imatrix.gguf"
        write_importance(matrix, importance, overwrite=True)
        write_gguf(plan_model(self.base, recipe, importance), ours, overwrite=True, threads=2)
        theirs = None
        if name not in DYNAMIC:
            options = ["--pure"] if pure else []
            kind = PURE[name] if pure else name
            theirs = peer.quantize(self.base, self.scratch / "theirs.gguf", kind, *options, "--imatrix", matrix)
        return ours, theirs

    def row(self, name: str, pure: bool) -> Row:
        ours, theirs = self.made(name, pure, self.importance_for(name, pure))
        own = self.measure(ours)
        if theirs is None:
            return Row.of(name, pure, own, None)
        return Row.of(name, pure, own, own if same_tensors(ours, theirs) else self.measure(theirs))

    def varied(self, name: str, pure: bool, draws: int) -> str:
        """The ratio of the weights' divergence over files of a slightly other importance each, and its standard error.

        Every column's is varied by a tenth: the errors are as large, and meet otherwise.
        """
        means: list[tuple[float, ...]] = []
        for draw in range(draws):
            rng, importance = np.random.default_rng(draw), self.importance_for(name, pure)
            statistics = {
                tensor: replace(known, sums=(known.sums * rng.lognormal(0, 0.1, known.sums.shape)).astype(np.float32))
                for tensor, known in importance.statistics.items()
            }
            files = self.made(name, pure, replace(importance, statistics=statistics))
            means.append(tuple(mean(self.of_weights(file)) for file in files if file))
        values = np.array(means)
        deviations = values.std(axis=0, ddof=1) / values.mean(axis=0)
        if values.shape[1] == 1:
            return f"deviation {deviations[0]:.3f}"
        ratio = values[:, 0].mean() / values[:, 1].mean()
        error = ratio * np.sqrt((deviations**2).sum() / draws)
        return f"{ratio:.3f} ± {error:.3f}, deviations {deviations[0]:.3f} and {deviations[1]:.3f}"

    def of_weights(self, file: Path) -> list[np.ndarray]:
        """Divergences of each text's tokens with the file decoded to float32."""
        decoded = self.scratch / "decoded.gguf"
        write_gguf(plan_model(file, load_recipe("F32")), decoded, overwrite=True, threads=2)
        return divergence.divergences(self.exact, divergence.ours(decoded, self.texts))

    def measure(self, file: Path) -> File:
        tensors = gguf.GGUFReader(file).tensors
        return File(
            sum(int(tensor.n_bytes) for tensor in tensors),
            {tensor.name: tensor.tensor_type.name for tensor in tensors},
            divergence.divergences(self.exact, divergence.ours(file, self.texts)),
            self.of_weights(file),
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
    cells = [row.name, f"{row.nbytes / 1e6:.3f}", f"{row.as_run:.2e}", f"{row.weights:.2e}"]
    if row.their_nbytes is None:
        cells += ["–"] * 3
    else:
        cells += ["the same" if row.alike else f"{row.their_nbytes / 1e6:.3f}"]
        cells += [f"{row.their_as_run:.2e}", f"{row.their_weights:.2e}"]
    return f"| {' | '.join([*cells, row.ratio])} |"


HEADER = (
    "| type | MB | divergence | its weights' | llama.cpp's MB | divergence | its weights' | ratio of the weights' |\n"
    "|---|---|---|---|---|---|---|---|"
)


def draw(rows: list[Row], path: Path) -> None:
    """Bytes against divergence of the files as they run: mixes on the left, single types on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), layout="constrained")
    for axes, pure in zip(figure.subplots(1, 2, sharex=True, sharey=True), (False, True), strict=True):
        chosen = [row for row in rows if row.pure == pure and row.nbytes < SHOWN_BYTES]
        chosen.sort(key=lambda row: row.nbytes)
        places = [(row.nbytes / 1e6, row.as_run) for row in chosen]
        others = [(row.their_nbytes / 1e6, row.their_as_run) for row in chosen if row.their_nbytes is not None]
        axes.plot(*zip(*places, strict=True), "o", color="#4b3fbf", label="qwill")
        axes.plot(*zip(*others, strict=True), "o", color="#c0562c", fillstyle="none", label="llama.cpp")
        for number, (row, place) in enumerate(zip(chosen, places, strict=True)):
            above = number % 2 == 1
            offset, sides = ((12, 18), ("left", "bottom")) if above else ((-12, -18), ("right", "top"))
            line_to = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.6}
            axes.annotate(
                row.name, place, offset, textcoords="offset points", ha=sides[0], va=sides[1], fontsize=8,
                arrowprops=line_to,
            )  # fmt: skip
        axes.set(yscale="log", xlabel="tensors, MB", title="one type for all matrices" if pure else "mixes")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.axes[0].set_ylabel("divergence from float32, nats")
    figure.savefig(path, dpi=110)


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
    parser.add_argument("--pure", nargs="*", default=PURE, help="single types")
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--draws", type=int, default=0, help="instead: the luck of the rounding, of so many files each")
    parser.add_argument("--rows", type=Path, help="a file that keeps what was measured; a run goes on from it")
    parser.add_argument("--write", action="store_true", help="into docs/")
    arguments = parser.parse_args()
    kept: list[Row] = []
    if arguments.rows and arguments.rows.exists():
        kept = [Row(**json.loads(text)) for text in arguments.rows.read_text().splitlines()]
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place), arguments.texts, arguments.seed)
        print(f"{bench.tokens[0]:,} tokens, importance of {bench.tokens[1]:,} tokens")
        wanted = [(name, pure) for pure, names in ((False, arguments.types), (True, arguments.pure)) for name in names]
        if arguments.draws:
            for name, pure in wanted:
                print(f"{'pure ' if pure else ''}{name}: {bench.varied(name, pure, arguments.draws)}", flush=True)
            return
        print(HEADER)
        rows: list[Row] = []
        for name, pure in wanted:
            known = [row for row in kept if (row.name, row.pure) == (name, pure)]
            rows.append(known[0] if known else bench.row(name, pure))
            print(line(rows[-1]), flush=True)
            if arguments.rows and not known:
                with arguments.rows.open("a") as file:
                    print(json.dumps(asdict(rows[-1])), file=file)
    if arguments.write:
        told = (
            f"{arguments.texts} held-out conversations of {bench.tokens[0]:,} tokens; importance of"
            f" {4 * arguments.texts} others of {bench.tokens[1]:,} tokens."
        )
        parts = ["\n".join([HEADER, *(line(row) for row in rows if row.pure == pure)]) for pure in (False, True)]
        put(f"{told}\n\nMixes:\n\n{parts[0]}\n\nOne type for all matrices:\n\n{parts[1]}\n", DOCS / "quantization.md")
        draw(rows, DOCS / "quantization.png")


if __name__ == "__main__":
    sys.exit(main())
