"""Accuracy of the vector functions against float64."""

import numpy as np
import pytest
from kernels import ISAS, cpu_of

LARGEST_EXPONENT = np.float32(88.7228)  # e^88.7228 is the last below the float32 overflow at 88.72284
SMALLEST_EXPONENT = np.float32(-86.98)  # results under 2^-125.5 are flushed to zero


def ulps(result: np.ndarray, exact: np.ndarray) -> float:
    return float(np.max(np.abs(result - exact) / np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)))


def apply(isa: str, name: str, x: np.ndarray) -> np.ndarray:
    out = np.full_like(x, np.nan)
    getattr(cpu_of(isa, 1), name)(x, out)
    return out


@pytest.mark.parametrize("isa", ISAS)
def test_exp_is_within_two_ulp_over_its_range(isa: str, rng: np.random.Generator) -> None:
    x = np.concatenate(
        [
            rng.uniform(SMALLEST_EXPONENT, LARGEST_EXPONENT, 300_001),
            rng.uniform(-1, 1, 100_001),
            rng.standard_normal(10_001) * 1e-6,
            [0.0, -0.0, LARGEST_EXPONENT, SMALLEST_EXPONENT],
            np.arange(-125, 128) * np.log(2),
            (np.arange(-125, 127) + 0.5) * np.log(2),  # where the rounding of the exponent turns
        ]
    ).astype(np.float32)
    assert ulps(apply(isa, "exp", x), np.exp(x.astype(np.float64))) <= 2


@pytest.mark.parametrize("isa", ISAS)
def test_exp_beyond_its_range(isa: str) -> None:
    x = np.array([-np.inf, -1e30, -200, -88, -87.1, 88.7229, 100, 1e30, np.inf, np.nan, 0], np.float32)
    expected = np.array([0, 0, 0, 0, 0, np.inf, np.inf, np.inf, np.inf, np.nan, 1], np.float32)
    np.testing.assert_array_equal(apply(isa, "exp", x), expected)


@pytest.mark.parametrize("isa", ISAS)
def test_softplus_is_within_five_ulp(isa: str, rng: np.random.Generator) -> None:
    # Two from exp, half from each of the quotient, 2 + u, the products, and up to one from the series and the sum.
    x = np.concatenate([rng.uniform(-86, 120, 200_001), rng.standard_normal(100_001), [0.0]]).astype(np.float32)
    assert ulps(apply(isa, "softplus", x), np.logaddexp(0, x.astype(np.float64))) <= 5


def test_instruction_sets_with_fused_products_agree_to_the_bit(rng: np.random.Generator) -> None:
    fused = [isa for isa in ISAS if isa != "scalar"]
    if len(fused) < 2:
        pytest.skip("fewer than two such instruction sets here")
    x = rng.uniform(-100, 100, 100_003).astype(np.float32)
    for name in ("exp", "softplus"):
        first, *others = (apply(isa, name, x) for isa in fused)
        for other in others:
            np.testing.assert_array_equal(first, other)
