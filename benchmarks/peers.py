"""Measures qwill beside llama.cpp: the same file, the same threads, turn by turn in one run.

    QWILL_LLAMA_BIN=... python benchmarks/peers.py [--member Qwen3.5-0.8B] [--mix Q8_0 Q4_K] [--markdown F] [--json F]

Weights are random, in the member's true shape (`random_checkpoint.py`). llama.cpp is measured by its own llama-bench:
`-p` tokens read at once into an empty context, and `-n` tokens computed one by one. qwill does the same through `LLM`,
sampling included. Both take turns, and the medians count, because machines are shared and drift. The memory's read
bandwidth is measured between the turns; decoding cannot be faster than bandwidth over the bytes of the weights.
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

import numpy as np
from random_checkpoint import cached

from qwill import LLM, SamplingParams, _native
from qwill.fit.bandwidth import read_bandwidth
from qwill.weights.random import MIXES

ROOT = Path(__file__).parents[1]
QUICK_TESTS = ["tests/ops", "tests/quant"]


@dataclass
class Case:
    """What was measured on one file; speeds in tokens per second, one value a repetition."""

    file: str
    file_bytes: int
    threads: int
    isa: str
    prefill_tokens: int
    decode_tokens: int
    qwill_prefill: list[float] = field(default_factory=list)
    qwill_decode: list[float] = field(default_factory=list)
    llama_prefill: list[float] = field(default_factory=list)
    llama_decode: list[float] = field(default_factory=list)
    bandwidth: list[float] = field(default_factory=list)  # bytes per second
    shares: dict[str, float] = field(default_factory=dict)  # of a decoded token's time, by native call; and "Python"

    def speed(self, who: str, what: str) -> float:
        return statistics.median(getattr(self, f"{who}_{what}"))

    def ratio(self, what: str) -> float:
        return self.speed("qwill", what) / self.speed("llama", what)


def run_llama(path: Path, case: Case) -> None:
    """One turn of llama-bench; its own warm-up run comes first and does not count."""
    command = [
        Path(os.environ["QWILL_LLAMA_BIN"]) / "llama-bench",
        *("-m", path, "-t", case.threads, "-p", case.prefill_tokens, "-n", case.decode_tokens, "-r", 1, "-o", "json"),
    ]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
    for test in json.loads(done.stdout):
        (case.llama_decode if test["n_gen"] else case.llama_prefill).append(test["avg_ts"])


def run_qwill(llm: LLM, case: Case, rng: np.random.Generator) -> None:
    """One turn of qwill. A prompt of one token and n tokens of answer are n passes, as many as llama-bench makes."""
    prompt = rng.integers(0, 200_000, case.prefill_tokens).tolist()
    generate(llm, prompt[:8], 2)
    case.qwill_prefill.append(case.prefill_tokens / generate(llm, prompt, 1))
    case.qwill_decode.append(case.decode_tokens / generate(llm, prompt[:1], case.decode_tokens))


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
        llm = LLM(str(path), threads=threads, max_context=1024)
    answers = []
    for _ in range(5):
        TimedCpu.inside.clear()
        elapsed = generate(llm, [1], tokens)
        shares = {name: seconds / elapsed for name, seconds in TimedCpu.inside.items()}
        answers.append(shares | {"Python": 1 - sum(shares.values())})
    return {name: statistics.median(shares[name] for shares in answers) for name in answers[0]}


def measure(path: Path, arguments: argparse.Namespace) -> Case:
    llm = LLM(str(path), threads=arguments.threads, max_context=1024)
    case = Case(
        path.stem,
        path.stat().st_size,
        llm.threads,
        llm.isa,
        prefill_tokens=arguments.prompt,
        decode_tokens=arguments.decode,
    )
    rng = np.random.default_rng()
    turns: list[Callable[[], None]] = [lambda: run_llama(path, case), lambda: run_qwill(llm, case, rng)]
    for repetition in range(arguments.repetitions):
        case.bandwidth.append(read_bandwidth(case.threads))
        for turn in turns[:: 1 if repetition % 2 else -1]:  # neither always comes first
            turn()
        print(f"{path.stem} {repetition + 1}/{arguments.repetitions}: {row(case, 'decode')}", file=sys.stderr)
    return case


def row(case: Case, what: str) -> str:
    """One line of the table: medians, and the least and most of all repetitions."""

    def cell(who: str) -> str:
        values = getattr(case, f"{who}_{what}")
        return f"{case.speed(who, what):.1f} ({min(values):.1f} to {max(values):.1f})"

    return f"| {case.file} | {what} | {cell('llama')} | {cell('qwill')} | {case.ratio(what):.2f} |"


def table(cases: list[Case]) -> str:
    lines = ["| file | phase | llama.cpp, tokens/s | qwill, tokens/s | ratio |", "|---|---|---|---|---|"]
    lines += [row(case, what) for case in cases for what in ("prefill", "decode")]
    lines += ["", "| file | read bandwidth, GB/s | weights read by qwill's decode, GB/s | Python's share of a token |"]
    lines += ["|---|---|---|---|"]
    for case in cases:
        used = case.speed("qwill", "decode") * case.file_bytes / 1e9
        bandwidth = statistics.median(case.bandwidth) / 1e9
        lines.append(f"| {case.file} | {bandwidth:.1f} | {used:.1f} | {case.shares['Python']:.1%} |")
    lines += [
        "",
        f"| part of a decoded token | {' | '.join(case.file for case in cases)} |",
        "|---" * (len(cases) + 1) + "|",
    ]
    for name in sorted(cases[0].shares, key=lambda name: -cases[0].shares[name]):
        lines.append(f"| {name} | {' | '.join(f'{case.shares.get(name, 0):.1%}' for case in cases)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--member", default="Qwen3.5-0.8B")
    parser.add_argument("--mix", nargs="+", choices=MIXES, default=["Q8_0", "Q4_K"])
    parser.add_argument("--layers", type=int, help="keep this many layers of the member")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512, help="tokens of prefill")
    parser.add_argument("--decode", type=int, default=64, help="tokens of decode")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "qwill" / "benchmarks")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument("--json", type=Path, help="write all values here")
    parser.add_argument("--no-tests", action="store_true", help="do not run the kernels' tests first")
    arguments = parser.parse_args()
    if "QWILL_LLAMA_BIN" not in os.environ:
        sys.exit("QWILL_LLAMA_BIN is not set; scripts/peer builds llama.cpp and says where it is")
    if not arguments.no_tests:
        tests = [test for test in QUICK_TESTS if (ROOT / test).exists()]
        if subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", *tests], cwd=ROOT, check=False).returncode:
            sys.exit("the kernels' tests fail; a benchmark of wrong results means nothing")
    paths = [cached(arguments.cache, arguments.member, mix, arguments.layers) for mix in arguments.mix]
    print("load average before:", os.getloadavg()[0], file=sys.stderr)
    cases = [measure(path, arguments) for path in paths]
    for path, case in zip(paths, cases, strict=True):
        case.shares = time_shares(path, case.threads, case.decode_tokens)
    print(table(cases))
    if arguments.markdown:
        arguments.markdown.write_text(table(cases) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(case) for case in cases], indent=1))


if __name__ == "__main__":
    main()
