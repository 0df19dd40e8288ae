"""Encoders of different processors agree to the byte: each gives the bytes whose digest is recorded here.

`test_encode.py` compares the instruction sets of one processor; this is small enough to run under emulation too
(scripts/neon), and so tells that NEON's bytes are those of AVX2 and AVX-512. An encoder that is changed changes its
digest, for all sets alike: the failing test shows the new one.
"""

import numpy as np
import pytest
from digests import digest
from qwill._native import available_isas

from qwill.quant.codecs import can_encode, encode, encode_fp8
from qwill.quant.types import TYPES

DIGESTS = {
    "F32": "256af6f7881cbf8f", "F16": "e219c14cd59f3009", "BF16": "92a26c6820235c83", "Q4_0": "4b3381ced0b2cce5",
    "Q4_1": "2f4ed2125eb1e82d", "Q5_0": "613ed6363450122f", "Q5_1": "006846bca22f6261", "Q8_0": "44697345be4e7030",
    "Q2_K": "561610189cf9904a", "Q3_K": "d2203d671c7d510e", "Q4_K": "d1158fa909984167", "Q5_K": "200803f064a0cd69",
    "Q6_K": "c3c9ea8190615b98", "IQ2_XXS": "f53348be5f8e8e7d", "IQ2_XS": "11c70b15d1ba0edc",
    "IQ3_XXS": "ce84afdcbc726401", "IQ1_S": "1726dfcda8a21daa", "IQ4_NL": "9479522943a97f35",
    "IQ3_S": "994aa7e7fe4b57ed", "IQ2_S": "a4c175485b4fb644", "IQ4_XS": "f2662ae1ec5e4a45",
    "IQ1_M": "86910f264b27cf68", "MXFP4": "3bcb1492bfa8e2d0", "NVFP4": "4ceddf83fd4868f3",
}  # fmt: skip

# The others take those of one of these.
OWN_ENCODERS = [isa for isa in available_isas() if isa not in ("avx512_bf16", "neon_i8mm")]


@pytest.fixture
def values() -> np.ndarray:
    """float32 [19, 512], no whole number of sixteens: of many sizes, some rows nearly empty. The same everywhere.

    NumPy keeps this stream for ever. Products are rounded alike everywhere, powers are not.
    """
    stream = np.random.RandomState(7)
    even = stream.uniform(-1, 1, (19, 512))
    sizes = np.ldexp(1.0, stream.randint(-12, 5, (19, 1)))
    kept = stream.random_sample((19, 512)) < np.where(np.arange(19) % 5 == 4, 0.05, 1)[:, None]
    return (even * even * even * sizes * kept).astype(np.float32)  # a few large numbers among small ones


@pytest.mark.parametrize("isa", OWN_ENCODERS)
@pytest.mark.parametrize(("name", "expected"), DIGESTS.items())
def test_encoders(isa: str, name: str, expected: str, values: np.ndarray) -> None:
    even = np.random.RandomState(8).uniform(0, 1, 512)
    importance = (even * even * even).astype(np.float32)
    assert digest(encode(TYPES[name], values, isa=isa), encode(TYPES[name], values, importance, isa=isa)) == expected


@pytest.mark.parametrize("isa", available_isas())
def test_fp8(isa: str, values: np.ndarray) -> None:
    assert digest(*encode_fp8(values, isa=isa)) == "80d7764f7f821710"


def test_every_encoder_is_here() -> None:
    assert set(DIGESTS) == {name for name, tensor_type in TYPES.items() if can_encode(tensor_type)}
