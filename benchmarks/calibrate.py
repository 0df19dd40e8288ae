"""What the kernels cost, for src/qwill/fit/kernels.toml: prints the section of an instruction set.

Run with `python benchmarks/calibrate.py [--isa avx2] [--types Q8_0,Q4_K]`. Times are the processor's own, of one thread
and the least of many runs, so that other programs disturb them little. Each is told as a number of operations at the
rate that `qwill.fit.integer_rate` measures: that rate is the one thing that `qwill fit` measures anew on a machine.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from mixers import DELTA_DIM, DELTA_HEADS, HEAD_DIM, HEADS, KERNEL, KV_HEADS, PAGE, ROTARY
from operations import random_weight
from qwill._native import Cpu, Weight, available_isas

from qwill.fit.kernels import ROWS
from qwill.ops.attention.native import attention
from qwill.ops.gated_delta.native import gated_delta
from qwill.ops.linear import native
from qwill.ops.moe.native import moe_add
from qwill.quant.types import TYPES
from qwill.weights.random_blocks import random_blocks
from qwill.weights.tensor import Tensor

ROWS_OF_WEIGHT, COLUMNS = 2048, 2048
EXPERTS, TOP_K, EXPERT_TOKENS = 256, 8, 512
DELTA_TOKENS, ATTENTION_TOKENS, CONTEXT = 256, 256, 2048
UNDRAWN = ("IQ1_M",)  # whose random blocks are not finite
rng = np.random.default_rng(0)


def least(step: Callable[[], object], patience: float) -> float:
    """Least processor seconds of a step, repeated for `patience` seconds and at least three times."""
    step()
    best, runs, end = float("inf"), 0, time.perf_counter() + patience
    while runs < 3 or time.perf_counter() < end:
        start = time.process_time()
        step()
        best = min(best, time.process_time() - start)
        runs += 1
    return best


def rate(cpu: Cpu, patience: float) -> float:
    """Operations of int8 dot products a second."""
    rounds = 2_000_000 if cpu.isa.startswith("avx512") else 100_000
    return cpu.dots(rounds) / least(lambda: cpu.dots(rounds), patience)


def matrix_costs(cpu: Cpu, name: str, speed: float, patience: float) -> list[float]:
    """Operations for each weight's multiplication and addition, for each number of rows of ROWS together."""
    weight = random_weight(cpu, name, ROWS_OF_WEIGHT, COLUMNS)
    costs = []
    for rows in ROWS:
        x = rng.standard_normal((rows, COLUMNS), np.float32)
        seconds = least(lambda x=x: native.linear(cpu, x, weight), patience)
        costs.append(seconds * speed / (2 * ROWS_OF_WEIGHT * COLUMNS))
    return costs


def routed_cost(cpu: Cpu, speed: float, patience: float) -> float:
    """Operations for each value of a token that goes into an expert and comes back, as the 35B's does: what is left of
    the experts' time when they become narrower and narrower.
    """

    def experts(rows: int, columns: int) -> Weight:
        part = random_blocks(TYPES["Q8_0"], rows * columns, rng)
        return native.pack(cpu, Tensor("experts", (EXPERTS, rows, columns), TYPES["Q8_0"], (part,) * EXPERTS, ""))

    values = rng.standard_normal((EXPERTS, COLUMNS), np.float32)
    router = native.pack(cpu, Tensor("router", values.shape, TYPES["F32"], (values.reshape(-1).view(np.uint8),), ""))
    x, norm = rng.standard_normal((EXPERT_TOKENS, COLUMNS), np.float32), np.ones(COLUMNS, np.float32)
    seconds = []
    for width in (32, 64):
        own = (experts(width, COLUMNS), experts(width, COLUMNS), experts(COLUMNS, width))
        seconds.append(least(lambda own=own: moe_add(cpu, x.copy(), norm, 1e-6, router, TOP_K, *own), patience))
    rest = 2 * seconds[0] - seconds[1] - least(lambda: native.linear(cpu, x, router), patience)
    return rest * speed / (EXPERT_TOKENS * TOP_K * COLUMNS)


def delta_cost(cpu: Cpu, speed: float, patience: float) -> float:
    """Operations for each element of a state and token of a prompt."""
    channels, width, tokens = 3 * DELTA_HEADS * DELTA_DIM, DELTA_HEADS * DELTA_DIM, DELTA_TOKENS
    inputs = [rng.standard_normal((tokens, n), np.float32) for n in (channels, width, DELTA_HEADS, DELTA_HEADS)]
    A = -np.exp(rng.standard_normal(DELTA_HEADS, np.float32))
    others = [rng.standard_normal(n, np.float32) for n in (DELTA_HEADS, DELTA_DIM)]
    conv = rng.standard_normal((KERNEL, channels), np.float32)
    states = np.zeros((1, DELTA_HEADS, DELTA_DIM, DELTA_DIM), np.float32)
    conv_states = np.zeros((1, KERNEL - 1, channels), np.float32)
    pending = np.zeros((1, 0, channels + 2 * DELTA_HEADS), np.float32)
    zero, kept = np.zeros(1, np.int32), np.array([tokens], np.int32)
    seconds = least(
        lambda: gated_delta(
            cpu, *inputs, conv, A, *others, 1e-6, conv_states, states, pending,
            np.array([0, tokens], np.int32), zero, zero, kept, DELTA_HEADS, False,
        ),
        patience,
    )  # fmt: skip
    return seconds * speed / (tokens * states.size)


def attention_cost(cpu: Cpu, tokens: int, speed: float, patience: float) -> float:
    """Operations for each multiplication and addition of keys or values, kept in f16, of `tokens` queries."""
    pages = -(-(CONTEXT + tokens) // PAGE)
    keys, values = (rng.standard_normal((pages, KV_HEADS, PAGE, HEAD_DIM), np.float32).astype(np.float16) for _ in "kv")
    inputs = [rng.standard_normal((tokens, n * HEAD_DIM), np.float32) for n in (2 * HEADS, KV_HEADS, KV_HEADS)]
    norms = [rng.standard_normal(HEAD_DIM, np.float32) for _ in "qk"]
    angles = rng.standard_normal((tokens, ROTARY // 2), np.float32)
    tables = rng.permutation(pages).astype(np.int32)[None]
    starts, contexts = np.array([0, tokens], np.int32), np.array([CONTEXT], np.int32)
    seconds = least(
        lambda: attention(
            cpu, *inputs, *norms, 1e-6, np.cos(angles), np.sin(angles), keys, values, tables, starts, contexts, HEADS
        ),
        patience,
    )
    return seconds * speed / (4 * HEADS * HEAD_DIM * tokens * (CONTEXT + (tokens + 1) / 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", default=available_isas()[-1], help=f"one of {', '.join(available_isas())}")
    parser.add_argument("--types", default=",".join(name for name in TYPES if name not in UNDRAWN))
    parser.add_argument("--patience", type=float, default=0.3, help="seconds for each measurement")
    options = parser.parse_args()
    cpu, patience = Cpu(options.isa, 1), options.patience
    speed = rate(cpu, 1)
    print(f"[{cpu.isa}]  # a core: {speed / 1e9:.0f} Gop/s")
    print(f"delta = {delta_cost(cpu, speed, patience):.1f}")
    one, many = (attention_cost(cpu, tokens, speed, patience) for tokens in (1, ATTENTION_TOKENS))
    print(f"attention = {{ one = {one:.1f}, many = {many:.1f} }}")
    print(f"routed = {routed_cost(cpu, speed, patience):.0f}")
    print(f"[{cpu.isa}.matrix]", flush=True)
    for name in options.types.split(","):
        costs = ", ".join(f"{cost:.1f}" for cost in matrix_costs(cpu, name, speed, patience))
        print(f"{name} = [{costs}]", flush=True)


if __name__ == "__main__":
    main()
