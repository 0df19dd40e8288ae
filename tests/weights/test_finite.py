"""Damaged values are found in every type; sound ones never are."""

import numpy as np
import pytest
import torch
from quant.codec_oracle import reference_decode

from qwill.errors import CheckpointError
from qwill.quant.codecs import native_id
from qwill.quant.types import TYPES, TensorType
from qwill.weights import finite
from qwill.weights.finite import check_finite
from qwill.weights.tensor import Tensor

PACKED = [kind for kind in TYPES.values() if kind.block_elements > 1]
FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn}


def tensor(kind: TensorType, parts: list[np.ndarray]) -> Tensor:
    columns = parts[0].nbytes // kind.block_bytes * kind.block_elements
    shape = (1, columns) if len(parts) == 1 else (len(parts), 1, columns)
    return Tensor("layers.0.x", shape, kind, tuple(parts), "file.gguf (x)")


@pytest.mark.parametrize("kind", PACKED, ids=lambda kind: kind.name)
def test_blocks_agree_with_the_package_that_decodes_them(kind: TensorType) -> None:
    """Random bytes hold NaN and infinity in about every 32nd scale; each block is judged as its decoded values say."""
    generator = np.random.default_rng(native_id(kind))
    blocks = generator.integers(0, 256, (600, kind.block_bytes), dtype=np.uint8)
    values = reference_decode(kind, blocks)
    damaged = ~np.isfinite(values).all(axis=1)
    # A decoder may turn an infinite scale into zeros only; such a block is damaged all the same.
    found = np.array([not is_sound(tensor(kind, [block])) for block in blocks])
    assert not (damaged & ~found).any()
    spurious = found & ~damaged
    assert (np.abs(values[spurious]) < np.inf).all()
    if kind.name.startswith("AFFINE") and not kind.name.endswith("F16"):  # refused before any code could overflow
        spurious &= np.abs(values).max(axis=1) < 2.0**118
    assert spurious.sum() <= 2
    assert damaged.any() or kind.name in ("NVFP4",)


def is_sound(candidate: Tensor) -> bool:
    try:
        check_finite(candidate)
    except CheckpointError:
        return False
    return True


@pytest.mark.parametrize("name", FLOATS)
def test_floats_agree_with_torch(name: str) -> None:
    generator = np.random.default_rng(7)
    kind = TYPES[name]
    for _ in range(300):
        data = generator.integers(0, 256, 8 * kind.block_bytes, dtype=np.uint8)
        if generator.random() < 0.5:  # make the exponent of one value full
            data[-kind.block_bytes :] = 0xFF
        values = torch.from_numpy(data.copy()).view(FLOATS[name]).float()
        assert is_sound(tensor(kind, [data])) == bool(torch.isfinite(values).all())


def test_the_tensor_and_expert_are_named() -> None:
    parts = [np.zeros(64, np.uint8) for _ in range(3)]
    parts[1][-2:] = 0xFF
    with pytest.raises(CheckpointError, match=r"file\.gguf \(x\): layers\.0\.x \(expert 1\) holds NaN"):
        check_finite(tensor(TYPES["BF16"], parts))


def test_long_tensors_are_read_to_the_end_and_samples_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finite, "CHUNK_BYTES", 100)
    for name in ("F32", "Q8_0", "Q6_K"):
        kind = TYPES[name]
        data = np.zeros(kind.block_bytes * 9, np.uint8)
        data[-2:] = 0xFF
        if name == "Q8_0":
            data[-kind.block_bytes : -kind.block_bytes + 2] = 0xFF
        monkeypatch.setattr(finite, "CHUNK_BYTES", 2 * kind.block_bytes + 1)
        check_finite(tensor(kind, [data]), sample=True)
        with pytest.raises(CheckpointError):
            check_finite(tensor(kind, [data]))
