"""Placement: what must hold for any machine, and sizes by hand."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qwill.fit.family import family_config
from qwill.fit.instead import instead
from qwill.fit.machines import GIB, Gpu, Host, Machine, named_machine
from qwill.fit.plan import (
    CACHES,
    Wish,
    best_quantization,
    cache_size,
    cached_weights,
    largest_batch,
    largest_context,
    nearest,
    plan,
)
from qwill.fit.weights import quantizations
from qwill.quant.types import TYPES

CHOICES = [
    ("Qwen3.5-0.8B", "Q4_K_M"), ("Qwen3.5-4B", "BF16"), ("Qwen3.5-27B", "Q8_0"), ("Qwen3.5-35B-A3B", "Q4_K_M"),
    ("Qwen3.5-397B-A17B", "Q8_0"),
]  # fmt: skip
models = st.sampled_from(CHOICES)
wishes = st.builds(Wish, st.integers(1, 262_144), st.integers(1, 8), st.sampled_from([TYPES["F16"], TYPES["Q8_0"]]))


def host(memory: int) -> Host:
    return Host("CPU", "avx2", 8, memory, 50e9, 3e12)


gpus = st.builds(
    Gpu,
    name=st.sampled_from(["one", "other"]),
    memory_bytes=st.integers(0, 200 * GIB),
    bandwidth=st.sampled_from([3e11, 9e11, 3e12]),
    bf16=st.just(1e14),
)
machines = st.builds(
    lambda ram, cards: Machine("made up", host(ram), tuple(cards)),
    st.integers(0, 900 * GIB),
    st.lists(gpus, max_size=4),
)


@settings(max_examples=200, deadline=None)
@given(models, machines, wishes)
def test_placements_add_up_and_never_exceed(model: tuple[str, str], machine: Machine, wish: Wish) -> None:
    weights = cached_weights(*model)
    placed = plan(weights, machine, wish)
    for place in placed.places:
        assert all(size >= 0 for size in place.parts.values())
        assert place.used == sum(place.parts.values())
        assert place.free + place.used == place.capacity
        if placed.fits:
            assert place.used <= place.capacity
    everything = weights.nbytes() + cache_size(weights, wish)
    assert placed.memory_bytes >= 0.999 * everything  # packed and programs come on top
    if placed.fits:
        assert placed.memory_bytes <= machine.memory_bytes
        assert sum(share.cache for share in placed.shares) == pytest.approx(1)
        for name in {part.name for part in weights.parts}:
            assert sum(share.parts.get(name, 0.0) for share in placed.shares) == pytest.approx(1), name
        assert sum(place.parts.get(CACHES, 0) for place in placed.places) == pytest.approx(
            cache_size(weights, wish), abs=4
        )
    else:
        assert placed.missing > 0


@settings(max_examples=100, deadline=None)
@given(models, machines, wishes, st.integers(0, 300 * GIB))
def test_more_memory_never_hurts(model: tuple[str, str], machine: Machine, wish: Wish, more: int) -> None:
    weights = cached_weights(*model)
    assert machine.host is not None
    assume(machine.host.memory_bytes or not machine.gpus)  # 0 beside cards: how much there is was not told
    larger = replace(machine, host=replace(machine.host, memory_bytes=machine.host.memory_bytes + more))
    if plan(weights, machine, wish).fits:
        assert plan(weights, larger, wish).fits
    assert plan(weights, larger, wish).missing <= plan(weights, machine, wish).missing + 4


@settings(max_examples=60, deadline=None)
@given(models, st.integers(1, 600), wishes)
def test_the_largest_context_is_the_largest(model: tuple[str, str], gigabytes: int, wish: Wish) -> None:
    weights, machine = cached_weights(*model), Machine("", host(gigabytes * 10**9))
    most = largest_context(weights, machine, wish)
    assert 0 <= most <= wish.context
    if most:
        assert plan(weights, machine, replace(wish, context=most)).fits
    if most + 256 <= wish.context:
        assert not plan(weights, machine, replace(wish, context=most + 256)).fits
    batch = largest_batch(weights, machine, wish)
    assert 0 <= batch <= wish.batch
    if batch:
        assert plan(weights, machine, replace(wish, batch=batch)).fits


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["Qwen3.5-4B", "Qwen3.5-35B-A3B"]), st.integers(1, 90), st.integers(1, 100_000))
def test_the_best_quantization_is_the_first_that_fits(member: str, gigabytes: int, context: int) -> None:
    machine, wish = Machine("", host(gigabytes * 10**9)), Wish(context)
    fitting = [quant for quant in quantizations(member) if plan(cached_weights(member, quant), machine, wish).fits]
    best = best_quantization(member, machine, wish)
    assert (best.quant if best else None) == (fitting[0] if fitting else None)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(CHOICES), st.integers(1, 400), wishes)
def test_what_is_suggested_fits(model: tuple[str, str], gigabytes: int, wish: Wish) -> None:
    weights, machine = cached_weights(*model), Machine("", host(gigabytes * 10**9))
    assume(not plan(weights, machine, wish).fits)
    for near in nearest(weights, model[0], machine, wish):
        assert plan(near.weights, machine, near.wish).fits, near.changed


def test_caches_by_hand() -> None:
    """The 0.8B: 12,288 bytes a token, draft head left out in GGUF; 18 states of 16 heads, 3 inputs of 6144 channels."""
    weights = cached_weights("Qwen3.5-0.8B", "Q8_0")
    state = 18 * 4 * (16 * 128 * 128 + 3 * 6144)
    assert cache_size(weights, Wish(1000, 3)) == 3 * (1000 * 12_288 + state)
    assert cache_size(weights, Wish(1000, 1, TYPES["Q8_0"])) == 1000 * 12_288 * 34 // 64 + state
    with_draft_head = cached_weights("Qwen3.5-0.8B", "BF16")
    assert cache_size(with_draft_head, Wish(1000)) == 1000 * (12_288 + 2 * 2 * 256 * 2) + state


def test_experts_go_to_ram_first() -> None:
    """What every token needs stays on the card."""
    placed = plan(cached_weights("Qwen3.5-397B-A17B", "Q4_K_M"), named_machine("RTX 4090 + 256GB RAM"), Wish(16_384))
    card, ram = placed.places
    assert placed.fits
    assert {"attention and DeltaNet", "head", CACHES} <= card.parts.keys()
    assert "attention and DeltaNet" not in ram.parts
    assert ram.parts["experts"] > 10 * card.parts["experts"]


def test_a_memory_for_all_counts_once() -> None:
    """As this machine is told when it is a Mac: with its processor, which computes in the same memory."""
    mac = named_machine("M2 Ultra 192GB")
    both = replace(mac, host=host(188 * GIB))
    weights, wish = cached_weights("Qwen3.5-397B-A17B", "UD-Q4_K_XL"), Wish(16_384)
    assert not plan(weights, both, wish).fits
    assert plan(weights, both, wish).places == plan(weights, mac, wish).places
    assert plan(cached_weights("Qwen3.5-27B", "Q8_0"), both.without_gpus(), wish).fits


# The guide's rows: does what it says fit there?
@pytest.mark.parametrize(
    ("hardware", "quant", "fits"),
    [
        ("8x H100 80GB", "FP8", True),
        ("8x H100 80GB", "BF16", False),
        ("8x A100 80GB", "Q8_0", True),
        ("M3 Ultra 256GB", "UD-Q4_K_XL", True),
        ("M2 Ultra 192GB", "UD-Q3_K_XL", True),
        ("M2 Ultra 192GB", "UD-Q4_K_XL", False),
        ("4x A100 80GB", "Q8_0", False),
        ("4x A100 80GB", "Q5_K_M", True),
        ("RTX 4090 + 256GB RAM", "UD-Q4_K_XL", True),
        ("RTX 4090", "UD-Q2_K_XL", False),
        ("RTX 3090 + RTX 3060 + 192GB RAM", "UD-Q2_K_XL", True),
    ],
)
def test_the_guides_hardware(hardware: str, quant: str, fits: bool) -> None:
    placed = plan(cached_weights("Qwen3.5-397B-A17B", quant), named_machine(hardware), Wish(16_384))
    assert placed.fits == fits


def test_instead() -> None:
    config = family_config("Qwen3.5-27B")
    assert instead(config, 5000, 10**9) == "a context of 5000 fits (--ctx 5000)"
    assert instead(config, -3, 20 * 10**9).startswith("qwen3.5:27b-")
    assert instead(config, -3, 9 * 10**9).startswith("qwen3.5:9b-")
    assert instead(config, -3, 10**6) == "take a smaller file or context"
    config["text_config"]["hidden_size"] = 77
    assert instead(config, -3, 20 * 10**9) == "take a smaller file or context"
