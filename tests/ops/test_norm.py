"""RMSNorm and LayerNorm against float64."""

import numpy as np
import pytest
from kernels import EPSILON, ISAS, cpu_of, normal
from qwill._native import Cpu

from qwill.ops.norm import native, reference

SHAPES = [(1, 1), (1, 16), (3, 17), (7, 63), (5, 64), (2, 65), (301, 113), (4, 1024)]


def exact_rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    x = x.astype(np.float64)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight


def exact_layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    x = x.astype(np.float64)
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * weight + bias


def mean_error(width: int) -> float:
    """Relative error of a sum of `width` floats kept in 64 running sums, plus the handful of operations after it."""
    return (width / 64 + 16) * EPSILON


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_rms_norm(isa: str, shape: tuple[int, int], rng: np.random.Generator) -> None:
    x, weight = normal(rng, *shape) * np.float32(10.0 ** rng.integers(-3, 4)), normal(rng, shape[1])
    out = native.rms_norm(cpu_of(isa), x, weight, 1e-6)
    np.testing.assert_allclose(out, exact_rms_norm(x, weight, 1e-6), rtol=mean_error(shape[1]))
    np.testing.assert_allclose(out, reference.rms_norm(x, weight, 1e-6), rtol=2 * mean_error(shape[1]))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_layer_norm_of_values_far_from_zero(isa: str, shape: tuple[int, int], rng: np.random.Generator) -> None:
    offset = np.float32(30)
    x, weight, bias = normal(rng, *shape) + offset, normal(rng, shape[1]), normal(rng, shape[1])
    out = native.layer_norm(cpu_of(isa), x, weight, bias, 1e-2)
    # The mean carries `mean_error` of the offset into the deviations, which are then divided by 0.1 or more.
    tolerance = mean_error(shape[1]) * float(offset) / 0.1 * np.abs(weight).max() + EPSILON * np.abs(bias).max()
    np.testing.assert_allclose(out, exact_layer_norm(x, weight, bias, 1e-2), atol=tolerance, rtol=mean_error(shape[1]))


@pytest.mark.parametrize("isa", ISAS)
def test_a_row_does_not_depend_on_the_others(isa: str, rng: np.random.Generator) -> None:
    x, weight, bias = normal(rng, 211, 77), normal(rng, 77), normal(rng, 77)
    rms, layer = native.rms_norm(cpu_of(isa), x, weight, 1e-6), native.layer_norm(cpu_of(isa), x, weight, bias, 1e-6)
    row = int(rng.integers(211))
    np.testing.assert_array_equal(native.rms_norm(cpu_of(isa, 1), x[row : row + 1], weight, 1e-6)[0], rms[row])
    np.testing.assert_array_equal(
        native.layer_norm(cpu_of(isa, 1), x[row : row + 1], weight, bias, 1e-6)[0], layer[row]
    )


def test_shapes_that_do_not_fit_are_refused(rng: np.random.Generator) -> None:
    cpu: Cpu = cpu_of(ISAS[-1])
    with pytest.raises(ValueError, match="differ in shape"):
        native.rms_norm(cpu, normal(rng, 2, 16), normal(rng, 17), 1e-6)
    with pytest.raises(ValueError, match="differ in shape"):
        native.layer_norm(cpu, normal(rng, 2, 16), normal(rng, 16), normal(rng, 15), 1e-6)
