"""The family table against the published parameter counts, and against transformers' own models."""

import pytest
import torch
import transformers

from qwill.errors import ModelNotFound
from qwill.fit.family import distinct_members, family_config, members
from qwill.model.config import model_config
from qwill.model.parameters import kv_bytes_per_token, parameter_count, state_bytes

# text, vision, mtp; active text rounded to millions
COUNTS = {
    "Qwen3.8-2.4T-A95B": (2_419_804_697_984, 0, 26_378_027_520, 95_287_866_752),
    "Qwen3.5-397B-A17B": (396_346_350_336, 456_010_480, 6_595_568_128, 17_349_000_000),
    "Qwen3.5-122B-A10B": (122_111_526_912, 451_290_864, 2_523_679_232, 9_771_000_000),
    "Qwen3.5-35B-A3B": (34_660_610_688, 446_571_248, 844_640_768, 3_455_000_000),
    "Qwen3.5-27B": (26_895_998_464, 460_730_096, 424_699_392, 26_895_998_464),
    "Qwen3.5-9B": (8_953_803_264, 456_010_480, 243_290_624, 8_953_803_264),
    "Qwen3.5-4B": (4_205_751_296, 333_514_240, 120_599_552, 4_205_751_296),
    "Qwen3.5-2B": (1_881_825_088, 331_416_576, 60_828_160, 1_881_825_088),
    "Qwen3.5-0.8B": (752_393_024, 100_592_896, 20_452_864, 752_393_024),
}


def test_the_family_is_whole() -> None:
    assert distinct_members() == tuple(COUNTS)
    assert set(members()) - set(COUNTS) == {"Qwen3.6-35B-A3B", "Qwen3.8-27B", "Qwen3.6-27B"}


@pytest.mark.parametrize(
    ("member", "earlier"),
    [("Qwen3.6-35B-A3B", "Qwen3.5-35B-A3B"), ("Qwen3.8-27B", "Qwen3.5-27B"), ("Qwen3.6-27B", "Qwen3.5-27B")],
)
def test_later_releases_have_the_shapes_of_earlier_ones(member: str, earlier: str) -> None:
    assert family_config(member) == family_config(earlier)


def test_the_largest_is_a_text_model_of_the_published_size() -> None:
    config = family_config("Qwen3.8-2.4T-A95B")
    assert "vision_config" not in config
    count = parameter_count(model_config(config))
    assert (round(count.total / 1e7), round(count.active_text / 1e9)) == (244_618, 95)


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    text, vision, mtp, active = COUNTS[name]
    count = parameter_count(model_config(family_config(name)))
    assert (count.text, count.vision, count.mtp) == (text, vision, mtp)
    assert count.total == text + vision + mtp
    if active == text:
        assert count.active_text == active
    else:  # known to the million
        assert abs(count.active_text - active) <= 500_000


@pytest.mark.parametrize("name", ["Qwen3.5-397B-A17B", "Qwen3.5-27B", "Qwen3.5-0.8B"])
def test_transformers_builds_a_model_of_that_many_parameters(name: str) -> None:
    """An oracle of its own: the reference's modules, made without memory for their values."""
    config = family_config(name)
    moe = "Moe" if "num_experts" in config["text_config"] else ""
    with torch.device("meta"):
        model = getattr(transformers, f"Qwen3_5{moe}ForConditionalGeneration")(
            getattr(transformers, f"Qwen3_5{moe}Config")(**config)
        )
    text, vision, _, _ = COUNTS[name]
    # parameters() yields a tied head once
    assert sum(parameter.numel() for parameter in model.parameters()) == text + vision


@pytest.mark.parametrize(
    ("name", "kv", "state_megabytes"),
    [
        ("Qwen3.5-0.8B", 12_288, 18.9),
        ("Qwen3.5-4B", 32_768, 50.3),
        ("Qwen3.5-35B-A3B", 20_480, 62.9),
        ("Qwen3.5-397B-A17B", 30_720, 188.7),
    ],
)
def test_cache_sizes(name: str, kv: int, state_megabytes: float) -> None:
    """Known figures: 16-bit keys and values of a token; the states' matrices without the convolution's inputs."""
    text = model_config(family_config(name)).text
    assert kv_bytes_per_token(text) == kv
    conv = 4 * 3 * text.linear_channels * text.layer_types.count("linear_attention")
    assert (state_bytes(text) - conv) / 1e6 == pytest.approx(state_megabytes, abs=0.05)


def test_a_config_is_the_callers_to_change() -> None:
    first = family_config("Qwen3.5-4B")
    first["text_config"]["rope_parameters"]["rope_theta"] = 0
    first["vision_config"]["depth"] = 0
    assert family_config("Qwen3.5-4B") != first


def test_an_unknown_member_is_named_with_the_known_ones() -> None:
    with pytest.raises(ModelNotFound, match=r"Qwen3\.5-3B.*Qwen3\.5-0\.8B"):
        family_config("Qwen3.5-3B")
