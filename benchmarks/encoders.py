"""Errors and speed of the encoders, as ratios to llama.cpp's quantizer where it is at hand.

Run with `QWILL_LLAMA_BIN=... python benchmarks/encoders.py [--types Q4_K ...] [--rows 256]`. Without that folder, in
which libggml-base.so lies, errors are relative to the values' mean square. Errors are given for encoding without and
with importance: the mean square, and the one weighted by importance. Below 1 is better than llama.cpp. Speeds are those
of one thread, by the processor time it took, in millions of weights a second; a weight of a BF16 source counts as two
bytes.
"""

import argparse
import ctypes
import os
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import gguf
import numpy as np

from qwill.quant.codecs import can_encode, decode, encode, encode_fp8
from qwill.quant.types import TYPES, TensorType

COLUMNS = 2048
NEED_IMPORTANCE = ("IQ1_S", "IQ2_XXS", "IQ2_XS")  # llama.cpp makes these with importance only
Encoder = Callable[[TensorType, np.ndarray, np.ndarray | None], np.ndarray]


def llama_encoder() -> Encoder | None:
    """ggml_quantize_chunk of the library beside llama.cpp's programs."""
    folder = os.environ.get("QWILL_LLAMA_BIN")
    if folder is None:
        return None
    library = ctypes.CDLL(str(Path(folder) / "libggml-base.so"))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t

    def quantize(tensor_type: TensorType, values: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
        rows, columns = values.shape
        out = np.zeros((rows, tensor_type.row_bytes(columns)), np.uint8)
        pointers = [None if a is None else ctypes.c_void_p(a.ctypes.data) for a in (values, out, importance)]
        sizes = [ctypes.c_int64(n) for n in (0, rows, columns)]
        library.ggml_quantize_init(tensor_type.gguf_id)
        library.ggml_quantize_chunk(tensor_type.gguf_id, *pointers[:2], *sizes, pointers[2])
        return out

    return quantize


def demo_matrix(rows: int) -> np.ndarray:
    """Rows of the demonstration model's matrices, from all of them."""
    groups: dict[int, list[np.ndarray]] = {}
    with resources.as_file(resources.files("qwill.demo") / "demo.gguf") as path:
        for tensor in gguf.GGUFReader(path).tensors:
            columns, *others = (int(size) for size in tensor.shape)
            if others and columns % 256 == 0:
                tensor_type = TYPES[tensor.tensor_type.name]
                values = decode(tensor_type, np.array(tensor.data), (int(np.prod(others)), columns))
                groups.setdefault(columns, []).append(values)
    most = max(groups.values(), key=len)
    each = -(-rows // len(most))
    return np.concatenate([matrix[:: max(1, len(matrix) // each)][:each] for matrix in most])


def inputs(rows: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, values and importance."""
    rng = np.random.default_rng(0)
    for name, values, spread in (
        ("normal", rng.standard_normal((rows, COLUMNS)), 1.0),
        ("heavy tails", rng.standard_t(3, (rows, COLUMNS)), 1.5),
        ("demonstration", demo_matrix(rows), 1.0),
    ):
        scaled = (values * (0.02 if name != "demonstration" else 1)).astype(np.float32)
        yield name, scaled, rng.lognormal(0, spread, scaled.shape[1]).astype(np.float32)


def timed(
    encoder: Encoder, tensor_type: TensorType, values: np.ndarray, importance: np.ndarray | None
) -> tuple[np.ndarray, float]:
    """Stored rows, and weights a second: the best of three runs."""
    best, stored = float("inf"), np.empty(0, np.uint8)
    for _ in range(3):
        start = time.thread_time()
        stored = encoder(tensor_type, values, importance)
        best = min(best, time.thread_time() - start)
    return stored, values.size / best


def errors(tensor_type: TensorType, stored: np.ndarray, values: np.ndarray, importance: np.ndarray) -> np.ndarray:
    squares = (decode(tensor_type, stored, values.shape).astype(np.float64) - values) ** 2
    return np.array([squares.mean(), (squares * importance).mean() / importance.mean()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    encoded = [name for name, t in TYPES.items() if can_encode(t)]
    parser.add_argument("--types", nargs="+", choices=encoded, default=[n for n in encoded if n != "F32"])
    parser.add_argument("--rows", type=int, default=128, help="of each input")
    args = parser.parse_args()
    llama = llama_encoder()
    columns = ["type", "values", "mse", "weighted", "mse, imp.", "weighted, imp.", "M weights/s", "llama.cpp's"]
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for name in args.types:
        for kind, values, importance in inputs(args.rows):
            tensor_type, ratios, speeds = TYPES[name], [], []
            for given in (None, importance):
                stored, speed = timed(encode, tensor_type, values, given)
                ours = errors(tensor_type, stored, values, importance)
                if given is None and llama and name in NEED_IMPORTANCE:
                    ratios += [np.full(2, np.nan)]
                    continue
                if llama:
                    stored, their_speed = timed(llama, tensor_type, values, given)
                    theirs = errors(tensor_type, stored, values, importance)
                else:
                    theirs, their_speed = (
                        np.array([(values**2).mean(), (values**2 * importance).mean() / importance.mean()]),
                        0,
                    )
                ratios += [np.divide(ours, theirs, out=np.ones(2), where=theirs > 0)]
                speeds = [speed, their_speed]
            cells = [f"{r:.4f}" for r in np.concatenate(ratios)] + [f"{s / 1e6:.1f}" for s in speeds]
            print(f"| {name} | {kind} | " + " | ".join(cells) + " |", flush=True)
    values = next(inputs(1024))[1]
    start = time.thread_time()
    encode_fp8(values)
    print(f"\nF8_E4M3 with scales: {values.size / (time.thread_time() - start) / 1e6:.1f} M weights/s")


if __name__ == "__main__":
    main()
