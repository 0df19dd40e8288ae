"""Attention of image patches against float64, and against the NumPy reference."""

from itertools import pairwise

import numpy as np
import pytest
from kernels import EPSILON, ISAS, cpu_of, normal, random_starts
from weights import rounded_to_bf16

from qwill.ops.vision import native, reference

Case = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]  # qkv, cos, sin, starts, heads

# As in test_attention.py, with scores of at most |q| |k| / sqrt(dim) = 16 or so, summed one product after another.
TOLERANCE = 5 * 16 * 40 * EPSILON


def make_case(rng: np.random.Generator, patches: int, segments: int, heads: int, dim: int) -> Case:
    angles = rng.uniform(0, 100, (patches, dim // 2))
    starts = random_starts(rng, patches, segments)
    return (
        normal(rng, patches, 3 * heads * dim),
        np.cos(angles).astype(np.float32),
        np.sin(angles).astype(np.float32),
        starts,
        heads,
    )


def exact(qkv: np.ndarray, cos: np.ndarray, sin: np.ndarray, starts: np.ndarray, heads: int) -> np.ndarray:
    half, angles = cos.shape[1], cos.astype(np.complex128) + 1j * sin
    q, k, v = qkv.astype(np.float64).reshape(len(qkv), 3, heads, 2 * half).transpose(1, 2, 0, 3)
    # The product of a turned query and a turned key is the real part of the product of complex numbers.
    q, k = ((x[..., :half] + 1j * x[..., half:]) * angles for x in (q, k))
    out = np.empty_like(v)
    for first, last in pairwise(starts):
        scores = (q[:, first:last] @ k[:, first:last].conj().swapaxes(1, 2)).real / np.sqrt(2 * half)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        out[:, first:last] = weights / weights.sum(-1, keepdims=True) @ v[:, first:last]
    return out.swapaxes(0, 1).reshape(len(qkv), -1)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("patches", "segments"), [(1, 1), (64, 1), (65, 1), (131, 3), (256, 2)])
@pytest.mark.parametrize("dim", [2, 16, 64, 72])
@pytest.mark.usefixtures("poisoned_memory")
def test_equals_exact_attention(isa: str, patches: int, segments: int, dim: int, rng: np.random.Generator) -> None:
    case = make_case(rng, patches, segments, 3, dim)
    out = native.vision_attention(cpu_of(isa), *case)
    np.testing.assert_allclose(out, exact(*case), atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(out, reference.vision_attention(*case), atol=2 * TOLERANCE, rtol=0)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("patches", "segments"), [(1, 1), (63, 1), (65, 1), (131, 3), (256, 2)])
@pytest.mark.parametrize("dim", [2, 16, 64, 72])
@pytest.mark.usefixtures("poisoned_memory")
def test_rounded_to_bf16(isa: str, patches: int, segments: int, dim: int, rng: np.random.Generator) -> None:
    """The exact attention of rounded queries, keys and values, but for the rounding of the weights: each is off by up
    to 2^-8 of itself. Nothing is turned: that would round some queries and keys to their other neighbours."""
    qkv, _, _, starts, heads = make_case(rng, patches, segments, 3, dim)
    cos, sin = np.ones((patches, dim // 2), np.float32), np.zeros((patches, dim // 2), np.float32)
    out = native.vision_attention(cpu_of(isa), qkv, cos, sin, starts, heads, True)
    q, k, v = np.moveaxis(qkv.reshape(patches, 3, heads, dim), 1, 0)
    factor = np.float32(1) / np.sqrt(np.float32(dim))
    q = rounded_to_bf16(q * factor).astype(np.float64) * np.sqrt(dim)
    rounded = np.stack([q, rounded_to_bf16(k), rounded_to_bf16(v)], axis=1).reshape(patches, -1)
    expected = exact(rounded, cos, sin, starts, heads)
    magnitudes = np.stack([q, rounded_to_bf16(k), np.abs(v)], axis=1).reshape(patches, -1)
    bound = TOLERANCE + 2**-8 * exact(magnitudes, cos, sin, starts, heads)
    assert (np.abs(out - expected) <= bound).all()


def test_segments_and_threads_do_not_touch_a_result(rng: np.random.Generator) -> None:
    qkv, cos, sin, starts, heads = make_case(rng, 300, 4, 2, 24)
    out = native.vision_attention(cpu_of(ISAS[-1], 3), qkv, cos, sin, starts, heads)
    for first, last in pairwise(starts):
        alone = np.array([0, last - first], np.int32)
        lone = native.vision_attention(
            cpu_of(ISAS[-1], 1), qkv[first:last], cos[first:last], sin[first:last], alone, heads
        )
        np.testing.assert_array_equal(lone, out[first:last])


def test_instruction_sets_with_fused_products_agree_to_the_bit(rng: np.random.Generator) -> None:
    fused = [isa for isa in ISAS if isa != "scalar"]
    if len(fused) < 2:
        pytest.skip("fewer than two such instruction sets here")
    case = make_case(rng, 150, 2, 2, 72)
    for rounded in (False, True):
        first, *others = (native.vision_attention(cpu_of(isa), *case, rounded) for isa in fused)
        for other in others:
            np.testing.assert_array_equal(first, other)


def test_arguments_that_do_not_fit_are_refused(rng: np.random.Generator) -> None:
    qkv, cos, sin, starts, heads = make_case(rng, 20, 2, 2, 16)
    cpu = cpu_of(ISAS[-1])
    with pytest.raises(ValueError, match="starts"):
        native.vision_attention(cpu, qkv, cos, sin, starts[:-1].copy(), heads)
    with pytest.raises(ValueError, match="differ in shape"):
        native.vision_attention(cpu, qkv, cos[:, 1:].copy(), sin, starts, heads)
