"""Every tensor type decodes to the same bits as an independent decoder."""

import secrets

import gguf
import numpy as np
import pytest
from codec_oracle import assert_same_bits, reference_decode

from qwill.quant.codecs import decode, native_id
from qwill.quant.types import BY_GGUF_ID, TYPES, TensorType

every_type = pytest.mark.parametrize("tensor_type", TYPES.values(), ids=TYPES.keys())


def check(tensor_type: TensorType, rows: np.ndarray) -> None:
    expected = reference_decode(tensor_type, rows)
    assert_same_bits(decode(tensor_type, rows, expected.shape), expected)


@every_type
def test_block_sizes_are_those_of_the_format(tensor_type: TensorType) -> None:
    if tensor_type.gguf_id is None:
        return
    assert tensor_type.gguf_id == gguf.GGMLQuantizationType[tensor_type.name]
    sizes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(tensor_type.gguf_id)]
    assert (tensor_type.block_elements, tensor_type.block_bytes) == sizes


@every_type
@pytest.mark.parametrize("blocks", [1, 3, 8])
def test_random_bytes(tensor_type: TensorType, blocks: int) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    generator = np.random.default_rng(seed)
    check(tensor_type, generator.integers(0, 256, (61, blocks * tensor_type.block_bytes), dtype=np.uint8))


@every_type
@pytest.mark.parametrize("byte", [0x00, 0xFF, 0x7F, 0x80, 0x0F, 0xF0, 0x55, 0x3C])
def test_blocks_of_one_byte(tensor_type: TensorType, byte: int) -> None:
    check(tensor_type, np.full((2, 3 * tensor_type.block_bytes), byte, np.uint8))


@every_type
@pytest.mark.parametrize("background", ["zeros", "random"])
def test_extreme_halves_at_every_place(tensor_type: TensorType, background: str) -> None:
    """Zero, denormal, largest, infinite and NaN scales, wherever in a block a scale may lie."""
    halves = np.array([0, 0x8000, 1, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7C01, 0x7E00], np.uint16)
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    generator = np.random.default_rng(seed)
    places = range(0, tensor_type.block_bytes - 1, 2)
    shape = (len(places) or 1, halves.size, tensor_type.block_bytes)
    blocks = np.zeros(shape, np.uint8) if background == "zeros" else generator.integers(0, 256, shape, dtype=np.uint8)
    for place in places:
        blocks[place // 2, :, place : place + 2] = halves.view(np.uint8).reshape(-1, 2)
    check(tensor_type, blocks.reshape(-1, tensor_type.block_bytes))


@pytest.mark.parametrize("name", ["F16", "BF16"])
def test_every_sixteen_bit_float(name: str) -> None:
    check(TYPES[name], np.arange(65536, dtype=np.uint16).view(np.uint8).reshape(1, -1))


def test_every_byte_float_and_scale() -> None:
    every_byte = np.arange(256, dtype=np.uint8).reshape(-1, 1)
    check(TYPES["F8_E4M3"], every_byte)
    nibbles = np.broadcast_to(np.arange(16, dtype=np.uint8) * 0x11, (256, 16))  # every four-bit float under every scale
    check(TYPES["MXFP4"], np.hstack([every_byte, nibbles]))
    check(TYPES["NVFP4"], np.hstack([np.repeat(every_byte, 4, axis=1), nibbles, nibbles]))


def test_shapes_and_layouts() -> None:
    generator = np.random.default_rng(1)
    tensor_type = TYPES["Q4_K"]
    stored = generator.integers(0, 256, (2, 3, 5 * 144), dtype=np.uint8)
    flat = decode(tensor_type, stored, (6 * 5 * 256,))
    assert_same_bits(decode(tensor_type, stored, (2, 3, 1280)).reshape(-1), flat)
    spread = np.repeat(stored, 2, axis=0)[::2]
    assert not spread.flags.c_contiguous
    assert_same_bits(decode(tensor_type, spread, (6 * 1280,)), flat)


def test_unaligned_bytes() -> None:
    """Mapped files promise little: blocks may start at an odd address."""
    generator = np.random.default_rng(2)
    for tensor_type in TYPES.values():
        stored = generator.integers(0, 256, 7 * tensor_type.block_bytes + 1, dtype=np.uint8)[1:]
        shape = (7 * tensor_type.block_elements,)
        assert_same_bits(decode(tensor_type, stored, shape), decode(tensor_type, stored.copy(), shape))


def test_no_elements() -> None:
    assert decode(TYPES["Q8_0"], np.empty(0, np.uint8), (0, 32)).shape == (0, 32)


@pytest.mark.parametrize("difference", [-1, 1])
def test_wrong_number_of_bytes(difference: int) -> None:
    with pytest.raises(AssertionError, match="Q6_K of shape"):
        decode(TYPES["Q6_K"], np.zeros(210 * 4 + difference, np.uint8), (2, 512))


def test_columns_that_are_not_whole_blocks() -> None:
    with pytest.raises(AssertionError, match="Q8_0"):
        decode(TYPES["Q8_0"], np.zeros(34, np.uint8), (1, 33))


def test_native_ids_are_distinct() -> None:
    assert len({native_id(t) for t in TYPES.values()}) == len(TYPES)
    assert all(BY_GGUF_ID[native_id(t)] is t for t in TYPES.values() if t.gguf_id is not None)
