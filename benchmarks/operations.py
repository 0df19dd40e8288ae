"""Speed of the projections: decoding against the memory's bandwidth, prefill against the integer peak.

Run with `python benchmarks/operations.py [--isa avx512] [--threads 2] [--types Q8_0,Q4_K] [--tokens 64] [--quick]`.
Weights are random, of the 0.8B's shapes, together larger than the last cache. Times are the least of several runs, for
the machine is rarely idle; with one thread they are the processor's own time, which other programs disturb less.
Bandwidth counts the packed bytes; its measure is taken in the same run, by as many threads that search an array far
larger than the caches.
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from qwill._native import Cpu, Weight, available_isas

from qwill.ops.linear import native
from qwill.quant.types import TYPES
from qwill.weights.random_blocks import random_blocks
from qwill.weights.tensor import Tensor

SHAPES = ((6144, 1024), (1024, 3584), (248320, 1024))
WORKING_SET = 160e6  # bytes
TWO_HALVES = ("Q4_1", "Q5_1", "Q4_K", "Q5_K")
HALF_PLACES = {"Q2_K": (80, 82), "Q3_K": (108,), "Q6_K": (208,), **dict.fromkeys(TWO_HALVES, (0, 2))}
rng = np.random.default_rng(0)


def seconds(step: Callable[[], object], runs: int, threads: int) -> float:
    """The least time of one step; the first run, which touches fresh memory, does not count."""
    clock = time.process_time if threads == 1 else time.perf_counter
    step()
    best = float("inf")
    for _ in range(runs):
        start = clock()
        step()
        best = min(best, clock() - start)
    return best


def read_bandwidth(threads: int, runs: int) -> float:
    """Bytes per second that `threads` threads read."""
    pieces = np.array_split(np.ones(int(256e6) // 8), threads)
    with ThreadPoolExecutor(threads) as pool:
        return sum(piece.nbytes for piece in pieces) / seconds(lambda: list(pool.map(np.max, pieces)), runs, threads)


def random_weight(cpu: Cpu, name: str, rows: int, columns: int) -> Weight:
    tensor_type = TYPES[name]
    data = rng.integers(0, 256, rows * tensor_type.row_bytes(columns), dtype=np.uint8)
    blocks = data.reshape(-1, tensor_type.block_bytes)
    if tensor_type.block_elements == 1:
        blocks[:, -1] &= 0x3B  # exponents without infinities
    elif name.startswith("AFFINE") or name == "MXFP8":
        data = random_blocks(tensor_type, rows * columns, rng)
    elif name not in ("MXFP4", "NVFP4"):
        for place in HALF_PLACES.get(name, (0,)):
            blocks[:, place : place + 2] = np.array([0.01], np.float16).view(np.uint8)
    scales = (np.ones((-(-rows // 128), -(-columns // 128)), np.float32),) if name == "F8_E4M3" else None
    return native.pack(cpu, Tensor("benchmark", (rows, columns), tensor_type, (data,), "random", scales))


def measure(cpu: Cpu, name: str, rows: int, columns: int, tokens: int, bandwidth: float, runs: int) -> None:
    first = random_weight(cpu, name, rows, columns)
    size = first.nbytes or rows * TYPES[name].row_bytes(columns)
    weights = [first] + [random_weight(cpu, name, rows, columns) for _ in range(int(WORKING_SET / size))]

    def step(x: np.ndarray, used: list[Weight]) -> None:
        for weight in used:
            native.linear(cpu, x, weight)

    one, many = rng.standard_normal((1, columns), np.float32), rng.standard_normal((tokens, columns), np.float32)
    decode = seconds(lambda: step(one, weights), runs, cpu.threads)
    rate = size * len(weights) / decode
    prefill = seconds(lambda: step(many, weights[:1]), runs, cpu.threads)
    print(
        f"{name:8} {rows:6} x {columns:4}  1 token {decode / len(weights) * 1e6:8.0f} us"
        f" {rate / 1e9:6.1f} GB/s = {rate / bandwidth:4.2f} of read"
        f"   {tokens} tokens {2 * tokens * rows * columns / prefill / 1e9:7.0f} GOP/s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", default=available_isas()[-1], help=f"one of {', '.join(available_isas())}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--types", default="Q8_0,Q4_K,Q6_K,Q5_K,Q4_0,BF16,F32")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, without the vocabulary's matrix")
    options = parser.parse_args()
    cpu, runs = Cpu(options.isa, options.threads), 3 if options.quick else 10
    bandwidth = read_bandwidth(cpu.threads, runs)
    print(f"{cpu.isa}, {cpu.threads} threads, read bandwidth {bandwidth / 1e9:.1f} GB/s")
    small, x = random_weight(cpu, "Q8_0", 16, 32), np.ones((1, 32), np.float32)
    thousand = seconds(lambda: [native.linear(cpu, x, small) for _ in range(1000)], runs, cpu.threads)
    print(f"a call: {thousand * 1e3:.2f} us")
    for name in options.types.split(","):
        for rows, columns in SHAPES[: 2 if options.quick else 3]:
            measure(cpu, name, rows, columns, options.tokens, bandwidth, runs)


if __name__ == "__main__":
    main()
