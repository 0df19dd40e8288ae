"""GGUF adapters for tests, in the layout of llama.cpp's converter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from qwill.weights.hub.cache import resolve_model


def write_gguf_adapter(
    path: Path, architecture: str, pairs: dict[str, tuple[np.ndarray, np.ndarray]], alpha: float, **metadata: Any
) -> None:
    """pairs: of a tensor's name, its a [rank, columns] and b [rows, rank]; of the embeddings, which are a table,
    [rows, rank] and [columns, rank].
    """
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(metadata.pop("general_type", "adapter"))
    writer.add_string("adapter.type", metadata.pop("adapter_type", "lora"))
    writer.add_float32("adapter.lora.alpha", alpha)
    for key, value in metadata.items():
        writer.add_array(key.replace("__", "."), value)
    for name, (a, b) in pairs.items():
        writer.add_tensor(f"{name}.lora_a", np.ascontiguousarray(a, np.float32))
        writer.add_tensor(f"{name}.lora_b", np.ascontiguousarray(b, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def adapter_of_demo(
    path: Path, seed: int, wanted: Callable[[str], bool] = lambda name: name.startswith("blk."), strength: float = 1.5
) -> Path:
    """A random adapter of the embedded model: of the matrices whose names are wanted."""
    rng = np.random.default_rng(seed)
    reader = gguf.GGUFReader(resolve_model("demo"))
    architecture = str(reader.fields["general.architecture"].contents())
    head = f"blk.{int(reader.fields[f'{architecture}.block_count'].contents()) - 1}."
    rank = int(rng.integers(1, 20))
    pairs = {}
    for tensor in reader.tensors:
        if len(tensor.shape) != 2 or "conv1d" in tensor.name or not wanted(tensor.name) or tensor.name.startswith(head):
            continue
        columns, rows = (int(size) for size in tensor.shape)
        a = rng.normal(0, columns**-0.5, (rank, columns))
        b = rng.normal(0, strength * rank**-0.5, (rows, rank))
        pairs[tensor.name] = (b, a.T) if tensor.name == "token_embd.weight" else (a, b)
    write_gguf_adapter(path, architecture, pairs, float(rank))
    return path
