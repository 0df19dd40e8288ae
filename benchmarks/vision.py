"""Measures the vision tower against the machine's rate of BF16 products.

    python benchmarks/vision.py [--members Qwen3.5-0.8B Qwen3.5-35B-A3B] [--side 1344] [--threads 2]

A picture of `--side` pixels goes through the tower of a member, with random weights in BF16. Its operations (products
of the projections and of the attention, two each) over its time are compared with a large BF16 matrix product by
PyTorch (oneDNN) on as many threads in the same run. Medians of the repetitions,
the two in turn.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from qwill.fit.family import family_config
from qwill.model.config import VisionConfig, model_config
from qwill.model.loader import Loader
from qwill.model.vision import VisionTower
from qwill.ops import native_operations
from qwill.quant.types import TYPES
from qwill.weights.random_blocks import random_blocks
from qwill.weights.tensor import Tensor, TensorSet

PRODUCT_SIZE = 2048


class RandomTensors(TensorSet):
    """Any tensor that is asked for: matrices in BF16, vectors in F32."""

    def __init__(self) -> None:
        super().__init__({}, "random")
        self._rng = np.random.default_rng(0)

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        kind = TYPES["BF16" if len(shape) == 2 else "F32"]
        return Tensor(name, shape, kind, (random_blocks(kind, int(np.prod(shape)), self._rng),), "random")


def operations(config: VisionConfig, patches: int) -> int:
    """Of the products for one picture, counted as two for a multiplication and an addition."""
    hidden, merged = config.hidden_size, config.hidden_size * config.merge_size**2
    block = 4 * hidden * hidden + 2 * hidden * config.intermediate_size
    tokens = patches // config.merge_size**2
    merger = tokens * merged * (merged + config.out_hidden_size)
    attention = config.depth * 2 * patches * patches * hidden
    return 2 * (patches * (config.patch_width * hidden + config.depth * block) + attention + merger)


def seconds(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", nargs="+", default=["Qwen3.5-0.8B", "Qwen3.5-35B-A3B"])
    parser.add_argument("--side", type=int, default=1344)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cpu = native_operations(arguments.threads)
    a, b = (torch.randn(PRODUCT_SIZE, PRODUCT_SIZE, dtype=torch.bfloat16) for _ in range(2))
    grid = arguments.side // 16
    print(
        "| member | layers | isa | seconds | GFLOP | GFLOP/s | of the matrix product's |\n|---|---|---|---|---|---|---|"
    )
    for member in arguments.members:
        config = model_config(family_config(member)).vision
        assert config is not None
        loader = Loader(RandomTensors(), cpu)
        tower = VisionTower(loader.scope("visual"), config)
        loader.pack()
        pixels = np.random.default_rng(1).standard_normal((grid * grid, config.patch_width), np.float32)
        work = operations(config, grid * grid)
        seconds(lambda: a @ b)  # prepares what PyTorch prepares
        times, rates = [], []
        for _ in range(arguments.repetitions):
            product = [seconds(lambda: a @ b) for _ in range(10)]
            rates.append(2 * PRODUCT_SIZE**3 / statistics.median(product))
            times.append(seconds(partial(tower.forward, pixels, (1, grid, grid))))
        rate = work / statistics.median(times)
        print(
            f"| {member} | {config.depth} | {cpu.name} | {statistics.median(times):.2f} | {work / 1e9:.0f} |"
            f" {rate / 1e9:.0f} | {rate / statistics.median(rates):.0%} of {statistics.median(rates) / 1e9:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
