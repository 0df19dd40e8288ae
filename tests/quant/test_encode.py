"""Encoders: as near to the values as the format allows, the same bytes everywhere, and nothing that breaks them."""

import secrets

import gguf
import numpy as np
import pytest
import torch
from codec_oracle import reference_decode
from qwill._native import available_isas

from qwill.errors import InvalidArgument
from qwill.quant.codecs import can_encode, decode, encode, encode_fp8, is_finite
from qwill.quant.types import TYPES, TensorType

ENCODED = {name: t for name, t in TYPES.items() if can_encode(t)}
QUANTIZED = {name: t for name, t in ENCODED.items() if name not in ("F32", "F16", "BF16")}
every_type = pytest.mark.parametrize("tensor_type", ENCODED.values(), ids=ENCODED.keys())
quantized = pytest.mark.parametrize("tensor_type", QUANTIZED.values(), ids=QUANTIZED.keys())

# Signs may be wrong: these store seven of eight and the last one follows, or have only some of them in their codebook.
ODD_SIGNS = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ3_XXS")
# Bits of a quant, for the formats of evenly spaced levels: the group (elements that share a scale) and whether it has a
# minimum of its own.
EVEN = {
    "Q4_0": (4, 32, False), "Q4_1": (4, 32, True), "Q5_0": (5, 32, False), "Q5_1": (5, 32, True),
    "Q2_K": (2, 16, True), "Q3_K": (3, 16, False), "Q4_K": (4, 32, True), "Q5_K": (5, 32, True),
    "Q6_K": (6, 16, False), "Q8_0": (8, 32, False),
}  # fmt: skip


@pytest.fixture
def rng() -> np.random.Generator:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    return np.random.default_rng(seed)


def weights(rng: np.random.Generator, rows: int, columns: int, scale: float = 0.02) -> np.ndarray:
    return (rng.standard_normal((rows, columns)) * scale).astype(np.float32)


def decoded(tensor_type: TensorType, stored: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return decode(tensor_type, stored, shape).astype(np.float64)


def error(tensor_type: TensorType, values: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    """Squared errors [rows, columns] of encoding."""
    return (decoded(tensor_type, encode(tensor_type, values, importance), values.shape) - values) ** 2


@every_type
def test_shape_and_independent_decoder(tensor_type: TensorType, rng: np.random.Generator) -> None:
    """The bytes mean the same to another decoder: the fields lie where the format has them."""
    values = weights(rng, 19, 512)
    stored = encode(tensor_type, values)
    assert stored.shape == (19, tensor_type.row_bytes(512))
    assert stored.dtype == np.uint8
    theirs = reference_decode(tensor_type, stored).reshape(values.shape)
    correlation = np.corrcoef(theirs.ravel(), values.ravel())[0, 1]
    assert correlation > (
        0.999 if tensor_type.bits_per_weight > 5.4 else 0.9 if tensor_type.bits_per_weight > 2 else 0.85
    )


@pytest.mark.parametrize("name", EVEN)
def test_no_worse_than_rounding(name: str, rng: np.random.Generator) -> None:
    """A scale and minimum found by searching beat those that just hold the extremes, though stored in few bits."""
    bits, group, affine = EVEN[name]
    values = weights(rng, 48, 1024)
    groups = values.reshape(-1, group).astype(np.float64)
    if affine:
        low, top = groups.min(axis=1, keepdims=True), groups.max(axis=1, keepdims=True)
        scale = (top - low) / (2**bits - 1)
    else:
        low = 0.0
        scale = np.abs(groups).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
    rounded = low + np.round((groups - low) / scale) * scale
    allowed = 1.01 if name == "Q8_0" else 1.0  # that one does not search; a half as its scale costs 2^-11 of 254 steps
    assert error(TYPES[name], values).mean() < allowed * ((rounded - groups) ** 2).mean()


@pytest.mark.parametrize("name", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "MXFP4"])
def test_no_worse_than_gguf(name: str, rng: np.random.Generator) -> None:
    """The `gguf` package encodes these too, to the same bytes where there is nothing to choose."""
    values = weights(rng, 33, 512)
    stored = gguf.quants.quantize(values, gguf.GGMLQuantizationType[name])
    if name in ("F16", "BF16", "Q8_0"):
        np.testing.assert_array_equal(encode(TYPES[name], values), stored.view(np.uint8))
        return
    theirs = (decoded(TYPES[name], stored, values.shape) - values) ** 2
    assert error(TYPES[name], values).sum() <= theirs.sum()


@pytest.mark.parametrize("name", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "MXFP4"])
def test_values_that_the_format_holds(name: str, rng: np.random.Generator) -> None:
    """Blocks with a full range of quants come back exactly, to within the rounding of a scale to a half."""
    tensor_type = TYPES[name]
    stored = rng.integers(0, 256, (37, 4 * tensor_type.block_bytes), dtype=np.uint8)
    blocks = stored.reshape(-1, tensor_type.block_bytes)
    if name in ("F32", "F16", "BF16"):
        values = weights(rng, 37, 64)
        stored = encode(tensor_type, values)
        np.testing.assert_array_equal(encode(tensor_type, decode(tensor_type, stored, values.shape)), stored)
        return
    halves = rng.uniform(0.001, 0.1, (blocks.shape[0], 2)).astype(np.float16).view(np.uint8)
    if name == "MXFP4":
        blocks[:, 0] = rng.integers(100, 140, blocks.shape[0])
        blocks[:, 1] |= 0x07  # the largest number: no smaller scale holds the block too
    else:
        scales = 4 if name in ("Q4_1", "Q5_1") else 2
        blocks[:, :scales] = halves[:, :scales]
        extremes = {"Q8_0": [0x80 + 1, 0x7F], "Q4_0": [0x00], "Q4_1": [0xF0], "IQ4_NL": [0x00]}.get(name, [])
        first = tensor_type.block_bytes - tensor_type.block_elements * (8 if name == "Q8_0" else 4) // 8
        if name in ("Q5_0", "Q5_1"):
            blocks[:, first - 4 : first] = 0
            blocks[:, first - 4] = 0x02
            extremes = [0x00, 0x0F]
        if name == "Q8_0":
            blocks[blocks == 0x80] = 0x81
            blocks[:, :2] = halves[:, :2]
        blocks[:, first : first + len(extremes)] = extremes
    values = decode(tensor_type, stored, (37, 4 * tensor_type.block_elements))
    back = decode(tensor_type, encode(tensor_type, values), values.shape)
    np.testing.assert_array_equal(back, values)


@quantized
def test_encoding_again_changes_little(tensor_type: TensorType, rng: np.random.Generator) -> None:
    """What is stored already lies on the format's grid: encoding it again costs little beside the first time."""
    values = weights(rng, 32, 512)
    first_error = error(tensor_type, values).mean()
    stored = decode(tensor_type, encode(tensor_type, values), values.shape)
    assert error(tensor_type, stored).mean() < 0.02 * first_error


@every_type
@pytest.mark.parametrize("isa", available_isas())
def test_bytes_depend_on_nothing_else(tensor_type: TensorType, isa: str, rng: np.random.Generator) -> None:
    """Equal for every instruction set, number of threads, and place of a row among others."""
    values = weights(rng, 21, 768) * rng.lognormal(0, 3, (21, 1)).astype(np.float32)
    importance = rng.lognormal(0, 1, 768).astype(np.float32)
    expected = encode(tensor_type, values, importance)
    np.testing.assert_array_equal(encode(tensor_type, values, importance, threads=3, isa=isa), expected)
    np.testing.assert_array_equal(encode(tensor_type, values[5:6], importance, isa=isa), expected[5:6])


@quantized
def test_importance(tensor_type: TensorType, rng: np.random.Generator) -> None:
    """Important columns come out nearer; only proportions count; importance that is the same everywhere is none."""
    values = weights(rng, 64, 512)
    importance = rng.lognormal(0, 1.5, 512).astype(np.float32)
    plain, weighted = error(tensor_type, values), error(tensor_type, values, importance)
    if tensor_type.name == "Q8_0":
        np.testing.assert_array_equal(weighted, plain)
        return
    assert (weighted * importance).sum() < (plain * importance).sum()
    assert weighted.sum() > plain.sum()
    even = encode(tensor_type, values, np.full(512, 7.0, np.float32))
    np.testing.assert_array_equal(even, encode(tensor_type, values))
    np.testing.assert_array_equal(encode(tensor_type, values, 8 * importance), encode(tensor_type, values, importance))
    np.testing.assert_array_equal(encode(tensor_type, values, 0 * importance), encode(tensor_type, values))


@every_type
def test_zeros(tensor_type: TensorType) -> None:
    assert not decode(tensor_type, encode(tensor_type, np.zeros((17, 512), np.float32)), (17, 512)).any()


@every_type
@pytest.mark.parametrize("size", [1e-45, 1e-38, 1e-20, 1e-9, 1e-7, 1.0, 1e4, 1e6, 1e12, 3e38])
def test_any_size(tensor_type: TensorType, size: float, rng: np.random.Generator) -> None:
    """Whatever the size: finite values come back, of the right sign, and none far beyond what was given."""
    with np.errstate(under="ignore"):
        values = (rng.uniform(-1, 1, (18, 512)) * size).astype(np.float32)
    back = decode(tensor_type, encode(tensor_type, values), values.shape).astype(np.float64)
    assert np.isfinite(back).all()
    largest = float(np.abs(values).max())
    assert np.abs(back).max() <= 1.5 * max(largest, 2.0**-17)
    large = np.abs(values) > 0.6 * largest
    if size > 1e-6 and tensor_type.name not in ODD_SIGNS:  # halves are 2^-24 apart
        assert (back[large] * np.sign(values[large]) >= 0).all()
    if 1e-4 < size < 1e5:
        assert (back[large] != 0).all()


@quantized
def test_a_huge_value_among_small_ones(tensor_type: TensorType, rng: np.random.Generator) -> None:
    """An outlier is held, to half a step between the format's largest levels; a block that has none does not notice."""
    values = weights(rng, 16, 1024)
    alone = encode(tensor_type, values)
    values[:, 700] = 5.0
    with_outlier = encode(tensor_type, values)
    back = decode(tensor_type, with_outlier, values.shape)
    allowed = {"IQ1": 2.5, "IQ2": 3.0, "IQ3": 1.0}.get(tensor_type.name[:3], 1.0 if "FP4" in tensor_type.name else 0.1)
    assert (np.abs(back[:, 700] - 5.0) <= allowed).all()
    before = 512 // tensor_type.block_elements * tensor_type.block_bytes
    np.testing.assert_array_equal(with_outlier[:, :before], alone[:, :before])


def test_groups_of_one_value() -> None:
    """Constant groups, of either sign, have no span to divide by."""
    values = np.repeat(np.array([[0.5, -0.25, 0.0, 3.0]], np.float32), 256, axis=1)
    for name, tensor_type in QUANTIZED.items():
        back = decode(tensor_type, encode(tensor_type, values), values.shape)
        # The scales of NVFP4 are what is coarse; else a half is rounded.
        allowed = 1 / 16 if name == "NVFP4" else 2.0**-11
        assert (np.abs(back - values) <= allowed * np.abs(values)).all(), name


@pytest.mark.parametrize(("name", "columns"), [("Q8_0", 33), ("Q4_K", 128), ("IQ4_XS", 300), ("NVFP4", 32)])
def test_columns_that_are_not_whole_blocks(name: str, columns: int) -> None:
    with pytest.raises(InvalidArgument, match=f"rows of {columns} elements are not whole blocks of .*{name}"):
        encode(TYPES[name], np.zeros((2, columns), np.float32))


def test_types_without_an_encoder() -> None:
    assert [t for t in TYPES.values() if not can_encode(t)] == [t for t in TYPES.values() if t.gguf_id is None]
    with pytest.raises(InvalidArgument, match="no encoder for F8_E4M3"):
        encode(TYPES["F8_E4M3"], np.zeros((1, 256), np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(bad: float, rng: np.random.Generator) -> None:
    values = weights(rng, 5, 4096)
    assert is_finite(values)
    values[rng.integers(5), rng.integers(4096)] = bad
    assert not is_finite(values)
    with pytest.raises(AssertionError, match="finite"):
        encode(TYPES["Q4_K"], values)
    with pytest.raises(AssertionError, match="finite"):
        encode(TYPES["Q4_K"], np.zeros((1, 256), np.float32), np.full(256, bad, np.float32))


def test_no_rows() -> None:
    assert encode(TYPES["Q4_K"], np.zeros((0, 512), np.float32)).shape == (0, 288)
    assert is_finite(np.zeros((0, 512), np.float32))


@pytest.mark.parametrize("shape", [(1, 1), (128, 128), (130, 300), (5, 129)])
def test_fp8(shape: tuple[int, int], rng: np.random.Generator) -> None:
    """The largest number of a block is 448; the others are what torch rounds to."""
    values = weights(rng, *shape)
    numbers, scales = encode_fp8(values, threads=2)
    down, across = -(-shape[0] // 128), -(-shape[1] // 128)
    assert scales.shape == (down, across)
    spread = np.repeat(np.repeat(scales, 128, axis=0), 128, axis=1)[: shape[0], : shape[1]]
    for row in range(down):
        for column in range(across):
            block = values[128 * row : 128 * row + 128, 128 * column : 128 * column + 128]
            np.testing.assert_allclose(scales[row, column], np.abs(block).max() / 448, rtol=1e-6)
    inverse = np.float32(1) / spread
    expected = torch.from_numpy(np.clip(values * inverse, -448, 448)).to(torch.float8_e4m3fn).view(torch.uint8).numpy()
    np.testing.assert_array_equal(numbers, expected)
    for isa in available_isas():
        again, same = encode_fp8(values, isa=isa)
        np.testing.assert_array_equal(again, numbers)
        np.testing.assert_array_equal(same, scales)


def test_fp8_of_every_size() -> None:
    """Each power of two down to where numbers vanish: subnormal ones, ties, zeros."""
    values = np.exp2(np.linspace(-24, 8, 128, dtype=np.float32)).reshape(1, -1) * np.float32(1.75)
    numbers, scales = encode_fp8(np.concatenate([values, -values, np.zeros((126, 128), np.float32)]))
    expected = (
        torch.from_numpy(values * (np.float32(1) / scales[0, 0])).to(torch.float8_e4m3fn).view(torch.uint8).numpy()
    )
    np.testing.assert_array_equal(numbers[:1], expected)
    np.testing.assert_array_equal(numbers[1:2] & 0x7F, expected)
    assert not (numbers[2:] & 0x7F).any()
    zeros, scale = encode_fp8(np.zeros((3, 3), np.float32))
    assert not zeros.any()
    assert (scale > 0).all()
