"""Projections of every instruction set and every weight type against float64."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import EPSILON, ISAS, cpu_of, normal
from qwill._native import Weight
from weights import (
    AFFINE,
    FLOATS,
    PACKED,
    UNPACKED,
    decoded,
    expected_linear,
    odd_columns,
    random_tensor,
    rounded_to_bf16,
)

from qwill.errors import CheckpointError
from qwill.ops.activations import ACTIVATIONS
from qwill.ops.linear import native, reference
from qwill.ops.norm.native import rms_norm
from qwill.quant.types import TYPES
from qwill.weights.tensor import Tensor

TOKENS = (1, 2, 3, 4, 5, 6, 7, 16, 33, 66)
every_isa = pytest.mark.parametrize("isa", ISAS)
every_type = pytest.mark.parametrize("name", FLOATS + PACKED + UNPACKED)


def poisoned_linear(isa: str, x: np.ndarray, weight: Weight, threads: int = 2) -> np.ndarray:
    """The projection into an output and with scratch memory full of NaN."""
    cpu = cpu_of(isa, threads)
    out = np.full((len(x), weight.rows), np.nan, np.float32)
    cpu.fill_workspace(0xFF)
    cpu.linear(x, weight, None, 0, False, out)
    return out


def assert_close(actual: np.ndarray, expected: np.ndarray, error: np.ndarray) -> None:
    assert np.isfinite(actual).all()
    excess = np.abs(actual - expected) - error
    assert excess.max() <= 0, f"{excess.max()} beyond the tolerance at {np.argwhere(excess == excess.max())[0]}"


@every_isa
@every_type
def test_linear(isa: str, name: str, rng: np.random.Generator) -> None:
    tensor = random_tensor(rng, name, 37, odd_columns(TYPES[name]))
    weight = native.pack(cpu_of(isa), tensor)
    assert (weight.rows, weight.cols, weight.experts, weight.type) == (*tensor.shape, 1, name)
    for tokens in TOKENS:
        x = normal(rng, tokens, tensor.shape[1])
        assert_close(poisoned_linear(isa, x, weight), *expected_linear(x, tensor))


@every_isa
@every_type
def test_a_token_does_not_depend_on_the_others_nor_on_threads(isa: str, name: str, rng: np.random.Generator) -> None:
    tensor = random_tensor(rng, name, 83, odd_columns(TYPES[name]))
    weight = native.pack(cpu_of(isa), tensor)
    x = normal(rng, 15, tensor.shape[1])  # tiles of 8, 4, 2 and 1
    together = poisoned_linear(isa, x, weight)
    for token in range(len(x)):
        np.testing.assert_array_equal(poisoned_linear(isa, x[token : token + 1], weight, 1)[0], together[token])


@every_isa
@every_type
def test_some_rows_give_the_same_results(isa: str, name: str, rng: np.random.Generator) -> None:
    tensor = random_tensor(rng, name, 83, odd_columns(TYPES[name]))
    weight = native.pack(cpu_of(isa), tensor)
    x = normal(rng, 3, tensor.shape[1])
    whole = poisoned_linear(isa, x, weight)
    for first, count in ((0, 83), (0, 16), (16, 5), (48, 35), (80, 3)):
        part = weight.part(first, count)
        assert (part is None) == (name in UNPACKED or tensor.scales is not None)
        if part is not None:
            assert (part.rows, part.cols, part.type) == (count, weight.cols, weight.type)
            np.testing.assert_array_equal(poisoned_linear(isa, x, part), whole[:, first : first + count])


def test_a_part_keeps_its_weight(rng: np.random.Generator) -> None:
    cpu = cpu_of(ISAS[-1])
    tensor = random_tensor(rng, "Q8_0", 64, 64)
    x = normal(rng, 2, 64)
    expected = native.linear(cpu, x, native.pack(cpu, tensor))[:, 32:]
    part = native.pack(cpu, tensor).part(32, 32)
    gc.collect()
    np.testing.assert_array_equal(native.linear(cpu, x, part), expected)


@pytest.mark.parametrize("part", [(1, 16), (-16, 16), (0, 0), (64, 20), (0, 84)])
def test_parts_that_are_none(part: tuple[int, int], rng: np.random.Generator) -> None:
    weight = native.pack(cpu_of(ISAS[-1]), random_tensor(rng, "Q8_0", 83, 64))
    with pytest.raises(ValueError, match="rows: not a part"):
        weight.part(*part)


@pytest.mark.skipif(len(ISAS) < 3, reason="needs a processor with two sets beside plain C++")
@every_type
def test_instruction_sets_agree_to_the_bit(name: str, rng: np.random.Generator) -> None:
    tensor = random_tensor(rng, name, 37, odd_columns(TYPES[name]))
    for tokens in (11, 70):  # 70: enough for panels to be unfolded where that is done
        x = normal(rng, tokens, tensor.shape[1])
        narrow, *wide = (poisoned_linear(isa, x, native.pack(cpu_of(isa), tensor)) for isa in ISAS[1:])
        for other in wide:
            np.testing.assert_array_equal(narrow, other)


@every_isa
@pytest.mark.parametrize("columns", [1, 2, 64, 131])
def test_f16_that_is_bf16_is_multiplied_as_bf16(isa: str, columns: int, rng: np.random.Generator) -> None:
    """As a vision file's F16 is that was converted from BF16; a single value with more digits keeps all in F16."""
    values = rounded_to_bf16(normal(rng, 37, columns))
    values[np.abs(values) < 2.0**-14] = 0  # below, F16 has fewer digits than BF16
    halves = values.astype(np.float16)
    assert (halves == values).all()
    x = normal(rng, 7, columns)
    as_half = Tensor("w", values.shape, TYPES["F16"], (halves.reshape(-1).view(np.uint8),), "halves")
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    as_bf16 = Tensor("w", values.shape, TYPES["BF16"], (bits.reshape(-1).view(np.uint8),), "bf16")
    packed = native.pack(cpu_of(isa), as_half)
    assert packed.type == "BF16"
    expected = poisoned_linear(isa, x, native.pack(cpu_of(isa), as_bf16))
    np.testing.assert_array_equal(poisoned_linear(isa, x, packed), expected)
    halves[-1, -1] = np.float16(1 + 2**-10)
    assert native.pack(cpu_of(isa), as_half).type == "F16"


@every_isa
def test_tiny_numbers_count_as_zero_in_bf16(isa: str) -> None:
    """Subnormals, of weights as of activations: the processors' instruction takes them so."""
    tiny, one = 2.0**-130, 1.0
    for weight, x in ((tiny, one), (one, tiny)):
        bits = (np.full((16, 4), weight, np.float32).view(np.uint32) >> 16).astype(np.uint16)
        tensor = Tensor("w", (16, 4), TYPES["BF16"], (bits.reshape(-1).view(np.uint8),), "tiny")
        out = poisoned_linear(isa, np.full((1, 4), x, np.float32), native.pack(cpu_of(isa), tensor))
        assert (out == 0).all()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_shape(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(FLOATS + PACKED + UNPACKED))
    tensor_type = TYPES[name]
    blocks = data.draw(st.integers(1, 300 if tensor_type.block_elements == 1 else 5))
    rows, tokens = data.draw(st.integers(1, 150)), data.draw(st.integers(1, 20))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    tensor = random_tensor(rng, name, rows, blocks * tensor_type.block_elements)
    isa = data.draw(st.sampled_from(ISAS[-2:]))
    x = normal(rng, tokens, tensor.shape[1])
    assert_close(poisoned_linear(isa, x, native.pack(cpu_of(isa), tensor)), *expected_linear(x, tensor))


@every_isa
def test_extreme_codes_do_not_saturate(isa: str, rng: np.random.Generator) -> None:
    """Largest weights times largest activations of one sign: where 16-bit sums would overflow."""
    columns = 64
    for code in (-128, -127, 127):
        blocks = np.zeros((17, columns // 32, 34), np.uint8)
        blocks[..., :2] = np.array([1], np.float16).view(np.uint8)
        blocks[..., 2:] = np.uint8(code & 0xFF)
        tensor = Tensor("w", (17, columns), TYPES["Q8_0"], (blocks.reshape(-1),), "extreme")
        weight = native.pack(cpu_of(isa), tensor)
        for sign, tokens in product((1, -1), (3, 70)):
            x = np.full((tokens, columns), 127 * sign, np.float32)
            np.testing.assert_array_equal(poisoned_linear(isa, x, weight), np.float32(127 * sign * code * columns))


@every_isa
@pytest.mark.parametrize("name", ["AFFINE8_64", "AFFINE8_32", "AFFINE8_32_F16", "AFFINE6_64"])
def test_extreme_unsigned_codes_do_not_saturate(isa: str, name: str) -> None:
    tensor_type, columns = TYPES[name], 128
    top = 63 if "6_" in name else 255
    blocks = np.full((17, columns // tensor_type.block_elements, tensor_type.block_bytes), 0xFF, np.uint8)
    blocks[..., :4] = 0
    one = np.float16(1).view(np.uint16) if name.endswith("F16") else np.uint16(0x3F80)
    blocks[..., :2] = np.array([one]).view(np.uint8)
    weight = native.pack(cpu_of(isa), Tensor("w", (17, columns), tensor_type, (blocks.reshape(-1),), "extreme"))
    for sign, tokens in product((1, -1), (3, 70)):
        x = np.full((tokens, columns), 127 * sign, np.float32)
        np.testing.assert_array_equal(poisoned_linear(isa, x, weight), np.float32(127 * sign * top * columns))


@every_isa
@pytest.mark.parametrize("name", ["F8_E4M3", "Q8_0", "AFFINE4_64", "IQ3_S"])
def test_scales_of_rows(isa: str, name: str, rng: np.random.Generator) -> None:
    """Sums times the scale of their row, in matrices, parts of them and for many tokens."""
    tensor = random_tensor(rng, name, 83, odd_columns(TYPES[name]), by_row=True)
    weight = native.pack(cpu_of(isa), tensor)
    assert tensor.scales is not None
    bare = native.pack(cpu_of(isa), replace(tensor, scales=None)) if name != "F8_E4M3" else None
    for tokens in (1, 3, 100):
        x = normal(rng, tokens, tensor.shape[1])
        out = poisoned_linear(isa, x, weight)
        assert_close(out, *expected_linear(x, tensor))
        if bare is not None:
            np.testing.assert_array_equal(out, poisoned_linear(isa, x, bare) * tensor.scales[0].T)
    part = weight.part(48, 35)
    assert (part is None) == (name in UNPACKED)
    if part is not None:
        np.testing.assert_array_equal(poisoned_linear(isa, x, part), out[:, 48:])


@every_isa
def test_blocks_of_zeros_and_of_tiny_activations(isa: str, rng: np.random.Generator) -> None:
    tensor = random_tensor(rng, "Q8_0", 20, 96)
    x = normal(rng, 3, 96)
    x[0] = 0
    x[1, 32:64] = 0
    x[2, :32] *= np.float32(1e-38)
    out = poisoned_linear(isa, x, native.pack(cpu_of(isa), tensor))
    assert (out[0] == 0).all()
    x[2, :32] = 0
    for t in (1, 2):
        expected = poisoned_linear(isa, x[t : t + 1], native.pack(cpu_of(isa), tensor))
        np.testing.assert_array_equal(out[t], expected[0])


@every_isa
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bias_and_activation(isa: str, activation: str, rng: np.random.Generator) -> None:
    tensor = random_tensor(rng, "F32", 45, 33)
    weight, bias = native.pack(cpu_of(isa), tensor), normal(rng, 45)
    x = normal(rng, 7, 33)
    out = native.linear(cpu_of(isa), x, weight, bias, activation)
    expected = reference.linear(x, decoded(tensor), bias, activation)
    # The functions' slopes are below 1.13; their own error is a few ulp, for GELU 7.5e-8 of the argument.
    error = 1.13 * (33 + 8) * EPSILON * (np.abs(x) @ np.abs(decoded(tensor).array).T + np.abs(bias))
    assert_close(out, expected, error)


@every_isa
def test_linear_add(isa: str, rng: np.random.Generator) -> None:
    for name in ("F32", "Q4_K"):
        tensor = random_tensor(rng, name, 45, 256)
        weight, bias = native.pack(cpu_of(isa), tensor), normal(rng, 45)
        x, residual = normal(rng, 5, 256), normal(rng, 5, 45)
        expected = residual + native.linear(cpu_of(isa), x, weight, bias)
        native.linear_add(cpu_of(isa), x, weight, residual, bias)
        np.testing.assert_array_equal(residual, expected)


@every_isa
def test_norm_linear_is_the_norm_and_then_each_projection(isa: str, rng: np.random.Generator) -> None:
    cpu = cpu_of(isa)
    tensors = [random_tensor(rng, name, rows, 256) for name, rows in
               (("Q8_0", 40), ("F32", 3), ("Q2_K", 17), ("Q6_K", 130), ("BF16", 16))]  # fmt: skip
    weights, scale = [native.pack(cpu, tensor) for tensor in tensors], normal(rng, 256)
    for tokens in TOKENS:
        x = normal(rng, tokens, 256) * np.float32(3)
        normed = rms_norm(cpu, x, scale, 1e-6)
        cpu.fill_workspace(0xFF)
        for out, weight in zip(native.norm_linear(cpu, x, scale, 1e-6, weights), weights, strict=True):
            np.testing.assert_array_equal(out, native.linear(cpu, normed, weight))


@every_isa
@pytest.mark.parametrize("name", ["F32", "F8_E4M3", "Q8_0", "Q4_K", "Q6_K", "IQ3_S", "AFFINE4_64", "MXFP8"])
def test_swiglu_is_made_of_its_parts(isa: str, name: str, rng: np.random.Generator) -> None:
    cpu = cpu_of(isa)
    gate, up = (native.pack(cpu, random_tensor(rng, name, 256, 512)) for _ in range(2))
    down, scale = native.pack(cpu, random_tensor(rng, name, 512, 256)), normal(rng, 512) * np.float32(0.1)
    for tokens in (1, 3, 13):
        residual = normal(rng, tokens, 512)
        normed = rms_norm(cpu, residual, scale, 1e-6)
        hidden = native.linear(cpu, normed, gate, activation="silu") * native.linear(cpu, normed, up)
        expected = residual + native.linear(cpu, hidden, down)
        cpu.fill_workspace(0xFF)
        native.swiglu_add(cpu, residual, scale, 1e-6, gate, up, down)
        np.testing.assert_array_equal(residual, expected)


@every_isa
def test_swiglu_of_odd_widths(isa: str, rng: np.random.Generator) -> None:
    tensors = [random_tensor(rng, "F32", *shape) for shape in ((45, 77), (45, 77), (77, 45))]
    residual, scale = normal(rng, 5, 77), normal(rng, 77) * np.float32(0.1)
    expected = residual.copy()
    reference.swiglu_add(expected, scale, 1e-6, *map(decoded, tensors))
    native.swiglu_add(cpu_of(isa), residual, scale, 1e-6, *(native.pack(cpu_of(isa), tensor) for tensor in tensors))
    # Three sums of at most 77 terms, the second stage's of numbers that are themselves products of two sums.
    np.testing.assert_allclose(residual, expected, atol=3 * 77 * EPSILON * np.abs(expected).max())


def test_python_threads_may_share_a_cpu(rng: np.random.Generator) -> None:
    cpu = cpu_of(ISAS[-1])
    weights = [native.pack(cpu, random_tensor(rng, name, 64, 256)) for name in ("Q8_0", "F32", "IQ2_S", "Q4_K")]
    inputs = [normal(rng, tokens, 256) for tokens in (1, 7, 3, 12)]
    expected = [native.linear(cpu, x, weight) for x, weight in zip(inputs, weights, strict=True)]

    def repeat(x: np.ndarray, weight: Weight, result: np.ndarray) -> bool:
        return all(np.array_equal(native.linear(cpu, x, weight), result) for _ in range(50))

    with ThreadPoolExecutor(len(weights)) as pool:
        assert all(pool.map(repeat, inputs, weights, expected))


@every_isa
def test_an_unpacked_weight_keeps_its_bytes_alive(isa: str, rng: np.random.Generator) -> None:
    tensor = random_tensor(rng, "IQ3_S", 2000, 512)
    weight, x = native.pack(cpu_of(isa), tensor), normal(rng, 1, 512)
    expected = native.linear(cpu_of(isa), x, weight)
    assert weight.nbytes == 0
    freed = [weakref.ref(part) for part in tensor.parts]
    del tensor
    gc.collect()
    assert all(part() is not None for part in freed)
    np.testing.assert_array_equal(native.linear(cpu_of(isa), x, weight), expected)
    del weight
    gc.collect()
    assert all(part() is None for part in freed)


# In MXFP4 and NVFP4 every code is a finite number.
@pytest.mark.parametrize("name", [name for name in FLOATS + PACKED + UNPACKED if name not in ("MXFP4", "NVFP4")])
def test_weights_that_are_not_finite_are_refused(name: str, rng: np.random.Generator) -> None:
    tensor = random_tensor(rng, name, 37, odd_columns(TYPES[name]))
    blocks = tensor.parts[0].reshape(-1, tensor.type.block_bytes)
    block = blocks[int(rng.integers(len(blocks)))]
    match name:
        case "F32" | "F16" | "BF16" | "F8_E4M3" | "IQ1_M":
            block[:] = 0xFF
        case "MXFP8":
            place, byte = [(0, 0xFF), (0, 0xF7), (32, 0x7F), (7, 0xFF)][int(rng.integers(4))]
            block[place] = byte
        case _ if name in AFFINE:
            block[(place := 2 * int(rng.integers(2))) : place + 2] = 0xFF
        case "Q4_1" | "Q5_1" | "Q4_K" | "Q5_K" | "Q2_K" | "Q3_K" | "Q6_K":
            place = {"Q2_K": 82, "Q3_K": 108, "Q6_K": 208}.get(name, 2)
            block[place : place + 2] = np.array([np.inf], np.float16).view(np.uint8)
        case _:
            block[:2] = np.array([np.nan], np.float16).view(np.uint8)
    for isa in ISAS:
        with pytest.raises(CheckpointError, match=rf"random: weight\.{name} holds values that are not finite"):
            native.pack(cpu_of(isa), tensor)


def test_scales_that_are_not_finite_are_refused(rng: np.random.Generator) -> None:
    tensor = random_tensor(rng, "F8_E4M3", 200, 300)
    assert tensor.scales is not None
    tensor.scales[0][1, 2] = np.nan
    of_rows = random_tensor(rng, "F8_E4M3", 200, 300, by_row=True)
    assert of_rows.scales is not None
    of_rows.scales[0][199, 0] = np.inf
    for each in (tensor, of_rows):
        with pytest.raises(CheckpointError, match="not finite"):
            native.pack(cpu_of(ISAS[-1]), each)


@pytest.mark.parametrize("isa", ISAS)
def test_weights_that_are_packed_together(isa: str, rng: np.random.Generator) -> None:
    """Of many types, packed and not: each multiplies as one that was packed alone; the broken one is named."""
    tensors = [random_tensor(rng, name, int(rng.integers(1, 1200)), 512) for name in ("Q4_K", "F16", "IQ2_S", "Q6_K")]
    planned = [(native.plan(tensor), tensor) for tensor in tensors]
    native.pack_planned(cpu_of(isa), planned)
    x = normal(rng, 3, 512)
    for weight, tensor in planned:
        expected = native.linear(cpu_of(isa), x, native.pack(cpu_of(isa), tensor))
        assert native.linear(cpu_of(isa), x, weight).tobytes() == expected.tobytes()
    with pytest.raises(ValueError, match="packed already"):
        native.pack_planned(cpu_of(isa), planned)
    tensors[2].parts[0][-82:][:2] = np.array([np.inf], np.float16).view(np.uint8)
    with pytest.raises(CheckpointError, match="IQ2_S holds values that are not finite"):
        native.pack_planned(cpu_of(isa), [(native.plan(tensor), tensor) for tensor in tensors])


def test_a_weight_that_is_only_planned_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="not packed yet"):
        native.linear(cpu_of(ISAS[-1]), normal(rng, 1, 64), native.plan(random_tensor(rng, "Q8_0", 16, 64)))


def test_shapes_that_do_not_fit_are_refused(rng: np.random.Generator) -> None:
    cpu = cpu_of(ISAS[-1])
    weight = native.pack(cpu, random_tensor(rng, "F32", 20, 40))
    with pytest.raises(ValueError, match="does not fit"):
        native.linear(cpu, normal(rng, 2, 41), weight)
    with pytest.raises(ValueError, match="bias"):
        native.linear(cpu, normal(rng, 2, 40), weight, normal(rng, 19))
    with pytest.raises(ValueError, match="does not fit"):
        native.linear_add(cpu, normal(rng, 2, 40), weight, normal(rng, 2, 21))
    with pytest.raises(ValueError, match="fit together"):
        native.swiglu_add(cpu, normal(rng, 2, 40), normal(rng, 40), 1e-6, weight, weight, weight)
