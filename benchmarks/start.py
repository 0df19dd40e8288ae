"""How long a start takes and what it leaves in memory: `import qwill`, and a command up to its first token.

    python -m benchmarks.start [MODEL ...]

Prints medians beside the bare interpreter's start in the same run: seconds, seconds of all processors together, and the
most memory the process ever had, for a model also what it is beyond the tensors of its files. Models are the embedded
one unless others are given. Sources are compiled beforehand, as pip leaves them after an installation.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

RUNS = 9
PYTHON = {
    "python -c pass": ["-c", "pass"],
    "import qwill": ["-c", "import qwill"],
    "from qwill import LLM": ["-c", "from qwill import LLM"],
}


class Start(NamedTuple):
    """What one process took: seconds of the clock and of all processors, bytes of memory at its most."""

    seconds: float
    processor_seconds: float
    peak_bytes: int


def start(arguments: list[str], environment: dict[str, str]) -> Start:
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status != 0:
        raise SystemExit(f"{' '.join(arguments)} failed")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Start(seconds, usage.ru_utime + usage.ru_stime, peak)


def tensor_bytes(model: str) -> int:
    from qwill.weights.checkpoint import memory_needed
    from qwill.weights.hub.cache import resolve_model
    from qwill.weights.load import open_checkpoint

    return memory_needed(open_checkpoint(resolve_model(model)))


def main() -> None:
    models = sys.argv[1:] or ["demo"]
    commands = PYTHON | {model: ["-m", "qwill", "run", model, "-p", "Hello!", "-n", "1"] for model in models}
    starts: dict[str, list[Start]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
        for run in range(RUNS + 1):
            for name, arguments in commands.items():
                taken = start(arguments, environment)
                if run > 0:  # the first one compiles
                    starts[name].append(taken)
    for name, runs in starts.items():
        seconds, processor_seconds, peak = (statistics.median(values) for values in zip(*runs, strict=True))
        least = min(run.seconds for run in runs)
        beyond = f", {(peak - tensor_bytes(name)) / 1e6:.0f} beyond the tensors" if name in models else ""
        print(
            f"{Path(name).name if name in models else name:40} {seconds:.3f} s (least {least:.3f}), "
            f"{processor_seconds:.2f} s of processors, {peak / 1e6:.0f} MB{beyond}"
        )


if __name__ == "__main__":
    main()
