"""Speed of the token mixers at the shapes of the 0.8B model: all its layers, one step after another.

Run with `python benchmarks/mixers.py [--isa avx512] [--threads 2] [--quick]`. Times are the least of several runs: the
machine is rarely idle. Bytes counted: states read once and written once; keys and values read once per step.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from qwill._native import Cpu, available_isas

from qwill.ops.attention.native import attention
from qwill.ops.gated_delta.native import gated_delta
from qwill.ops.norm.native import rms_norm
from qwill.ops.vision.native import vision_attention

DELTA_LAYERS, DELTA_HEADS, DELTA_DIM, KERNEL = 18, 16, 128, 4
ATTENTION_LAYERS, HEADS, KV_HEADS, HEAD_DIM, ROTARY, PAGE = 6, 8, 2, 256, 64, 64
VISION_HEADS, VISION_DIM = 12, 64
rng = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def seconds(step: Callable[[], object], runs: int) -> float:
    """The least time of one step; the first run, which touches fresh memory, does not count."""
    step()
    best = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        step()
        best = min(best, time.perf_counter() - start)
    return best


def report(name: str, tokens: int, time_taken: float, layers: int, moved: float, flops: float) -> None:
    rates = f"{moved / time_taken / 1e9:7.1f} GB/s {flops / time_taken / 1e9:7.1f} GFLOP/s"
    print(
        f"{name:42} {tokens / time_taken:9.0f} tokens/s {time_taken * 1e6 / layers:10.1f} us/layer {rates}", flush=True
    )


def delta(cpu: Cpu, tokens: int, runs: int) -> None:
    channels, width = 3 * DELTA_HEADS * DELTA_DIM, DELTA_HEADS * DELTA_DIM
    inputs = [normal(tokens, n) for n in (channels, width, DELTA_HEADS, DELTA_HEADS)]
    parameters = [normal(KERNEL, channels), -np.exp(normal(DELTA_HEADS)), normal(DELTA_HEADS), normal(DELTA_DIM)]
    conv_states = np.zeros((DELTA_LAYERS, 1, KERNEL - 1, channels), np.float32)
    states = np.zeros((DELTA_LAYERS, 1, DELTA_HEADS, DELTA_DIM, DELTA_DIM), np.float32)
    pending = np.zeros((1, 0, channels + 2 * DELTA_HEADS), np.float32)
    starts, slots, kept = np.array([0, tokens], np.int32), np.zeros(1, np.int32), np.array([tokens], np.int32)

    def step() -> None:
        for layer in range(DELTA_LAYERS):
            gated_delta(
                cpu, *inputs, *parameters, 1e-6, conv_states[layer], states[layer], pending,
                starts, slots, np.zeros(1, np.int32), kept, DELTA_HEADS, False,
            )  # fmt: skip

    time_taken = seconds(step, runs)
    flops = 8 * tokens * states.size  # decay and three products with the state, two operations each but the first
    report(f"gated_delta, {tokens} tokens", tokens, time_taken, DELTA_LAYERS, 2 * states.nbytes, flops)


def attend(cpu: Cpu, tokens: int, context: int, dtype: type, runs: int) -> None:
    pages = -(-(context + tokens) // PAGE)
    shape = (ATTENTION_LAYERS, pages, KV_HEADS, PAGE, HEAD_DIM)
    keys, values = (np.broadcast_to(normal(*shape[2:]).astype(dtype), shape).copy() for _ in range(2))
    inputs = [normal(tokens, n * HEAD_DIM) for n in (2 * HEADS, KV_HEADS, KV_HEADS)]
    norms, angles = (normal(HEAD_DIM), normal(HEAD_DIM)), normal(tokens, ROTARY // 2)
    cos, sin, tables = np.cos(angles), np.sin(angles), rng.permutation(pages).astype(np.int32)[None]
    starts, contexts = np.array([0, tokens], np.int32), np.array([context], np.int32)

    def step() -> None:
        for layer in range(ATTENTION_LAYERS):
            attention(cpu, *inputs, *norms, 1e-6, cos, sin, keys[layer], values[layer], tables, starts, contexts, HEADS)

    time_taken = seconds(step, runs)
    moved = 2 * keys.nbytes * (context + tokens) / (pages * PAGE)
    flops = 4 * HEADS * HEAD_DIM * ATTENTION_LAYERS * tokens * (context + (tokens + 1) / 2)
    name = f"attention {np.dtype(dtype).name}, {tokens} tokens after {context}"
    report(name, tokens, time_taken, ATTENTION_LAYERS, moved, flops)


def see(cpu: Cpu, patches: int, runs: int) -> None:
    qkv, angles = normal(patches, 3 * VISION_HEADS * VISION_DIM), normal(patches, VISION_DIM // 2)
    cos, sin, starts = np.cos(angles), np.sin(angles), np.array([0, patches], np.int32)
    time_taken = seconds(lambda: vision_attention(cpu, qkv, cos, sin, starts, VISION_HEADS), runs)
    flops = 4 * VISION_HEADS * VISION_DIM * patches**2
    report(f"vision_attention, {patches} patches", patches, time_taken, 1, 2 * qkv.nbytes, flops)


def overhead(cpu: Cpu) -> None:
    """Binding and Python around a kernel that has next to nothing to do."""
    x, weight, calls = normal(1, 16), normal(16), 20000
    start = time.perf_counter()
    for _ in range(calls):
        rms_norm(cpu, x, weight, 1e-6)
    print(f"rms_norm of 16 floats: {(time.perf_counter() - start) / calls * 1e6:.2f} us a call")
    tiny = [normal(1, n) for n in (3, 1, 1, 1)]
    parameters = [normal(1, 3), normal(1), normal(1), normal(1)]
    states = normal(1, 0, 3), normal(1, 1, 1, 1), np.zeros((1, 0, 5), np.float32)
    starts, none, kept = np.array([0, 1], np.int32), np.zeros(1, np.int32), np.ones(1, np.int32)
    start = time.perf_counter()
    for _ in range(calls):
        gated_delta(cpu, *tiny, *parameters, 1e-6, *states, starts, none, none, kept, 1, False)
    print(f"gated_delta of one head of one float: {(time.perf_counter() - start) / calls * 1e6:.2f} us a call")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--isa", default=available_isas()[-1], help="instruction set, the best by default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="short contexts only")
    arguments = parser.parse_args()
    cpu = Cpu(arguments.isa, arguments.threads)
    print(f"{cpu.isa}, {cpu.threads} threads")
    overhead(Cpu(arguments.isa, 1))
    for tokens, runs in ((1, 100), (4, 30), (64, 8), (512, 4)):
        delta(cpu, tokens, runs)
    for context in (0, 2048) if arguments.quick else (0, 8192, 32768):
        for dtype in (np.float32, np.float16):
            attend(cpu, 1, context, dtype, 20)
    for context in (0, 2048) if arguments.quick else (0, 8192):
        attend(cpu, 512, context, np.float16, 3)
    for patches in (256, 1024) if arguments.quick else (256, 1024, 4096, 16384):
        see(cpu, patches, 2)


if __name__ == "__main__":
    main()
