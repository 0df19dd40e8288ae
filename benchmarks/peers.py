"""Measures qwill beside llama.cpp: the same file, the same threads, turn by turn in one run.

    QWILL_LLAMA_BIN=... python benchmarks/peers.py [--member Qwen3.5-0.8B] [--mix Q8_0 Q4_K_M] [--depth 8192 32768] ...

Weights are random, in the member's true shape (`random_checkpoint.py`), or `--file` names files. Cases are those of
`qwill bench`: prompts read at once into an empty context, tokens written one by one, also after a long context, and
several sequences writing together. qwill's time includes sampling. Without a context the two programs take turns, and
medians count, because machines are shared and drift; a long context is read once by each. The memory's read bandwidth
and the rate of the processor's integer dot products are measured between the turns: decoding cannot be faster than
bandwidth over the bytes of the weights and of the states, nor prefill than that rate over the operations of a token.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import llama
import matplotlib
from random_checkpoint import cached

from qwill import LLM, SamplingParams, _native
from qwill.fit.bandwidth import read_bandwidth
from qwill.fit.integer_rate import integer_rate
from qwill.model.config import model_config
from qwill.model.parameters import state_bytes
from qwill.speed import Case, all_cases, measure, operations_per_token, room_for, weight_bytes_per_token
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.load import open_checkpoint

ROOT = Path(__file__).parents[1]
QUICK_TESTS = ["tests/ops", "tests/quant"]


@dataclass
class Row:
    """Speeds of one case in tokens per second, one value a repetition."""

    case: Case
    qwill: list[float] = field(default_factory=list)
    llama: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return statistics.median(self.qwill) / statistics.median(self.llama)


@dataclass
class Report:
    """What was measured on one file."""

    file: str
    isa: str
    threads: int
    rows: list[Row]
    weight_bytes: int  # that a decoded token reads
    state_bytes: int  # of the recurrent states that it reads and writes
    operations: int  # of a prompt's token
    bandwidth: list[float] = field(default_factory=list)  # bytes per second
    integer_rate: list[float] = field(default_factory=list)  # operations per second
    shares: dict[str, float] = field(default_factory=dict)  # of a decoded token's time, by native call; and "Python"


def run_file(path: Path, arguments: argparse.Namespace) -> Report:
    report = compare(path, arguments)
    report.shares = time_shares(path, arguments.threads, arguments.decode)
    return report


def compare(path: Path, arguments: argparse.Namespace) -> Report:
    """All cases of a file, by both programs."""
    cases = all_cases(arguments.prompt, [arguments.decode], [0], [1])
    cases += [Case("decode", arguments.together, sequences=count) for count in arguments.batch if count > 1]
    deep = [
        Case("decode", arguments.deep_decode, depth, repeat=arguments.repetitions) for depth in arguments.depth if depth
    ]
    checkpoint = open_checkpoint(path)
    llm = model(checkpoint, arguments.threads, cases + deep)
    rows = {case: Row(case) for case in cases + deep}
    report = Report(
        path.stem, llm.isa, llm.threads, list(rows.values()), weight_bytes_per_token(checkpoint),
        2 * state_bytes(llm.config.text), operations_per_token(checkpoint),
    )  # fmt: skip

    def turn_of_llama(which: list[Case], repetitions: int) -> None:
        for case, values in llama.speeds(path, arguments.threads, which, repetitions).items():
            rows[case].llama += values

    def turn_of_qwill(which: list[Case]) -> None:
        for case in which:
            rows[case].qwill += measure(llm, case).values

    for repetition in range(arguments.repetitions):
        report.bandwidth.append(read_bandwidth(arguments.threads))
        report.integer_rate.append(integer_rate(arguments.threads))
        turns: list[Callable[[], None]] = [lambda: turn_of_llama(cases, 1), lambda: turn_of_qwill(cases)]
        for turn in turns[:: 1 if repetition % 2 else -1]:  # neither always comes first
            turn()
        print(f"{path.stem} {repetition + 1}/{arguments.repetitions}", file=sys.stderr, flush=True)
    for case in deep:
        turn_of_qwill([case])
        turn_of_llama([case], arguments.repetitions)
        print(f"{path.stem} {case.label}", file=sys.stderr, flush=True)
    return report


def model(checkpoint: Checkpoint, threads: int, cases: list[Case]) -> LLM:
    return LLM(checkpoint, threads=threads, **room_for(cases, model_config(checkpoint.config).text, "the model"))


def generate(llm: LLM, prompt: list[int], count: int) -> float:
    """Seconds that an answer of `count` tokens takes."""
    params = SamplingParams(temperature=0, presence_penalty=0, max_tokens=count, ignore_eos=True)
    start = time.perf_counter()
    (answer,) = llm.generate([prompt], params)
    elapsed = time.perf_counter() - start
    assert len(answer.token_ids) == count
    return elapsed


class TimedCpu:
    """Stands in for the native module's Cpu and adds up the seconds spent inside each of its calls."""

    inside: ClassVar[Counter[str]] = Counter()
    original = _native.Cpu

    def __init__(self, isa: str, threads: int) -> None:
        self._cpu = TimedCpu.original(isa, threads)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._cpu, name)
        if not callable(attribute):
            return attribute
        timed = _timed(name, attribute)
        setattr(self, name, timed)
        return timed


def _timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        start = time.perf_counter()
        result = function(*arguments)
        TimedCpu.inside[name] += time.perf_counter() - start
        return result

    return call


def time_shares(path: Path, threads: int, tokens: int) -> dict[str, float]:
    """Parts of a decoded token's time in each native call, and outside them as "Python", the timers included.

    Medians of five answers.
    """
    with patch.object(_native, "Cpu", TimedCpu):
        llm = model(open_checkpoint(path), threads, [Case("decode", tokens)])
    answers = []
    for _ in range(5):
        TimedCpu.inside.clear()
        elapsed = generate(llm, [1], tokens)
        shares = {name: seconds / elapsed for name, seconds in TimedCpu.inside.items()}
        answers.append(shares | {"Python": 1 - sum(shares.values())})
    return {name: statistics.median(shares[name] for shares in answers) for name in answers[0]}


def cell(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def table(reports: list[Report]) -> str:
    """Medians, and the least and most of all repetitions."""
    lines = ["| file | case | llama.cpp, tokens/s | qwill, tokens/s | ratio |", "|---|---|---|---|---|"]
    for report in reports:
        for row in report.rows:
            lines.append(
                f"| {report.file} | {row.case.label} | {cell(row.llama)} | {cell(row.qwill)} | {row.ratio:.2f} |"
            )
    lines += [
        "",
        "| file | read bandwidth | weights of it in decode | and states | int8 rate | of it in prefill | Python |",
    ]
    lines += ["|---" * 7 + "|"]
    for report in reports:
        bandwidth, rate = statistics.median(report.bandwidth), statistics.median(report.integer_rate)
        decode, prefill = (
            next((statistics.median(r.qwill) for r in report.rows if (r.case.kind, r.case.context) == (kind, 0)), 0.0)
            for kind in ("decode", "prefill")
        )
        lines.append(
            f"| {report.file} | {bandwidth / 1e9:.1f} GB/s | {decode * report.weight_bytes / bandwidth:.0%} |"
            f" {decode * (report.weight_bytes + report.state_bytes) / bandwidth:.0%} |"
            f" {rate / 1e9:.0f} Gop/s | {prefill * report.operations / rate:.0%} | {report.shares['Python']:.1%} |"
        )
    return "\n".join(lines)


def shares_table(reports: list[Report]) -> str:
    lines = [f"| part of a decoded token | {' | '.join(report.file for report in reports)} |"]
    lines.append("|---" * (len(reports) + 1) + "|")
    for name in sorted(reports[0].shares, key=lambda name: -reports[0].shares[name]):
        lines.append(f"| {name} | {' | '.join(f'{report.shares.get(name, 0):.1%}' for report in reports)} |")
    return "\n".join(lines)


def plot(reports: list[Report], path: Path) -> None:
    """The ratios, a group of bars for each file."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.45 * sum(len(report.rows) for report in reports) / 2))
    place, ticks = 0.0, []
    for report in reports:
        for row in report.rows:
            axes.barh(place, row.ratio, color="tab:blue" if row.case.kind == "prefill" else "tab:orange")
            axes.text(row.ratio, place, f" {row.ratio:.2f}", va="center", fontsize=7)
            ticks.append((place, f"{report.file} {row.case.label}"))
            place += 1
        place += 0.7
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks([tick for tick, _ in ticks], [label for _, label in ticks], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("speed of qwill / speed of llama.cpp")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def arguments_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    parser.add_argument("--member", default="Qwen3.5-0.8B")
    parser.add_argument("--mix", nargs="*", metavar="RECIPE", default=["Q8_0", "Q4_K_M"])
    parser.add_argument("--layers", type=int, help="keep this many layers of the member")
    parser.add_argument("--file", nargs="*", type=Path, default=[], help="measure these files too")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", nargs="*", type=int, default=[512], help="tokens of prefill")
    parser.add_argument("--decode", type=int, default=64, help="tokens written without a context")
    parser.add_argument("--depth", nargs="*", type=int, default=[], help="contexts to write in, too")
    parser.add_argument("--deep-decode", type=int, default=16, help="tokens written in a context")
    parser.add_argument("--batch", nargs="*", type=int, default=[], help="sequences that write together, too")
    parser.add_argument("--together", type=int, default=32, help="tokens that each of them writes")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "qwill" / "benchmarks")
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    parser.add_argument("--json", type=Path, help="write all values here")
    parser.add_argument("--plot", type=Path, help="write a picture of the ratios here")
    parser.add_argument("--no-tests", action="store_true", help="do not run the kernels' tests first")
    return parser.parse_args()


def main() -> None:
    arguments = arguments_of(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    if "QWILL_LLAMA_BIN" not in os.environ:
        sys.exit("QWILL_LLAMA_BIN is not set; scripts/peer builds llama.cpp and says where it is")
    if not arguments.no_tests:
        tests = [test for test in QUICK_TESTS if (ROOT / test).exists()]
        if subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", *tests], cwd=ROOT, check=False).returncode:
            sys.exit("the kernels' tests fail; a benchmark of wrong results means nothing")
    paths = [cached(arguments.cache, arguments.member, mix, arguments.layers) for mix in arguments.mix]
    print("load average before:", os.getloadavg()[0], file=sys.stderr)
    reports = [run_file(path, arguments) for path in [*paths, *arguments.file]]
    tables = table(reports) + "\n\n" + shares_table(reports)
    print(tables)
    if arguments.markdown:
        arguments.markdown.write_text(tables + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(report) for report in reports], indent=1))
    if arguments.plot:
        plot(reports, arguments.plot)


if __name__ == "__main__":
    main()
