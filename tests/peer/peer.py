"""llama.cpp's converter, quantizer and engine as functions, each run in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np

HERE = Path(__file__).parent


def tree() -> Path:
    """llama.cpp's source tree."""
    return Path(os.environ["QWILL_LLAMA_CPP"])


def program(name: str) -> Path:
    return Path(os.environ["QWILL_LLAMA_BIN"]) / name


def run(*command: str | Path) -> str:
    """Standard output of a program; its last words are the message when it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[:2]} gave {done.returncode}: {(done.stdout + done.stderr)[-3000:]}"
    return done.stdout


def convert(jobs: list[list[str]], scratch: Path) -> None:
    """Runs convert_hf_to_gguf.py with each list of arguments."""
    file = scratch / "jobs.json"
    file.write_text(json.dumps(jobs))
    run(sys.executable, HERE / "llama_convert.py", tree(), file)


def quantize(source: Path, out: Path, kind: str, *options: str | Path) -> Path:
    """A GGUF in another type, by llama-quantize."""
    run(program("llama-quantize"), *options, source, out, kind, "2")
    return out


def logits(model: Path, token_ids: np.ndarray) -> np.ndarray:
    """llama.cpp's logits [tokens, vocab] f32 at every token, with keys and values cached in f32."""
    return run_llama(model, ["logits"], tokens=token_ids)["logits"]


def run_llama(model: Path, results: list[str], threads: int = 2, **inputs: np.ndarray | str) -> dict[str, np.ndarray]:
    """`results` as computed by `llama_run.py`; inputs are arrays, or names of files."""
    job: dict[str, Any] = {"model": str(model), "threads": threads}
    for name, value in inputs.items():
        if isinstance(value, np.ndarray):
            np.save(model.with_suffix(f".{name}.npy"), value)
            value = str(model.with_suffix(f".{name}.npy"))
        job[name] = value
    outputs = {name: model.with_suffix(f".{name}.npy") for name in results}
    file = model.with_suffix(".job.json")
    file.write_text(json.dumps(job | {name: str(path) for name, path in outputs.items()}))
    run(sys.executable, HERE / "llama_run.py", file)
    return {name: np.load(path) for name, path in outputs.items()}


def write_imatrix(path: Path, model: Path, rng: np.random.Generator) -> Path:
    """A made-up importance of every column of every matrix, which the types below 3 bits cannot be made without."""
    writer = gguf.GGUFWriter(path, "")
    writer.add_string("general.type", "imatrix")
    writer.add_array("imatrix.datasets", ["made up"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 512)
    for tensor in gguf.GGUFReader(model).tensors:
        columns, *rows = (int(size) for size in tensor.shape)
        if rows:
            experts = rows[1:] or [1]
            writer.add_tensor(f"{tensor.name}.in_sum2", rng.uniform(0.5, 2, (*experts, columns)).astype(np.float32))
            writer.add_tensor(f"{tensor.name}.counts", np.ones((*experts, 1), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
