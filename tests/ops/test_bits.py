"""Instruction sets of different processors agree to the bit: each gives the results that are recorded here.

The other tests compare sets that one processor runs. These compare AVX2 and AVX-512 with NEON, by the digest of what
comes out for numbers that are the same everywhere. A kernel that adds in another order changes its digest, for all
sets alike: the failing test shows the new one. Left out are experts, whose router takes exp from the C library.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from digests import digest
from kernels import ISAS, cpu_of, normal
from test_attention import make_case as attention_case
from test_gated_delta import make_case as gated_delta_case
from test_math import apply
from weights import odd_columns, random_tensor

from qwill.ops.attention.native import attention
from qwill.ops.gated_delta.native import gated_delta
from qwill.ops.linear import native as linear
from qwill.ops.norm.native import layer_norm, rms_norm
from qwill.ops.vision.native import vision_attention
from qwill.quant.types import TYPES

FUSED = [isa for isa in ISAS if isa != "scalar"]
if not FUSED:
    pytest.skip("no instruction set with fused products here", allow_module_level=True)


class Numbers:
    """What the makers of inputs ask of a generator, from a stream that NumPy keeps for ever and by exact arithmetic."""

    def __init__(self) -> None:
        self._stream = np.random.RandomState(20)

    def uniform(self, low: float, high: float, shape: Any) -> np.ndarray:
        return low + (high - low) * self._stream.random_sample(shape)

    def standard_normal(self, shape: Any, dtype: type) -> np.ndarray:
        """Numbers of about that size, no logarithms taken."""
        return self.uniform(-2, 2, shape).astype(dtype)

    def integers(self, low: int, high: int, shape: Any, dtype: type = np.int64) -> np.ndarray:
        return self._stream.randint(low, high, shape, dtype)

    def permutation(self, count: int) -> np.ndarray:
        return self._stream.permutation(count)

    def choice(self, values: Any, count: int, replace: bool) -> np.ndarray:
        return self._stream.choice(values, count, replace)


@pytest.fixture
def numbers() -> Any:
    return Numbers()


@pytest.mark.parametrize("isa", FUSED)
@pytest.mark.parametrize(("name", "expected"), [("exp", "7aa48d2e720cf066"), ("softplus", "6a861fb14730a3e3")])
def test_elementary_functions(isa: str, name: str, expected: str, numbers: Any) -> None:
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 89.0, -87.5]
    x = np.concatenate([numbers.uniform(-100, 100, 10_003), special if name == "exp" else []]).astype(np.float32)
    out = apply(isa, name, x)
    assert digest(np.where(np.isnan(out), np.float32(7), out)) == expected  # a NaN has many bit patterns


@pytest.mark.parametrize("isa", FUSED)
def test_norms(isa: str, numbers: Any) -> None:
    x, weight, bias = normal(numbers, 5, 77), normal(numbers, 77), normal(numbers, 77)
    out = rms_norm(cpu_of(isa), x, weight, 1e-6), layer_norm(cpu_of(isa), x, weight, bias, 1e-6)
    assert digest(*out) == "9634b85cc20e3b97"


LINEAR = {
    "F32": "182451d966b4009c", "F16": "bbc222246d438b62", "BF16": "8250c544167249f0", "F8_E4M3": "7d8739f7203d4f64",
    "Q8_0": "552fee7a69687ff2", "Q2_K": "1bcdd83ab42294b2", "Q3_K": "fca26bb01ea5caff", "Q4_K": "0eabea403de93a96",
    "Q5_K": "81b6c0a35e1b5cbe", "Q6_K": "e040979ad6eb3b39", "Q4_0": "b54222744354f633", "Q4_1": "94608c7052926337",
    "Q5_0": "fdc381735c5ca800", "Q5_1": "2d1397b57b55032d", "IQ4_NL": "95defbbe1c74bcfe", "IQ4_XS": "65d7b2e636a4d42a",
    "MXFP4": "66c0c885bcabef0c", "MXFP8": "3f1e4ef5b2199e38",
    "AFFINE2_64": "fbbf15622129267b", "AFFINE3_64": "a67829e1bdc5b9a4", "AFFINE4_64": "03ecce389cb740c6",
    "AFFINE5_64": "08ad26aa0ac6fb94", "AFFINE6_64": "2e6695e29763b829", "AFFINE8_64": "9735eaf9ba3f2ebc",
    "AFFINE2_32": "51e424685cf70e72", "AFFINE3_32": "f63a8b0e5a7c3ac5", "AFFINE4_32": "6683a2b59db66dff",
    "AFFINE5_32": "c307ac4c28e727bc", "AFFINE6_32": "500f3bb207a21d3e", "AFFINE8_32": "b6fcd3233010d540",
    "AFFINE8_32_F16": "451fe0164e86c3d0",
}  # fmt: skip


@pytest.mark.parametrize("isa", FUSED)
@pytest.mark.parametrize(("name", "expected"), LINEAR.items())
def test_linear(isa: str, name: str, expected: str, numbers: Any) -> None:
    tensor = random_tensor(numbers, name, 37, odd_columns(TYPES[name]))
    x = normal(numbers, 11, tensor.shape[1])
    assert digest(linear.linear(cpu_of(isa), x, linear.pack(cpu_of(isa), tensor))) == expected


@pytest.mark.parametrize("isa", FUSED)
@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(np.float32, "b14ab1354b462776"), (np.float16, "7c3d71ff87cb966c"), (np.uint8, "229c0026e9aabbdd")],
)
def test_attention(isa: str, dtype: type, expected: str, numbers: Any) -> None:
    case = attention_case(numbers, [3, 1, 30], [600, 20, 0], (4, 2), 64, 16, 32, dtype)
    cos, sin = normal(numbers, 34, 8), normal(numbers, 34, 8)  # the case's own are rounded by the C library
    case = replace(case, rows=(*case.rows[:3], cos, sin))
    assert digest(*case.run(attention, cpu_of(isa))) == expected


@pytest.mark.parametrize("isa", FUSED)
def test_gated_delta(isa: str, numbers: Any) -> None:
    case = gated_delta_case(numbers, 19, 2, (2, 4), (40, 72), 4, False)
    weight, _, *others = case.parameters
    decay = numbers.uniform(-4, -0.1, 4).astype(np.float32)  # the case's own is rounded by the C library
    case = replace(case, parameters=(weight, decay, *others))
    assert digest(*case.run(gated_delta, cpu_of(isa))) == "50db944f8b94209b"


@pytest.mark.parametrize("isa", FUSED)
def test_vision_attention(isa: str, numbers: Any) -> None:
    cos, sin = normal(numbers, 150, 36), normal(numbers, 150, 36)
    starts = np.array([0, 61, 150], np.int32)
    out = vision_attention(cpu_of(isa), normal(numbers, 150, 3 * 2 * 72), cos, sin, starts, 2)
    assert digest(out) == "d549cc6dda7cca29"
