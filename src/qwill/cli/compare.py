"""Compare a model's file with a reference: divergence of their predictions, perplexity, and how often they agree."""

import argparse
import json
import sys
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwill.cli.loading import load_model
from qwill.cli.options import MODEL_HELP, at_least, at_least_one, human_bytes
from qwill.errors import InvalidArgument, UserError

if TYPE_CHECKING:
    from rich.table import Table

    from qwill.compare import Comparison
    from qwill.weights.checkpoint import Checkpoint

DEFAULT_CONTEXT = 512
QUANTILES = (("median", "median"), ("90%", "p90"), ("99%", "p99"), ("most", "max"))  # as shown, and in the report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `qwill compare`."""
    parser.add_argument("a", metavar="A", help=f"the reference: {MODEL_HELP.partition('; ')[2]}; or demo")
    parser.add_argument("b", metavar="B", help="what is compared with it")
    read = parser.add_argument_group("what to read")
    read.add_argument(
        "-f", "--file", action="append", default=[], metavar="FILE",
        help="a text, or conversations (.jsonl); may be repeated (a short text of many kinds)",
    )  # fmt: skip
    read.add_argument(
        "--ctx", type=at_least(4), default=DEFAULT_CONTEXT, metavar="N", help="tokens of a piece of text (512)"
    )
    read.add_argument("--chunks", type=at_least_one, metavar="N", help="read N pieces and conversations at most")
    parser.add_argument("--threads", type=at_least_one, metavar="N", help="processor threads (one a core)")
    shown = parser.add_argument_group("what to show")
    shown.add_argument(
        "--plot", metavar="FILE", help="draw the divergences of all tokens into a .png, .svg or .pdf file"
    )
    shown.add_argument("--json", action="store_true", help="one JSON object")


def execute(arguments: argparse.Namespace) -> None:
    """Compares the two and prints a table or an object. Raises QwillError."""
    from qwill.compare import SAMPLE, compare
    from qwill.progress import StagesBar
    from qwill.weights.hub.cache import resolve_model
    from qwill.weights.load import open_checkpoint

    if arguments.plot is not None:
        check_plot(Path(arguments.plot))
    a, b = (open_checkpoint(resolve_model(name)) for name in (arguments.a, arguments.b))
    with StagesBar(sys.stderr.isatty()) as bar:
        found = compare(
            a, b, arguments.file or [SAMPLE], arguments.ctx,
            most=arguments.chunks, threads=arguments.threads, load=load_model, progress=bar,
        )  # fmt: skip
    report = {"a": describe(a), "b": describe(b), **found.summary()}
    if arguments.plot is not None:
        draw(found, report, Path(arguments.plot))
    if arguments.json:
        print(json.dumps(report, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_sizes(report))
    console.print(_figures(report))


def describe(checkpoint: "Checkpoint") -> dict[str, Any]:
    """A file and the size of its language model."""
    tensors = [tensor for tensor in checkpoint.tensors if not tensor.name.startswith("visual.")]
    size = sum(tensor.nbytes + sum(scale.nbytes for scale in tensor.scales or ()) for tensor in tensors)
    weights = sum(prod(tensor.shape) for tensor in tensors)
    return {"path": str(checkpoint.path), "bytes": size, "bits_per_weight": 8 * size / weights}


def check_plot(path: Path) -> None:
    """Raises UserError when nothing could be drawn in the end."""
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise InvalidArgument(f"{path}: a plot's name ends in .png, .svg or .pdf")
    if not path.absolute().parent.is_dir():
        raise InvalidArgument(f"{path}: there is no folder {path.absolute().parent}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UserError("--plot needs matplotlib, which is not installed: pip install matplotlib") from error


def draw(found: "Comparison", report: dict[str, Any], path: Path) -> None:
    """The share of tokens above each divergence, and what became of the right tokens' probabilities."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    divergence = report["divergence"]
    least = max(divergence["median"] / 1000, 1e-12)
    rising = np.sort(np.maximum(found.divergence, least))
    left.plot(rising, 1 - np.arange(len(rising)) / len(rising), color="#4b3fbf")
    for name, above in (("median", 0.5), ("p90", 0.1), ("p99", 0.01)):
        place = max(divergence[name], least), above
        left.plot(*place, "o", color="#4b3fbf")
        left.annotate(f"{name} {divergence[name]:.2g}   ", place, ha="right", va="top")
    left.set(xscale="log", yscale="log", xlabel="divergence, nats", ylabel="share of tokens above it")
    left.set_title(f"mean {divergence['mean']:.3g} ± {divergence['mean_error']:.1g}")
    before, after = np.exp(found.log_a), np.exp(found.log_b)
    right.plot(before, after, ".", markersize=3, alpha=0.3, color="#c0562c")
    right.plot([0, 1], [0, 1], color="#888888", linewidth=0.8)
    right.set(xlabel="probability of the right token, A", ylabel="B", xlim=(0, 1), ylim=(0, 1))
    right.set_title(f"perplexity {report['perplexity']['a']:.4g} and {report['perplexity']['b']:.4g}")
    figure.suptitle(f"{Path(report['b']['path']).name} against {Path(report['a']['path']).name}")
    figure.savefig(path, dpi=150)


def _sizes(report: dict[str, Any]) -> "Table":
    from rich.table import Table

    table = Table("", "model", box=None, pad_edge=False)
    for name in ("size", "bits per weight", "perplexity"):
        table.add_column(name, justify="right", no_wrap=True)
    for key in ("a", "b"):
        one = report[key]
        size, bits = human_bytes(one["bytes"]), f"{one['bits_per_weight']:.2f}"
        table.add_row(key.upper(), one["path"], size, bits, f"{report['perplexity'][key]:.4f}")
    return table


def _figures(report: dict[str, Any]) -> "Table":
    from rich.table import Table

    divergence, perplexity = report["divergence"], report["perplexity"]
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    spread = ", ".join(f"{name} {divergence[key]:.4g}" for name, key in QUANTILES)
    rows = {
        "tokens compared": f"{report['tokens']:,}",
        "divergence, nats": f"{divergence['mean']:.6f} ± {divergence['mean_error']:.6f}",
        "its distribution": spread,
        "ratio of perplexities": f"{perplexity['ratio']:.4f} ± {perplexity['ratio_error']:.4f}",
        "same likeliest token": f"{report['same_top_token']:.2%}",
        "of the five likeliest": f"{report['top_5_overlap']:.2%} the same",
        "size": f"B takes {report['b']['bytes'] / report['a']['bytes']:.1%} of A",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table
