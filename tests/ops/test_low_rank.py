"""What adapters add to projections, and the product between gate and up, of every instruction set."""

import numpy as np
import pytest
from kernels import EPSILON, ISAS, cpu_of, normal
from weights import random_tensor

from qwill.ops.linear import native, reference
from qwill.ops.norm import reference as norm

every_isa = pytest.mark.parametrize("isa", ISAS)
EPS = 1e-6


def packed(isa: str, rng: np.random.Generator, rows: int, columns: int) -> tuple[object, np.ndarray]:
    tensor = random_tensor(rng, "F32", rows, columns)
    return native.pack(cpu_of(isa), tensor), reference.pack(tensor).array.astype(np.float64)


@every_isa
@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_against_float64(isa: str, threads: int, normed: bool, rng: np.random.Generator) -> None:
    cpu = cpu_of(isa, threads)
    columns, heights = 299, (37, 16, 5)
    x, scale = normal(rng, 23, columns), normal(rng, columns)
    outs = [normal(rng, 23, height) for height in heights]
    expected = [out.astype(np.float64) for out in outs]
    bound = [np.abs(out).astype(np.float64) * EPSILON for out in outs]
    n = (norm.rms_norm(x, scale, EPS) if normed else x).astype(np.float64)
    arguments: list[list[object]] = [[], [], [], [], [], []]
    for first, last, rank in ((0, 1, 3), (1, 12, 16), (14, 23, 33)):
        for number, height in enumerate(heights):
            (a, a_values), (b, b_values) = packed(isa, rng, rank, columns), packed(isa, rng, height, rank)
            factor = float(rng.normal())
            for values, value in zip(arguments, (a, b, outs[number], first, last, factor), strict=True):
                values.append(value)
            rows = slice(first, last)
            expected[number][rows] += np.float32(factor) * (n[rows] @ a_values.T) @ b_values.T
            size = abs(factor) * (np.abs(n[rows]) @ np.abs(a_values).T) @ np.abs(b_values).T
            bound[number][rows] += 40 * EPSILON * size
    cpu.fill_workspace(0xFF)
    native.low_rank_add(cpu, x, scale if normed else None, EPS, *arguments)  # type: ignore[arg-type]
    for out, right, most in zip(outs, expected, bound, strict=True):
        assert (np.abs(out - right) <= most).all()


@every_isa
def test_a_row_does_not_depend_on_the_others(isa: str, rng: np.random.Generator) -> None:
    cpu = cpu_of(isa)
    (a, _), (b, _) = packed(isa, rng, 7, 130), packed(isa, rng, 50, 7)
    x, out, scale = normal(rng, 19, 130), normal(rng, 19, 50), normal(rng, 130)
    together = out.copy()
    native.low_rank_add(cpu, x, scale, EPS, [a], [b], [together], [0], [19], [0.7])
    for row in range(19):
        alone = out.copy()
        native.low_rank_add(cpu, x, scale, EPS, [a], [b], [alone], [row], [row + 1], [0.7])
        np.testing.assert_array_equal(alone[row], together[row])
        np.testing.assert_array_equal(np.delete(alone, row, 0), np.delete(out, row, 0))


@pytest.mark.parametrize(
    "wrong", [{"firsts": [1], "lasts": [1]}, {"firsts": [-1]}, {"lasts": [6]}, {"factors": []}, {"outs": []}]
)
def test_rows_that_are_none(wrong: dict[str, list[object]], rng: np.random.Generator) -> None:
    isa = ISAS[-1]
    (a, _), (b, _) = packed(isa, rng, 2, 8), packed(isa, rng, 3, 2)
    right = {"a": [a], "b": [b], "outs": [normal(rng, 5, 3)], "firsts": [0], "lasts": [5], "factors": [1.0]}
    with pytest.raises(ValueError, match="low_rank"):
        native.low_rank_add(cpu_of(isa), normal(rng, 5, 8), None, EPS, **(right | wrong))  # type: ignore[arg-type]


@every_isa
def test_the_bits_of_the_fused_feed_forward(isa: str, rng: np.random.Generator) -> None:
    """Rows of a step go either way, depending on the adapters beside them."""
    cpu = cpu_of(isa)
    for name, width, hidden in (("Q8_0", 96, 64), ("Q4_K", 256, 512), ("BF16", 75, 65), ("F32", 50, 33)):
        gate, up = (native.pack(cpu, random_tensor(rng, name, width, hidden)) for _ in range(2))
        down = native.pack(cpu, random_tensor(rng, name, hidden, width))
        residual, scale = normal(rng, 11, hidden), normal(rng, hidden)
        fused = residual.copy()
        native.swiglu_add(cpu, fused, scale, EPS, gate, up, down)
        inner, raised = native.norm_linear(cpu, residual, scale, EPS, [gate, up])
        native.silu_product(cpu, inner, raised)
        native.linear_add(cpu, inner, down, residual)
        np.testing.assert_array_equal(residual, fused)


@every_isa
def test_one_expert_of_many(isa: str, rng: np.random.Generator) -> None:
    cpu = cpu_of(isa)
    for name in ("Q4_0", "F8_E4M3", "IQ2_S", "F32"):
        tensor = random_tensor(rng, name, 130, 256, experts=3)
        weight, values = native.pack(cpu, tensor), reference.pack(tensor)
        x = normal(rng, 3, 256)
        for expert in range(3):
            expected = reference.linear(x, values.expert(expert))
            got = native.linear(cpu, x, weight.expert(expert))
            assert np.abs(got - expected).max() <= 0.03 * np.abs(expected).max()
        with pytest.raises(ValueError, match="no such expert"):
            weight.expert(3)
