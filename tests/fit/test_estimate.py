"""Estimates of speed against arithmetic by hand, and against what was measured."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qwill._native import Cpu as Native
from qwill._native import available_isas

from qwill.fit.estimate import Cards, Cpu, Share, decode, expert_rows, prefill
from qwill.fit.kernels import ROWS, kernels, packed_bytes
from qwill.fit.machines import Gpu, Host
from qwill.fit.weights import PARTS, Part, member_weights
from qwill.model.config import MoeConfig
from qwill.ops.linear.native import pack
from qwill.quant.types import TYPES
from qwill.weights.random_blocks import random_blocks
from qwill.weights.tensor import Tensor

ALL = dict.fromkeys(PARTS, 1.0)


def host(bandwidth: float = 35e9, rate: float = 937e9, isa: str = "avx512_bf16") -> Host:
    return Host("CPU", isa, 2, 16 << 30, bandwidth, rate)


def on(device: Any) -> list[Share]:
    return [Share(device, ALL, 1.0)]


# docs/performance.md: member, quantization, the bandwidth measured in the same run, tokens per second of pp512 and tg.
MEASURED = [
    ("Qwen3.5-0.8B", "Q4_K_M", 34.6e9, 482.2, 54.4),
    ("Qwen3.5-0.8B", "Q8_0", 33.6e9, 503.3, 34.2),
    ("Qwen3.5-0.8B", "Q6_K", 34.9e9, 453.9, 42.7),
    ("Qwen3.5-4B", "Q4_K_M", 33.0e9, 79.8, 10.0),
]


@pytest.mark.parametrize(("member", "quant", "bandwidth", "pp512", "tg"), MEASURED)
def test_speeds_that_were_measured(member: str, quant: str, bandwidth: float, pp512: float, tg: float) -> None:
    weights = member_weights(member, quant, vision=False)
    shares = on(Cpu(host(bandwidth)))
    assert prefill(weights, shares, 512).tokens_per_second == pytest.approx(pp512, rel=0.15)
    assert decode(weights, shares, 16).tokens_per_second == pytest.approx(tg, rel=0.15)


def test_decoding_reads_every_weight_once() -> None:
    """On a processor that computes in no time: packed bytes, states twice, keys and values of 10,000 tokens."""
    weights = member_weights("Qwen3.5-0.8B", "Q8_0", vision=False)
    speed = decode(weights, on(Cpu(host(1e9, 1e18))), 10_000)
    matrices = sum(part.nbytes for part in weights.parts if not part.vectors)
    states = 2 * 18 * 4 * (16 * 128 * 128 + 3 * 6144)
    by_hand = (matrices + states) / 0.93e9 + 10_000 * 12_288 / 0.71e9
    assert sum(term.memory for term in speed.terms) == pytest.approx(by_hand, rel=1e-6)


def test_a_card_reads_at_its_share() -> None:
    weights = member_weights("Qwen3.5-27B", "Q8_0", vision=False)
    gpu = Gpu("card", 80 << 30, 1e12, 1e20)
    speed = decode(weights, on(Cards(gpu)), 0)
    read = weights.nbytes("head", "attention and DeltaNet", "feed-forward")
    read -= sum(part.nbytes for part in weights.parts if part.vectors)
    states = 2 * 48 * 4 * (48 * 128 * 128 + 3 * 10240)
    # A token's own time stands beside: 60 us for each of 64 layers.
    assert speed.seconds == pytest.approx((read + states) / 0.7e12 + 64 * 60e-6, rel=0.02)
    two = decode(weights, on(Cards(gpu, 2)), 0)
    assert speed.seconds > two.seconds > speed.seconds / 2


def test_half_of_the_experts_elsewhere() -> None:
    """Times add up: a token passes through what lies in both places."""
    weights = member_weights("Qwen3.5-35B-A3B", "Q8_0", vision=False)
    card, cpu = Cards(Gpu("card", 24 << 30, 1e12, 1e14)), Cpu(host())
    alone = decode(weights, on(card), 0).seconds
    split = decode(weights, [Share(card, ALL | {"experts": 0.5}, 1.0), Share(cpu, {"experts": 0.5})], 0)
    half = sum(term.memory for term in split.terms if term.where == "CPU" and term.what == "experts")
    bytes_of_half = weights.nbytes("experts") / 2 * 8 / 256
    assert half == pytest.approx(bytes_of_half / (35e9 * 0.93), rel=0.01)
    assert split.seconds > alone
    assert "experts (CPU)" in split.limit


@pytest.mark.parametrize("member", ["Qwen3.5-0.8B", "Qwen3.5-35B-A3B"])
def test_more_context_is_slower_and_more_together_is_faster(member: str) -> None:
    weights = member_weights(member, "Q4_K_M")
    shares = on(Cpu(host()))
    speeds = [decode(weights, shares, context).tokens_per_second for context in (0, 1000, 10_000, 100_000)]
    assert speeds == sorted(speeds, reverse=True)
    assert len(set(speeds)) == 4
    together = [decode(weights, shares, 0, batch).tokens_per_second for batch in (1, 2, 4, 8, 16)]
    assert together == sorted(together)
    reading = [prefill(weights, shares, 512, context).tokens_per_second for context in (0, 4096, 65_536)]
    assert reading == sorted(reading, reverse=True)


def test_what_binds_is_named() -> None:
    weights = member_weights("Qwen3.5-4B", "Q8_0")
    shares = on(Cpu(host()))
    assert decode(weights, shares, 0).limit.startswith("reading weights (CPU): ")
    assert prefill(weights, shares, 512).limit.startswith("computing weights (CPU): ")
    assert decode(weights, shares, 262_144).limit.startswith("reading keys and values (CPU)")


@given(st.integers(1, 4096))
def test_the_rows_of_all_experts_are_those_of_all_tokens(tokens: int) -> None:
    moe = MoeConfig(experts=256, top_k=8, intermediate_size=512, shared_intermediate_size=512)
    rows = expert_rows(moe, tokens)
    # What is left out is below RARE for each number, and at most 4096 numbers count at most 4096 rows.
    assert 256 * sum(n * chance for n, chance in rows) == pytest.approx(8 * tokens, rel=1e-3)
    assert sum(chance for _, chance in rows) == pytest.approx(1 - (1 - 8 / 256) ** tokens, abs=1e-5)


def test_all_tokens_choose_all_experts_where_each_takes_all() -> None:
    moe = MoeConfig(experts=4, top_k=4, intermediate_size=1, shared_intermediate_size=1)
    assert expert_rows(moe, 7) == ((7, 1.0),)


def test_rows_of_experts_against_drawing_them() -> None:
    moe = MoeConfig(experts=64, top_k=6, intermediate_size=1, shared_intermediate_size=1)
    rng = np.random.default_rng()
    for tokens in (2, 7, 30):
        drawn = rng.random((400, tokens, 64)).argsort(axis=2)[:, :, :6]
        counts = np.stack([np.bincount(each.ravel(), minlength=64) for each in drawn])
        for n, chance in expert_rows(moe, tokens):
            # The mean over 64 experts varies less than if each were by itself: five deviations of 25,600 draws.
            assert np.mean(counts == n) == pytest.approx(chance, abs=5 * (chance / 25_600) ** 0.5 + 1e-4), (tokens, n)


def test_a_weight_is_computed_in_tiles() -> None:
    """17 rows are two tiles of eight and one row, which takes more than an eighth of a tile."""
    own = kernels("avx512_bf16")
    for name in ("Q8_0", "Q4_K"):
        costs = [own.matrix_cost(TYPES[name], rows) for rows in range(16, 25)]
        assert costs == sorted(costs)
        assert (costs[1] - costs[0]) > 0.2 * (costs[8] - costs[0])
        assert costs[0] == 2 * own.matrix[name][ROWS.index(16)]
    assert own.matrix_cost(TYPES["Q8_0"], 1) == 2 * own.matrix["Q8_0"][0]


def test_a_matrix_is_read_once_for_all_its_rows() -> None:
    part = Part("feed-forward", TYPES["Q8_0"], 1 << 20, TYPES["Q8_0"].row_bytes(1 << 20))
    (read, few), (again, many) = (Cpu(host()).matrices(part, part.elements, rows) for rows in (8, 512))
    assert read == again
    # Two cores of 937e9 operations: what kernels.toml says for each number of rows.
    costs = kernels("avx512_bf16").matrix["Q8_0"]
    assert few == pytest.approx(2 * (1 << 20) * costs[ROWS.index(8)] / 937e9)
    assert many == pytest.approx(2 * (1 << 20) * costs[-1] / 937e9)


def test_prompts_take_longer_with_experts_than_with_dense_weights_of_their_size() -> None:
    """16 rows an expert hide less of the reading than 512 rows of a dense weight."""
    weights = member_weights("Qwen3.5-35B-A3B", "Q8_0", vision=False)
    terms = prefill(weights, on(Cpu(host())), 512).terms
    (experts,) = (term for term in terms if term.what == "experts")
    assert experts.seconds > 1.1 * experts.compute
    assert all(term.seconds < 1.01 * term.compute for term in terms if term.what == "weights")


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512", "avx512_bf16", "neon", "neon_i8mm"])
def test_every_type_has_costs_on_every_instruction_set(isa: str) -> None:
    own = kernels(isa)
    assert own.matrix.keys() == TYPES.keys()
    for name, tensor_type in TYPES.items():
        costs = [own.matrix_cost(tensor_type, rows) for rows in (1, 2, 3, 4, 5, 8, 100, 512, 1000)]
        assert all(later >= 0.7 * earlier > 0 for earlier, later in pairwise(costs)), name
        assert len(own.matrix[name]) == len(ROWS)


@pytest.mark.parametrize("name", ["F32", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0", "IQ4_XS", "IQ4_NL", "MXFP4"])
def test_packed_bytes_are_those_of_the_kernels(name: str) -> None:
    tensor_type, shape = TYPES[name], (32, 512)
    stored = random_blocks(tensor_type, shape[0] * shape[1], np.random.default_rng())
    weight = pack(Native(available_isas()[-1], 1), Tensor("w", shape, tensor_type, (stored,), "random"))
    assert packed_bytes(tensor_type, stored.nbytes) == weight.nbytes
    assert Part("head", tensor_type, shape[0] * shape[1], stored.nbytes).elements == 32 * 512
