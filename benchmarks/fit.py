"""Estimates of `qwill fit` against what `qwill bench` measures here: speeds, and the most memory.

    python benchmarks/fit.py [--cases 0.8b 2b 4b:12 35b:4] [--quants Q4_K_M Q8_0] [--contexts 0 4096] [--files F.gguf]

A case is a member and its number of layers. Each is measured by `qwill bench --random-weights` in a process of its own,
together with the memory's bandwidth and the rate of integer products, before and after: an estimate is for what the
machine had to give then. Other programs must be quiet; where the two measures differ by more than a tenth, the line has
a "!". `--files`: the most memory that `qwill bench FILE` takes, for real files, in which nothing is drawn.

`--one-thread` takes the processor's own time, of one thread, which other programs disturb much less.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from qwill._native import available_isas

from qwill.fit.bandwidth import read_bandwidth
from qwill.fit.estimate import Cpu, Share, decode, prefill
from qwill.fit.family import family_config
from qwill.fit.integer_rate import integer_rate
from qwill.fit.kernels import packed_bytes
from qwill.fit.machines import Host, Machine
from qwill.fit.plan import PROGRAM_BYTES, Wish, cache_size, plan
from qwill.fit.weights import PARTS, checkpoint_weights
from qwill.model.loader import MADE_TOGETHER
from qwill.system.memory import available_memory
from qwill.system.processors import performance_cores
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.load import open_checkpoint
from qwill.weights.naming.models import family_member
from qwill.weights.random import random_checkpoint

PROMPT, ANSWER = 512, 32
UNEVEN = 0.1
INTERPRETER = 45_000_000  # bytes, before a model is loaded
BOUND = {"speed": 0.15, "memory": 0.05}


OWN_TIME = "import time; time.perf_counter = time.process_time; from qwill.cli import main; raise SystemExit(main())"


def bench(arguments: list[str], one_thread: bool = False) -> dict[str, Any]:
    program = ["-c", OWN_TIME, "bench", "--threads", "1"] if one_thread else ["-m", "qwill", "bench"]
    result = subprocess.run(
        [sys.executable, *program, *arguments, "--json"], check=True, capture_output=True, text=True
    )
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def drawn_memory(checkpoint: Checkpoint, context: int) -> int:
    """The most that random weights take. They are drawn as a file would hold them, and packed when MADE_TOGETHER of
    them wait; the table of embeddings stays as it is. Then come caches, and what a step takes between.
    """
    table = checkpoint.tensors.peek("embed_tokens.weight")
    tied = "lm_head.weight" not in checkpoint.tensors
    held, waiting, most = table.nbytes + (packed_bytes(table.type, table.nbytes) if tied else 0), 0, 0
    for tensor in checkpoint.tensors:
        if tensor is not table:
            waiting += tensor.nbytes
            held += packed_bytes(tensor.type, tensor.nbytes)
            most = max(most, held + waiting)
            waiting = 0 if waiting >= MADE_TOGETHER else waiting
    weights = checkpoint_weights(checkpoint)
    step = PROGRAM_BYTES - INTERPRETER
    return INTERPRETER + max(most, held + waiting, held + step + cache_size(weights, Wish(context)))


def measured_host(one_thread: bool = False) -> Host:
    cores = 1 if one_thread else performance_cores()
    return Host("here", available_isas()[-1], cores, available_memory(), read_bandwidth(cores), integer_rate(cores))


def compare(alias: str, layers: int | None, quant: str, options: argparse.Namespace) -> list[tuple[str, float]]:
    """Prints a line for each test; kinds and estimates over measurements."""
    depths, one = ",".join(map(str, options.contexts)), options.one_thread
    member, _ = family_member(f"qwen3.5:{alias}")
    checkpoint = random_checkpoint(member, family_config(member), quant, layers)
    weights = checkpoint_weights(checkpoint)
    before = measured_host(one)
    told = bench([
        f"qwen3.5:{alias}", "--random-weights", "--quant", quant, *(["--layers", str(layers)] if layers else []),
        "-p", str(PROMPT), "-n", str(ANSWER), "-d", depths, "--repeat", str(options.repeat),
    ], one)  # fmt: skip
    after = measured_host(one)
    bandwidth = statistics.mean((before.bandwidth, after.bandwidth, told["read_bytes_per_second"]))
    host = replace(before, bandwidth=bandwidth, rate=(before.rate + after.rate) / 2)
    spread = max(abs(before.bandwidth - after.bandwidth) / bandwidth, abs(before.rate - after.rate) / host.rate)
    shares = [Share(Cpu(host), dict.fromkeys(PARTS, 1.0), 1.0)]
    name = f"{alias}{f' ({layers} layers)' if layers else ''} | {quant}"
    limits = f"{bandwidth / 1e9:.1f} GB/s | {host.rate / 1e9:.0f} Gop/s{' !' if spread > UNEVEN else ''}"
    results = []
    for run in told["runs"]:
        depth = run["context"]
        if run["kind"] == "prefill":
            estimate = prefill(weights, shares, PROMPT, depth).tokens_per_second
        else:
            estimate = decode(weights, shares, depth + ANSWER // 2).tokens_per_second
        ratio = estimate / run["tokens_per_second"]
        print(f"| {name} | {run['test']} | {run['tokens_per_second']:.1f} | {estimate:.1f} | {ratio:.2f} | {limits} |")
        results.append(("speed", ratio))
    memory, peak = drawn_memory(checkpoint, max(options.contexts) + PROMPT), told["peak_memory_bytes"]
    ratio = memory / peak
    print(f"| {name} | memory, MB | {peak / 1e6:.0f} | {memory / 1e6:.0f} | {ratio:.2f} | | |", flush=True)
    return [*results, ("memory", ratio)]


def compare_file(file: Path) -> list[tuple[str, float]]:
    told = bench([str(file), "-p", str(PROMPT), "-n", "8", "-d", "4096", "--repeat", "1"])
    weights = checkpoint_weights(open_checkpoint(file))
    estimate = plan(weights, Machine("here", measured_host()), Wish(4096 + PROMPT)).memory_bytes
    ratio = estimate / told["peak_memory_bytes"]
    peak = told["peak_memory_bytes"]
    print(f"| {file.stem} | | memory, MB | {peak / 1e6:.0f} | {estimate / 1e6:.0f} | {ratio:.2f} | | |", flush=True)
    return [("memory", ratio)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=["0.8b", "2b", "4b", "35b:16"], help="member, or member:layers")
    parser.add_argument("--quants", nargs="*", default=["Q4_K_M", "Q6_K", "Q8_0"])
    parser.add_argument("--contexts", nargs="*", type=int, default=[0, 4096])
    parser.add_argument("--files", nargs="*", type=Path, default=[])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--one-thread", action="store_true", help="the processor's own time of one thread")
    options = parser.parse_args()
    if options.one_thread:
        time.perf_counter = time.process_time
    print("| member | quantization | test | measured | estimated | ratio | read bandwidth | integer rate |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    results: list[tuple[str, float]] = []
    for case in options.cases:
        alias, _, layers = case.partition(":")
        for quant in options.quants:
            results += compare(alias, int(layers) if layers else None, quant, options)
    for file in options.files:
        results += compare_file(file)
    for kind, bound in BOUND.items():
        ratios = [ratio for each, ratio in results if each == kind]
        within = sum(abs(ratio - 1) <= bound for ratio in ratios)
        if ratios:
            print(f"\n{kind}: {within} of {len(ratios)} within {bound:.0%}; {min(ratios):.2f} to {max(ratios):.2f},"
                  f" median {statistics.median(ratios):.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
