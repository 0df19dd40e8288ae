"""Measures what adapters cost: answers of a batch with several of them against the same answers without.

    python benchmarks/lora.py [--member Qwen3.5-0.8B] [--quant Q4_0] [--rank 16] [--adapters 3] [--batch 16]

The member has random weights, the adapters random matrices for all linear modules of the layers, in float32. What they
cannot take less than is the reading of their matrices, which is told too. Medians of steps, with and without in turn.
"""

import argparse
import json
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from qwill import LLM, SamplingParams
from qwill.fit.bandwidth import read_bandwidth
from qwill.fit.family import family_config
from qwill.weights.random import random_checkpoint
from qwill.weights.shapes import text_shapes

STEPS = 8


def write_adapter(folder: Path, text: dict[str, Any], rank: int, rng: np.random.Generator) -> int:
    """A peft folder; returns the bytes of its matrices."""
    state = {}
    for shape in text_shapes(text):
        if len(shape.shape) == 2 and shape.name.startswith("layers.") and "conv1d" not in shape.name:
            stem = f"base_model.model.model.language_model.{shape.name.removesuffix('.weight')}"
            rows, columns = shape.shape
            state[f"{stem}.lora_A.weight"] = rng.normal(0, columns**-0.5, (rank, columns)).astype(np.float32)
            state[f"{stem}.lora_B.weight"] = rng.normal(0, 0.01, (rows, rank)).astype(np.float32)
    folder.mkdir()
    save_file(state, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": rank}))
    return sum(array.nbytes for array in state.values())


def step_seconds(llm: LLM, names: list[str | None], batch: int) -> float:
    """Of a step that writes a token of each answer, which take the adapters in turn."""
    params = SamplingParams(temperature=0, max_tokens=STEPS + 2, ignore_eos=True)
    answers = [llm.answer([number], params, lora=names[number % len(names)]) for number in range(batch)]
    with closing(llm.steps(answers)) as steps:
        next(steps)
        started = time.perf_counter()
        for _ in range(STEPS):
            next(steps)
        return (time.perf_counter() - started) / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--member", default="Qwen3.5-0.8B")
    parser.add_argument("--quant", default="Q4_0")
    for name, default in (("rank", 16), ("adapters", 3), ("batch", 16), ("threads", 2), ("repeat", 9)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    config, rng = family_config(arguments.member), np.random.default_rng()
    checkpoint = random_checkpoint(arguments.member, config, arguments.quant)
    with tempfile.TemporaryDirectory() as folder:
        paths = {f"a{number}": Path(folder) / str(number) for number in range(arguments.adapters)}
        sizes = [write_adapter(path, checkpoint.config["text_config"], arguments.rank, rng) for path in paths.values()]
        llm = LLM(
            checkpoint, lora=paths, max_context=256, cache_tokens=256 * arguments.batch,
            max_sequences=arguments.batch, prefix_cache=False, threads=arguments.threads,
        )  # fmt: skip
        step_seconds(llm, [None], arguments.batch)
        pairs = [
            (step_seconds(llm, [None], arguments.batch), step_seconds(llm, list(paths), arguments.batch))
            for _ in range(arguments.repeat)
        ]
    plain, adapted = (statistics.median(times) for times in zip(*pairs, strict=True))
    reading = sum(sizes) / read_bandwidth(arguments.threads)
    print(f"a step without adapters {1e3 * plain:.1f} ms, with {len(paths)} {1e3 * adapted:.1f} ms")
    least = plain / (plain + reading)
    print(f"speed {plain / adapted:.3f} of the model's; {least:.3f} if only {sum(sizes) / 1e6:.0f} MB had to be read")


main()
