"""Speeds of llama.cpp by its own programs: llama-bench, and llama-batched-bench for several sequences."""

import json
import os
import subprocess
from pathlib import Path

from qwill.speed import Case

TOGETHER_PROMPT = 8  # tokens of each sequence's prompt where several are written together


def speeds(path: Path, threads: int, cases: list[Case], repetitions: int = 1) -> dict[Case, list[float]]:
    """Tokens per second of every case, as many values as repetitions; the programs' own warm-ups do not count.

    A context is read once for all repetitions: llama-bench keeps the state and goes back to it. Raises
    CalledProcessError when a program fails and KeyError when QWILL_LLAMA_BIN is not set.
    """
    result: dict[Case, list[float]] = {case: [] for case in cases}
    for case in cases:
        if case.sequences > 1:
            result[case] = [_together(path, threads, case) for _ in range(repetitions)]
    for kind, option in (("prefill", "-p"), ("decode", "-n")):
        for context in sorted({case.context for case in cases}):
            alone = [c for c in cases if (c.kind, c.context, c.sequences) == (kind, context, 1)]
            if not alone:
                continue
            counts = ",".join(str(case.tokens) for case in alone)
            other = "-n" if option == "-p" else "-p"
            told = _run(
                "llama-bench", path, threads, option, counts, other, "0", "-d", context, "-r", repetitions, "-o", "json"
            )
            tests = {test["n_prompt"] or test["n_gen"]: test["samples_ts"] for test in json.loads(told)}
            for case in alone:
                result[case] = tests[case.tokens]
    return result


def _together(path: Path, threads: int, case: Case) -> float:
    """Several sequences writing at a time, each behind a short prompt of its own."""
    assert case.kind == "decode", case
    assert not case.context, case
    room = case.sequences * (TOGETHER_PROMPT + case.tokens) * 2
    told = _run(
        "llama-batched-bench", path, threads, "-c", room, "-npp", TOGETHER_PROMPT, "-ntg", case.tokens,
        "-npl", case.sequences, "--output-format", "jsonl",
    )  # fmt: skip
    (line,) = (line for line in told.splitlines() if line.startswith("{"))
    return float(json.loads(line)["speed_tg"])


def _run(program: str, path: Path, threads: int, *options: object) -> str:
    command = [Path(os.environ["QWILL_LLAMA_BIN"]) / program, "-m", path, "-t", threads, *options]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout
