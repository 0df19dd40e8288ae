import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qwill.engine import sampler
from qwill.engine.sampler import Sampler, gumbel_noise
from qwill.engine.sampling_params import DEFAULTS, SamplingParams
from qwill.errors import CheckpointError, InvalidArgument, QwillError

RANDOM = np.random.default_rng()
EVERYTHING = SamplingParams(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)


def random_logits(vocab: int, spread: float = 3) -> np.ndarray:
    return (RANDOM.standard_normal(vocab) * spread).astype(np.float32)


def chi_square_bound(degrees: int) -> float:
    """A chi-square variable exceeds this with probability below e**-25, about 1e-11 (Laurent and Massart 2000, lemma
    1).
    """
    return degrees + 2 * math.sqrt(25 * degrees) + 2 * 25


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return weights / weights.sum()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature: float) -> None:
    logits = random_logits(8, 1)
    params = replace(EVERYTHING, temperature=temperature)
    draws = Counter(
        Sampler(replace(params, seed=int(seed)), 8, []).sample(logits, 11).token
        for seed in RANDOM.integers(0, 2**63, 4_000)
    )
    expected = 4_000 * softmax(logits / np.float32(temperature))
    observed = np.array([draws[token] for token in range(8)])
    assert ((observed - expected) ** 2 / expected).sum() < chi_square_bound(7)


@pytest.mark.parametrize("step", [(1, 0), (0, 1), (2**32, 0)])
def test_neighbouring_seeds_and_positions_are_independent(step: tuple[int, int]) -> None:
    ids = np.arange(4)
    table = np.zeros((4, 4))
    start = int(RANDOM.integers(0, 2**62))
    for i in range(4000):
        # Two positions on, so that no draw is counted in two cells.
        seed, position = (start + 2 * i, 5) if step[0] else (start, 2 * i)
        first = gumbel_noise(seed, position, ids).argmax()
        second = gumbel_noise(seed + step[0], position + step[1], ids).argmax()
        table[first, second] += 1
    # 16 equally likely cells.
    assert ((table - 250) ** 2 / 250).sum() < chi_square_bound(15)


def test_noise_is_standard_gumbel() -> None:
    noise = gumbel_noise(int(RANDOM.integers(0, 2**63)), 3, np.arange(100_000))
    assert np.isfinite(noise).all()
    # exp(-exp(-noise)) is uniform: 50 equal bins of 2,000.
    counts, _ = np.histogram(np.exp(-np.exp(-noise)), bins=50, range=(0, 1))
    assert ((counts - 2000) ** 2 / 2000).sum() < chi_square_bound(49)


def test_a_draw_depends_on_seed_position_and_logits_alone() -> None:
    logits = random_logits(5000)
    params = SamplingParams(temperature=1.5, top_k=50, top_p=0.9, seed=77)
    first = [Sampler(params, 5000, [1, 2]).sample(logits, position).token for position in range(40)]
    again = Sampler(params, 5000, [3])
    for position in reversed(range(40)):  # another order, another history
        assert again.sample(logits, position).token == first[position]
        again.commit(position)
    assert len(set(first)) > 5
    assert [Sampler(replace(params, seed=78), 5000, []).sample(logits, p).token for p in range(40)] != first


def test_requests_without_a_seed_differ() -> None:
    logits = np.zeros(1000, np.float32)
    answers = {
        tuple(request.sample(logits, position).token for position in range(8))
        for request in (Sampler(EVERYTHING, 1000, []) for _ in range(4))
    }
    assert len(answers) == 4


@pytest.mark.parametrize("seed", [0, -1, -(2**63), 2**64 - 1])
def test_every_seed_of_64_bits_works(seed: int) -> None:
    assert 0 <= Sampler(replace(EVERYTHING, seed=seed), 9, []).sample(random_logits(9), 0).token < 9


def kept_by_hand(
    logits: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float
) -> tuple[set[int], float]:
    """The ids that the filters leave, one by one, and how near top-p's sum came to its limit."""
    order = sorted(range(len(logits)), key=lambda token: (-float(logits[token]), token))
    if top_k:
        order = order[:top_k]
    peak = float(logits.max())
    weights = [math.exp((float(logits[token]) - peak) / temperature) for token in order]
    total = math.fsum(weights)
    kept: list[int] = []
    margin = math.inf
    for token, weight in zip(order, weights, strict=True):
        reached = math.fsum(weights[: len(kept)]) / total
        margin = min(margin, abs(reached - top_p))
        if kept and reached >= top_p and top_p < 1:
            break
        kept.append(token)
        assert weight <= weights[0]
    return {token for token, weight in zip(kept, weights, strict=False) if weight >= min_p * weights[0]}, margin


@settings(deadline=None)
@given(
    st.lists(st.integers(-40, 40), min_size=1, max_size=150),  # halves: many ties
    st.floats(0.1, 4),
    st.integers(0, 60),
    st.one_of(st.just(1.0), st.floats(0.01, 0.999)),
    st.one_of(st.just(0.0), st.floats(0.001, 1)),
    st.sampled_from([2, 1024]),
)
def test_filters(
    halves: list[int], temperature: float, top_k: int, top_p: float, min_p: float, first_look: int
) -> None:
    logits = np.array(halves, np.float32) / 2
    expected, margin = kept_by_hand(logits, temperature, top_k, top_p, min_p)
    assume(margin > 1e-9)  # sums of up to 150 rounded terms: either side of the limit is right nearer to it
    assume(min_p in (0, 1) or not any(math.isclose((x - logits.max()) / temperature, math.log(min_p)) for x in logits))
    params = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=5)
    request = Sampler(params, len(logits), [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampler, "FIRST_LOOK", first_look)
        ids, scores = request._keep(logits)
        assert set(ids.tolist()) == expected
        assert len(ids) == len(expected)
        np.testing.assert_allclose(scores, (logits[ids].astype(np.float64) - logits.max()) / temperature, rtol=1e-12)
        assert {request.sample(logits, position).token for position in range(20)} <= expected


def test_filters_on_a_whole_vocabulary() -> None:
    logits = random_logits(248_320)
    for top_k, top_p in ((20, 0.95), (40, 1.0)):
        ids, _ = Sampler(SamplingParams(temperature=0.6, top_k=top_k, top_p=top_p), 248_320, [])._keep(logits)
        expected, margin = kept_by_hand(logits, 0.6, top_k, top_p, 0.0)
        assert margin < 1e-9 or set(ids.tolist()) == expected
    for temperature, top_p in ((0.6, 0.3), (2.0, 0.99)):  # the second keeps most of the vocabulary
        ids, _ = Sampler(SamplingParams(temperature=temperature, top_k=0, top_p=top_p), 248_320, [])._keep(logits)
        order = np.argsort(-logits, kind="stable")
        mass = np.cumsum(np.exp((logits[order].astype(np.float64) - logits.max()) / temperature))
        assert ids.tolist() == order[: len(ids)].tolist()
        # Sums of a quarter of a million float64 terms in another order: the count may be one off at the limit.
        assert abs(len(ids) - int((mass < top_p * mass[-1]).sum()) - 1) <= 1


def test_greedy_takes_the_lowest_id_of_equals() -> None:
    logits = random_logits(999)
    logits[[40, 700, 998]] = logits.max() + 1
    assert Sampler(SamplingParams(temperature=0), 999, []).sample(logits, 0).token == 40
    assert Sampler(SamplingParams(temperature=1, top_k=1), 999, []).sample(logits, 0).token == 40


def test_a_tiny_temperature_is_greedy() -> None:
    logits = random_logits(300)
    for params in (replace(EVERYTHING, temperature=1e-300), SamplingParams(temperature=1e-300)):
        assert Sampler(params, 300, []).sample(logits, 0).token == logits.argmax()


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 199), max_size=40),
    st.lists(st.integers(0, 199), max_size=150),
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.floats(0.5, 2),
)
def test_penalties(prompt: list[int], answer: list[int], presence: float, frequency: float, repetition: float) -> None:
    logits = random_logits(200)
    before = logits.copy()
    params = SamplingParams(
        temperature=0, presence_penalty=presence, frequency_penalty=frequency, repetition_penalty=repetition
    )
    request = Sampler(params, 200, prompt)
    for token in answer:
        request.commit(token)
    expected = logits.astype(np.float64)
    for token in {*prompt, *answer}:
        expected[token] = expected[token] / repetition if expected[token] > 0 else expected[token] * repetition
    for token, count in Counter(answer).items():
        expected[token] -= frequency * count + presence
    # Five float32 roundings of values below 12 * 2 + 2 * 150 + 2 < 512: each at most 2**-24 * 512.
    np.testing.assert_allclose(request._penalties.apply(logits), expected, rtol=0, atol=5 * 512 * 2.0**-24)
    assert expected[request.sample(logits, 0).token] >= expected.max() - 10 * 512 * 2.0**-24
    np.testing.assert_array_equal(logits, before)


def test_logprobs_are_those_of_the_raw_logits() -> None:
    logits = random_logits(5001)
    expected = torch.log_softmax(torch.from_numpy(logits).double(), 0).numpy()
    params = SamplingParams(temperature=2, presence_penalty=2, repetition_penalty=1.5, logprobs=7, seed=1)
    request = Sampler(params, 5001, list(range(100)))
    sampled = request.sample(logits, 4)
    assert sampled.logprob is not None
    assert sampled.top is not None
    # exp of a float32 is right to 2**-22 or so, so is the sum of them, so is its logarithm's error, absolutely.
    assert sampled.logprob == pytest.approx(expected[sampled.token], abs=1e-6)
    best = np.argsort(-expected, kind="stable")[:7]
    assert [token for token, _ in sampled.top] == best.tolist()
    assert [value for _, value in sampled.top] == pytest.approx(expected[best], abs=1e-6)


def test_logprobs_only_when_asked() -> None:
    logits = random_logits(10)
    silent = Sampler(SamplingParams(temperature=0), 10, []).sample(logits, 0)
    assert (silent.logprob, silent.top) == (None, None)
    chosen = Sampler(SamplingParams(temperature=0, logprobs=0), 10, []).sample(logits, 0)
    assert chosen.logprob is not None
    assert chosen.top == []


def test_forbidden_tokens_are_never_drawn() -> None:
    logits = np.full(1000, -np.inf, np.float32)
    logits[[3, 998]] = -50, -51
    for params in (EVERYTHING, SamplingParams(), SamplingParams(top_k=0, top_p=0.99), replace(EVERYTHING, logprobs=9)):
        request = Sampler(params, 1000, [3, 998])
        drawn = [request.sample(logits, position) for position in range(50)]
        assert {sampled.token for sampled in drawn} <= {3, 998}
    assert drawn[0].top is not None
    assert [token for token, _ in drawn[0].top] == [3, 998]


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize(("bad", "message"), [(np.nan, "produced NaN"), (np.inf, "produced infinity")])
def test_broken_logits(bad: float, message: str, temperature: float) -> None:
    logits = random_logits(100)
    logits[57] = bad
    with pytest.raises(QwillError, match=f"{message} at position 12"):
        Sampler(SamplingParams(temperature=temperature), 100, []).sample(logits, 12)


def test_all_forbidden() -> None:
    with pytest.raises(QwillError, match="every token is forbidden"):
        Sampler(SamplingParams(), 10, []).sample(np.full(10, -np.inf, np.float32), 0)


def test_parameters_come_from_the_request_then_the_checkpoint_then_the_family() -> None:
    config = {"temperature": 0.9, "top_k": 7, "top_p": None, "do_sample": True, "eos_token_id": [1, 2]}
    resolved = SamplingParams(top_k=3, seed=4, stop=["."]).resolve(config)
    assert resolved == SamplingParams(0.9, DEFAULTS["top_p"], 3, 0, 0, 0, 1, seed=4, stop=(".",))
    assert SamplingParams().resolve({"do_sample": False}).temperature == 0
    assert SamplingParams(temperature=1).resolve({"do_sample": False}).temperature == 1
    with pytest.raises(CheckpointError, match="generation_config: top_p"):
        SamplingParams().resolve({"top_p": 7})
    assert SamplingParams(top_p=0.5).resolve({"top_p": 7}).top_p == 0.5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", "hot"),
        ("top_p", -0.01),
        ("top_p", 1.01),
        ("top_k", -1),
        ("top_k", 2.5),
        ("top_k", True),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("presence_penalty", 2.1),
        ("frequency_penalty", -2.1),
        ("repetition_penalty", 0),
        ("seed", 2**64),
        ("seed", 1.0),
        ("max_tokens", 0),
        ("logprobs", -1),
        ("logprobs", 101),
        ("stop", ""),
        ("stop", [""]),
        ("stop", 5),
    ],
)
def test_parameters_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(InvalidArgument, match=f"^{field} must be "):
        SamplingParams(**{field: value})


def test_one_stop_text() -> None:
    assert SamplingParams(stop="end").stop == ("end",)


def test_filters_at_their_exact_limits() -> None:
    equal = np.zeros(4, np.float32)
    assert Sampler(SamplingParams(top_k=0, top_p=0.5), 4, [])._keep(equal)[0].tolist() == [0, 1]
    assert Sampler(SamplingParams(top_k=3, top_p=1, min_p=1), 4, [])._keep(equal)[0].tolist() == [0, 1, 2]


def test_penalties_of_a_long_answer() -> None:
    logits = random_logits(400)
    request = Sampler(SamplingParams(temperature=0, frequency_penalty=0.5), 400, [])
    answer = RANDOM.permutation(400)[:300].tolist()
    for token in answer:
        request.commit(token)
    expected = logits.copy()
    expected[answer] -= np.float32(0.5)
    np.testing.assert_array_equal(request._penalties.apply(logits), expected)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_biases_are_added_to_the_logits(temperature: float) -> None:
    """A biased draw is the draw from biased logits; -100 is never drawn, and drafts guess as the draw goes."""
    params = replace(EVERYTHING, temperature=temperature, seed=int(RANDOM.integers(2**63)))
    chosen = RANDOM.choice(50, 10, replace=False)
    biases = {int(token): float(RANDOM.uniform(-5, 5)) for token in chosen[:9]} | {int(chosen[9]): -100.0}
    for position in range(200):
        logits = random_logits(50)
        moved = logits.copy()
        for token, value in biases.items():
            moved[token] += np.float32(value if value > -100 else -np.inf)
        biased = Sampler(replace(params, logit_bias=biases), 50, [])
        drawn = biased.sample(logits, position).token
        assert drawn == Sampler(params, 50, []).sample(moved, position).token != chosen[9]
        assert biased.guess(logits, position, np.arange(50)) == drawn


def test_a_bias_against_every_token_forbids_nothing() -> None:
    params = SamplingParams(temperature=0, logit_bias=dict.fromkeys(range(5), -100))
    assert Sampler(params, 5, []).sample(np.arange(5, dtype=np.float32), 0).token == 4


@pytest.mark.parametrize("bias", [{"x": 1}, {1: "y"}, {-1: 0}, {1: 100.5}, {1: math.nan}, [1, 2], "1"])
def test_bad_biases(bias: object) -> None:
    with pytest.raises(InvalidArgument, match="logit_bias"):
        SamplingParams(logit_bias=bias)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="outside the vocabulary of 5"):
        Sampler(SamplingParams(logit_bias={5: 1.0}), 5, [])
