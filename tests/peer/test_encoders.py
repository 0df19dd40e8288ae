"""Encoders beside llama.cpp's quantizer: no larger errors, with and without importance."""

import ctypes

import numpy as np
import peer
import pytest

from qwill.quant.codecs import can_encode, decode, encode
from qwill.quant.types import TYPES, TensorType

pytestmark = pytest.mark.peer
SEARCHED = [n for n, t in TYPES.items() if can_encode(t) and n not in ("F32", "F16", "BF16")]
NEED_IMPORTANCE = ("IQ1_S", "IQ2_XXS", "IQ2_XS")  # llama.cpp refuses to make these without
COLUMNS = 1024


def llama_encode(tensor_type: TensorType, values: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    library = ctypes.CDLL(str(peer.program("libggml-base.so")))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    out = np.zeros((len(values), tensor_type.row_bytes(values.shape[1])), np.uint8)
    given = None if importance is None else ctypes.c_void_p(importance.ctypes.data)
    sizes = [ctypes.c_int64(n) for n in (0, *values.shape)]
    library.ggml_quantize_init(tensor_type.gguf_id)
    pointers = ctypes.c_void_p(values.ctypes.data), ctypes.c_void_p(out.ctypes.data)
    assert library.ggml_quantize_chunk(tensor_type.gguf_id, *pointers, *sizes, given) == out.nbytes
    return out


@pytest.mark.parametrize("tails", [False, True], ids=["normal", "heavy tails"])
@pytest.mark.parametrize("name", SEARCHED)
def test_errors_are_no_larger(name: str, tails: bool, rng: np.random.Generator) -> None:
    """Mean square error, and the one weighted by importance. The sums run over 65,536 weights."""
    tensor_type = TYPES[name]
    shape = (64, COLUMNS)
    values = ((rng.standard_t(4, shape) if tails else rng.standard_normal(shape)) * 0.02).astype(np.float32)
    importance = rng.lognormal(0, 1, COLUMNS).astype(np.float32)
    for given in (None, importance):
        if given is None and name in NEED_IMPORTANCE:
            continue
        ours, theirs = (
            (decode(tensor_type, encoder(tensor_type, values, given), shape).astype(np.float64) - values) ** 2
            for encoder in (encode, llama_encode)
        )
        assert ours.mean() <= theirs.mean()
        assert (ours * importance).mean() <= (theirs * importance).mean()
