"""Sizes before there is a file: against published bytes, parameter counts, and files that are there."""

import pytest

from qwill.errors import InvalidArgument
from qwill.fit.family import distinct_members, family_config, members
from qwill.fit.weights import (
    DRAFT_HEAD,
    EXPERTS,
    PARTS,
    QUANTS,
    VISION,
    alias_of,
    checkpoint_weights,
    known_member,
    member_weights,
    quantizations,
)
from qwill.model.config import model_config
from qwill.model.parameters import parameter_count
from qwill.weights.hub.cache import resolve_model
from qwill.weights.load import open_checkpoint
from qwill.weights.naming.models import family_member

# Published files without vision tower; the same for all members is tests/convert's matter.
PUBLISHED_Q8_0 = {
    "Qwen3.5-0.8B": 811_843_840,
    "Qwen3.5-4B": 4_482_403_488,
    "Qwen3.5-27B": 28_595_763_104,
    "Qwen3.5-122B-A10B": 129_871_935_040,
}


@pytest.mark.parametrize("member", PUBLISHED_Q8_0)
def test_published_bytes(member: str) -> None:
    weights = member_weights(member, "Q8_0", vision=False)
    assert weights.file_bytes == pytest.approx(PUBLISHED_Q8_0[member], rel=1e-4)


@pytest.mark.parametrize(("quant", "gigabytes"), [("BF16", 806.80), ("FP8", 406.1)])
def test_releases_of_the_largest(quant: str, gigabytes: float) -> None:
    """Figures known from the released checkpoints, with vision tower and draft head."""
    assert member_weights("Qwen3.5-397B-A17B", quant).file_bytes / 1e9 == pytest.approx(gigabytes, abs=0.06)


@pytest.mark.parametrize("member", members())
def test_every_parameter_is_in_one_part(member: str) -> None:
    count = parameter_count(model_config(family_config(member)))
    weights = member_weights(member, "BF16")
    assert {part.name for part in weights.parts} <= set(PARTS)
    by_part = {name: sum(part.elements for part in weights.parts if part.name == name) for name in PARTS}
    assert sum(by_part.values()) == count.total
    assert (by_part[VISION], by_part[DRAFT_HEAD]) == (count.vision, count.mtp)
    assert weights.nbytes() == 2 * count.total
    assert (by_part[EXPERTS] > 0) == ("-A" in member)


def test_fewer_bits_are_fewer_bytes() -> None:
    sizes = [member_weights("Qwen3.5-4B", quant).file_bytes for quant in ("BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")]
    assert sizes == sorted(sizes, reverse=True)


def test_quantizations_of_a_member() -> None:
    assert quantizations("Qwen3.5-397B-A17B") == QUANTS
    assert set(QUANTS) - set(quantizations("Qwen3.5-4B")) == {"FP8", "MXFP4_MOE"}
    with pytest.raises(InvalidArgument, match=r"Qwen3\.5-4B does not come in FP8; it comes in BF16, Q8_0"):
        member_weights("Qwen3.5-4B", "FP8")


def test_parts_that_are_not_wanted_are_left_out() -> None:
    alone = member_weights("Qwen3.5-4B", "BF16", draft_head=False, vision=False)
    assert {part.name for part in alone.parts}.isdisjoint((VISION, DRAFT_HEAD))


def test_a_file_has_what_its_tensors_take() -> None:
    checkpoint = open_checkpoint(resolve_model("demo"))
    weights = checkpoint_weights(checkpoint, "demo")
    assert weights.nbytes() == sum(tensor.nbytes for tensor in checkpoint.tensors)
    assert weights.quant == "Q8_0"
    assert known_member(checkpoint.config) is None


@pytest.mark.parametrize("member", members())
def test_a_configuration_is_recognized(member: str) -> None:
    config = family_config(member)
    assert known_member(config, f"org/{member}-GGUF") == member
    assert known_member(config["text_config"], member.lower()) == member
    for other in ("", "Qwen3.5-2B", "Qwen3.9-1B"):
        unnamed = known_member(config, other)
        assert unnamed in distinct_members()
        assert family_config(unnamed or "") == config
    config["text_config"]["num_hidden_layers"] -= 4
    assert known_member(config, member) is None


@pytest.mark.parametrize("member", members())
def test_aliases_lead_back(member: str) -> None:
    assert family_member(alias_of(member, "Q4_K_M")) == (member, "Q4_K_M")
    assert family_member(alias_of(member, "BF16")) == (member, "")
