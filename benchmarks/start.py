"""How long a start takes: `import qwill`, and a command up to its first token on the embedded model.

Prints medians in seconds, beside the bare interpreter's start in the same run.
"""

import statistics
import subprocess
import sys
import time

RUNS = 9
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import qwill": [sys.executable, "-c", "import qwill"],
    "from qwill import LLM": [sys.executable, "-c", "from qwill import LLM"],
    "qwill run, first token": [sys.executable, "-m", "qwill", "run", "-p", "Hello!", "-n", "1"],
}


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    for name, values in times.items():
        print(f"{name:24} {statistics.median(values):.3f} s   (least {min(values):.3f})")


if __name__ == "__main__":
    main()
