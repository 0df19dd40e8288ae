"""Measure how fast a model reads prompts and writes answers on this machine. -p, -n, -d and -b take lists: 128,512."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from qwill.cli.loading import load_model
from qwill.cli.options import add_lora_argument, add_model_argument, at_least_one, counts, human_bytes, unnamed
from qwill.errors import InvalidArgument
from qwill.quant.recipes import names
from qwill.weights.hub.cache import DEMO
from qwill.weights.naming.models import RELEASES, family_member
from qwill.weights.random import DEFAULT_MIX

PIPE_WIDTH = 200  # nobody wraps a pipe's lines

if TYPE_CHECKING:
    from rich.table import Table

    from qwill.llm import LLM
    from qwill.speed import Case, Speed
    from qwill.weights.checkpoint import Checkpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `qwill bench`."""
    add_model_argument(parser)
    what = parser.add_argument_group("what to measure")
    what.add_argument("-p", "--prompt", type=counts(0), default=[512], metavar="N", help="tokens read at once (512)")
    what.add_argument("-n", "--decode", type=counts(0), default=[128], metavar="N", help="tokens written singly (128)")
    what.add_argument("-d", "--depth", type=counts(0), default=[0], metavar="N", help="tokens of context before (0)")
    what.add_argument("-b", "--batch", type=counts(1), default=[1], metavar="N", help="sequences together (1)")
    what.add_argument("--repeat", type=at_least_one, default=5, metavar="N", help="how often; medians count (5)")
    invented = parser.add_argument_group("without a download")
    invented.add_argument(
        "--random-weights", action="store_true", help="MODEL is a member of the family (0.8B) with invented weights"
    )
    invented.add_argument("--layers", type=at_least_one, metavar="N", help="its first N layers (all that fit)")
    invented.add_argument(
        "--quant", default="", metavar="RECIPE", help=f"({DEFAULT_MIX}) {', '.join(names())}, or a recipe's file"
    )
    machine = parser.add_argument_group("how to run")
    machine.add_argument("--kv", default="auto", metavar="TYPE", help="cached keys and values: auto, f32, f16, q8_0")
    add_lora_argument(machine)
    machine.add_argument("--threads", type=at_least_one, metavar="N", help="processor threads (one a core)")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def execute(arguments: argparse.Namespace) -> None:
    """Measures every combination and prints a table or an object. Raises QwillError."""
    if not arguments.random_weights and (arguments.layers is not None or arguments.quant):
        raise InvalidArgument("--layers and --quant are for invented weights; add --random-weights")
    from qwill.model.config import model_config
    from qwill.speed import all_cases, room_for

    cases = all_cases(arguments.prompt, arguments.decode, arguments.depth, arguments.batch, arguments.repeat)
    checkpoint = _checkpoint(arguments, cases)
    room = room_for(cases, model_config(checkpoint.config).text, str(checkpoint.path))
    llm = load_model(checkpoint, threads=arguments.threads, kv=arguments.kv, lora=unnamed(arguments.lora), **room)
    speeds = _measure(llm, cases)
    report = describe(llm, arguments, speeds)
    if arguments.json:
        print(json.dumps(report, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    console.print(_table(report))
    console.print(_bandwidth_line(report))


def _checkpoint(arguments: argparse.Namespace, cases: list["Case"]) -> "Checkpoint":
    if not arguments.random_weights:
        from qwill.weights.hub.cache import resolve_model
        from qwill.weights.load import open_checkpoint

        return open_checkpoint(resolve_model(arguments.model))
    from qwill.fit.family import family_config
    from qwill.quant.types import TYPES
    from qwill.speed import random_model

    name = RELEASES["qwen3.5:0.8b"] if arguments.model in ("", DEMO) else arguments.model
    kv_type = TYPES.get(arguments.kv.upper(), TYPES["F16"])  # what is no type is refused when the model is loaded
    checkpoint = random_model(name, arguments.quant, arguments.layers, cases, kv_type)
    taken = checkpoint.config["text_config"]["num_hidden_layers"]
    layers = family_config(family_member(name)[0])["text_config"]["num_hidden_layers"]
    if taken < layers:
        why = "as asked" if arguments.layers is not None else "as many as fit into the free memory"
        print(f"qwill: {taken} of {layers} layers, {why}; the whole model is slower", file=sys.stderr)
    return checkpoint


def _measure(llm: "LLM", cases: list["Case"]) -> list["Speed"]:
    """All cases. At a terminal a line tells which one is running, a still one: a moving one would take time of it."""
    from qwill.speed import measure

    speeds = []
    width = max(len(case.label) for case in cases)
    for case in cases:
        _show_progress(case.label.ljust(width))
        speeds.append(measure(llm, case))
    _show_progress(" " * width)
    return speeds


def _show_progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}\r", end="", file=sys.stderr, flush=True)


def describe(llm: "LLM", arguments: argparse.Namespace, speeds: list["Speed"]) -> dict[str, Any]:
    """What --json shows. `prefill_` and `decode_tokens_per_second` are those of the first run of each kind."""
    from qwill.fit.bandwidth import read_bandwidth
    from qwill.speed import language_weights, weight_bytes_per_token
    from qwill.system.memory import peak_memory

    peak = peak_memory()  # before the bandwidth's arrays
    type_name, weight_bytes = language_weights(llm.checkpoint)
    token_bytes, bandwidth = weight_bytes_per_token(llm.checkpoint), read_bandwidth(llm.threads)
    first = {speed.case.kind: speed.median for speed in reversed(speeds)}
    random = arguments.random_weights
    return {
        "model": llm.checkpoint.path.name if random else arguments.model or DEMO,
        "random_weights": random,
        "layers": llm.config.text.layers,
        "weights_type": type_name,
        "weight_bytes": weight_bytes,
        "isa": llm.isa,
        "threads": llm.threads,
        "prefill_tokens_per_second": first.get("prefill"),
        "decode_tokens_per_second": first.get("decode"),
        "peak_memory_bytes": peak,
        "read_bytes_per_second": bandwidth,
        "weight_bytes_per_token": token_bytes,
        "runs": [_run(speed, token_bytes / bandwidth) for speed in speeds],
    }


def _run(speed: "Speed", seconds_to_read: float) -> dict[str, Any]:
    case = speed.case
    alone = case.kind == "decode" and case.sequences == 1  # together sequences share what is read
    return {
        "test": case.label,
        "kind": case.kind,
        "tokens": case.tokens,
        "context": case.context,
        "sequences": case.sequences,
        "tokens_per_second": speed.median,
        "least": min(speed.values),
        "most": max(speed.values),
        "values": list(speed.values),
        "bandwidth_share": speed.median * seconds_to_read if alone else None,
    }


def _table(report: dict[str, Any]) -> "Table":
    from rich.table import Table

    table = Table("model", "weights", "isa", box=None, pad_edge=False)
    table.add_column("threads", justify="right")
    table.add_column("test", no_wrap=True)
    table.add_column("tokens/s", justify="right", no_wrap=True)
    weights = f"{report['weights_type']} {human_bytes(report['weight_bytes'])}"
    for run in report["runs"]:
        speed = f"{run['tokens_per_second']:.1f} ({run['least']:.1f} to {run['most']:.1f})"
        table.add_row(report["model"], weights, report["isa"], str(report["threads"]), run["test"], speed)
    return table


def _bandwidth_line(report: dict[str, Any]) -> str:
    line = f"memory is read at {report['read_bytes_per_second'] / 1e9:.1f} GB/s"
    decode = next((run for run in report["runs"] if run["bandwidth_share"] is not None), None)
    if decode is None:
        return line
    share = decode["bandwidth_share"]
    of_it = f"{share:.0%} of it" if share <= 1 else "from the processor's caches"
    size = human_bytes(report["weight_bytes_per_token"])
    return f"{line}; {decode['test']} reads {size} of weights a token, {of_it}"
