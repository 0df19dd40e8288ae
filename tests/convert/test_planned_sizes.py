"""Sizes from shapes alone against the bytes of published files, and against what the `gguf` package says."""

from collections import Counter
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from random_members import tiny_family_config

from qwill.convert.plan import GROUPS, PlannedTensor, file_sizes, group_of, groups, plan
from qwill.errors import InvalidArgument, UnsupportedModel
from qwill.fit.family import distinct_members, family_config
from qwill.quant.recipes import load_recipe, names
from qwill.quant.types import TYPES

DOCS = Path(__file__).parents[2] / "docs"
# Published bytes of Q8_0, which is llama.cpp's; then, for a publisher's own mixes, published bytes and by how many
# percent our file of that name is larger. Their "Q4_K_M" is not what llama-quantize chooses by that name for these
# shapes (tests/peer/test_stock_recipes.py): it spends more, and on what is not said.
PUBLISHED: dict[str, tuple[int, dict[str, tuple[int, float]]]] = {
    "0.8B": (811_843_840, {"Q4_K_M": (532_517_120, -0.60), "UD-Q4_K_XL": (558_772_480, 1.1)}),
    "2B": (2_012_012_800, {"Q4_K_M": (1_280_835_840, -0.50), "UD-Q4_K_XL": (1_339_752_704, 0.44)}),
    "4B": (4_482_403_488, {"Q4_K_M": (2_740_937_888, -1.17), "UD-Q4_K_XL": (2_912_109_728, 0.4)}),
    "9B": (9_527_502_048, {"Q4_K_M": (5_680_522_464, -0.91), "UD-Q4_K_XL": (5_966_095_584, 0.11)}),
    "27B": (28_595_763_104, {"Q4_K_M": (16_740_812_704, -1.16), "UD-Q4_K_XL": (17_621_125_024, 0.65)}),
    "35B-A3B": (36_903_139_968, {"Q4_K_M": (22_016_023_168, -3.86), "UD-Q4_K_XL": (22_241_950_336, -0.21)}),
    "122B-A10B": (129_871_935_040, {"Q4_K_M": (76_536_964_608, -3.04), "UD-Q4_K_XL": (68_357_580_224, 0.48)}),
}
# Of the 397B in GB, to the last digit known: as computed by others from its shapes, and a publisher's own mixes.
COMPUTED = {"BF16": 792.96, "Q8_0": 421.51, "Q6_K": 325.55, "Q5_K_M": 281.79, "Q4_K_M": 240.60, "MXFP4_MOE": 216.15}
OWN_MIXES = {
    "Q6_K": (342.27, -4.9), "Q5_K_M": (283.26, -0.5), "Q4_K_M": (244.094, -1.4),
    "UD-Q4_K_XL": (219.216, -0.6), "UD-Q3_K_XL": (178.74, -0.0), "UD-Q2_K_XL": (139, -0.3),
}  # fmt: skip


def published_like(member: str, recipe: str) -> list[PlannedTensor]:
    """Published files have no draft head."""
    return plan(family_config(f"Qwen3.5-{member}"), load_recipe(recipe), draft_head=False)


def percent(ours: float, published: float) -> float:
    return 100 * (ours / published - 1)


@pytest.mark.parametrize("member", PUBLISHED)
def test_published_bytes(member: str) -> None:
    """Q8_0 to a thousandth of a thousandth (0.1% is what estimates need); the other mixes with their difference."""
    exact, others = PUBLISHED[member]
    ours = file_sizes(published_like(member, "Q8_0"))["model"]
    print(f"{member} Q8_0: {ours:,} of {exact:,}, {percent(ours, exact):+.4f}%")
    assert abs(ours - exact) < 800
    found = {}
    for recipe, (published, _) in others.items():
        ours = file_sizes(published_like(member, recipe))["model"]
        print(f"{member} {recipe}: {ours:,} of {published:,}, {percent(ours, published):+.2f}%")
        found[recipe] = round(percent(ours, published), 2)
    assert found == {recipe: difference for recipe, (_, difference) in others.items()}


def test_sizes_of_the_largest_member() -> None:
    assert {
        recipe: round(file_sizes(published_like("397B-A17B", recipe))["model"] / 1e9, 2) for recipe in COMPUTED
    } == COMPUTED
    for recipe, (published, difference) in OWN_MIXES.items():
        ours = file_sizes(published_like("397B-A17B", recipe))["model"] / 1e9
        print(f"397B-A17B {recipe}: {ours:.2f} of {published} GB, {percent(ours, published):+.2f}%")
        assert round(percent(ours, published), 1) == difference
    whole = plan(family_config("Qwen3.5-397B-A17B"), load_recipe("BF16"), vision=True)
    assert round(sum(2 * tensor.elements for tensor in whole) / 1e9, 2) == 806.80  # the release: all of it in BF16


@pytest.mark.parametrize("recipe", names())
@pytest.mark.parametrize("moe", [False, True], ids=["dense", "experts"])
def test_bytes_are_those_of_the_gguf_package(recipe: str, moe: bool) -> None:
    for tensor in plan(tiny_family_config(moe), load_recipe(recipe), vision=True):
        kind = gguf.GGMLQuantizationType[tensor.type.name]
        assert np.prod(gguf.quant_shape_to_byte_shape(tensor.shape, kind)) == tensor.nbytes
        assert np.prod(tensor.shape) == tensor.elements


@pytest.mark.parametrize("member", distinct_members())
def test_groups_hold_every_tensor_once(member: str) -> None:
    vision = "vision_config" in family_config(member)
    tensors = plan(family_config(member), load_recipe("UD-Q4_K_XL"), vision=vision)
    found = groups(tensors)
    assert [group.name for group in found] == [name for name in GROUPS if name in {group.name for group in found}]
    assert sum(group.tensors for group in found) == len(tensors)
    assert sum(group.elements for group in found) == sum(tensor.elements for tensor in tensors)
    assert sum(group.nbytes for group in found) == sum(tensor.nbytes for tensor in tensors)
    for group in found:
        its = [tensor for tensor in tensors if group_of(tensor.canonical) == group.name]
        assert group.bits_per_weight == pytest.approx(
            sum(tensor.type.bits_per_weight * tensor.elements for tensor in its) / group.elements
        )
        weight = Counter[str]()
        for tensor in its:
            weight[tensor.type.name] += tensor.nbytes
        assert group.types[0] == weight.most_common(1)[0][0]
        assert set(group.types) == set(weight)
    config = family_config(member)["text_config"]
    wanted = set(GROUPS) - (set() if vision else {"vision tower"})
    wanted -= {"feed-forward"} if "num_experts" in config else {"experts", "shared expert"}
    wanted -= {"head"} if config["tie_word_embeddings"] else set()
    assert {group.name for group in found} == wanted


def test_parts_of_a_file() -> None:
    tensors = {
        t.canonical: t for t in plan(tiny_family_config(moe=True, tied=False), load_recipe("Q4_K_M"), vision=True)
    }
    parts = {
        "embed_tokens.weight": "embeddings", "lm_head.weight": "head", "norm.weight": "norms",
        "layers.0.linear_attn.A": "DeltaNet", "layers.0.linear_attn.norm.weight": "norms",
        "layers.3.self_attn.q_proj.weight": "attention", "layers.3.self_attn.q_norm.weight": "norms",
        "layers.0.mlp.gate.weight": "experts", "layers.0.mlp.experts.up_proj": "experts",
        "layers.0.mlp.shared_expert_gate.weight": "shared expert", "mtp.norm.weight": "draft head",
        "layers.0.mlp.shared_expert.up_proj.weight": "shared expert",
        "mtp.layers.0.mlp.experts.up_proj": "draft head", "visual.blocks.0.norm1.weight": "vision tower",
    }  # fmt: skip
    assert {name: group_of(tensors[name].canonical) for name in parts} == parts
    assert group_of("layers.0.mlp.up_proj.weight") == "feed-forward"


def without_vision(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "vision_config"}


def test_what_is_in_which_file() -> None:
    config = tiny_family_config()
    recipe = load_recipe("Q8_0")
    whole = plan(config, recipe, vision=True)
    plain = plan(config, recipe, draft_head=False)
    assert {t.canonical.split(".")[0] for t in whole} - {t.canonical.split(".")[0] for t in plain} == {"mtp", "visual"}
    sizes = file_sizes(whole)
    assert set(sizes) == {"model", "vision"}
    assert set(file_sizes(plain)) == {"model"}
    assert all(size % 32 == 0 for size in sizes.values())
    tower = sum(tensor.nbytes for tensor in whole if tensor.canonical.startswith("visual."))
    assert tower < sizes["vision"] < tower + 32 * len(whole) + 40_000
    half = plan(config, recipe, vision=True, vision_wanted=TYPES["Q8_0"])
    types = {tensor.name: tensor.type.name for tensor in half if tensor.canonical.startswith("visual.")}
    assert types["v.blk.0.attn_qkv.weight"] == "Q8_0"
    assert types["v.position_embd.weight"] == types["v.blk.0.attn_qkv.bias"] == "F32"
    with pytest.raises(UnsupportedModel, match=r"config\.json: has no vision_config"):
        plan(without_vision(config), recipe, vision=True)


def test_text_only_configurations_and_the_outer_key_for_ties() -> None:
    """A text-only release has no text_config; where both levels say it, the outer one counts, as in model.config."""
    config = tiny_family_config()
    recipe = load_recipe("Q4_K_M")
    assert plan(config["text_config"], recipe) == plan(config, recipe)
    untied = {tensor.name for tensor in plan(config | {"tie_word_embeddings": False}, recipe)}
    assert untied - {tensor.name for tensor in plan(config, recipe)} == {"output.weight"}


def test_importance_changes_what_depends_on_it() -> None:
    config, recipe = family_config("Qwen3.5-0.8B"), load_recipe("Q4_0")
    changed = [
        (before.name, after.type.name)
        for before, after in zip(plan(config, recipe), plan(config, recipe, importance=True), strict=True)
        if before != after
    ]
    assert changed == [(f"blk.{layer}.ffn_down.weight", "Q4_1") for layer in range(3)]


def test_a_recipe_that_does_not_suit(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('default = "Q4_K"\n[[rules]]\ntensors = ["ffn_up_exps.weight"]\ntype = "IQ3_XXS"')
    assert plan(family_config("Qwen3.5-35B-A3B"), load_recipe(str(path)))
    with pytest.raises(InvalidArgument, match=r"rule 1: 'ffn_up_exps\.weight' matches no matrix of this model"):
        plan(family_config("Qwen3.5-27B"), load_recipe(str(path)))


def test_the_page_of_recipes_says_these_sizes() -> None:
    lines = (DOCS / "recipes.md").read_text("utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| member | Q8_0 |"))
    _, *recipes = (word.strip() for word in lines[start].strip("|").split("|"))
    first = [member for member in distinct_members() if member.startswith("Qwen3.5-")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start + 2 : start + 2 + len(first)]]
    assert [f"Qwen3.5-{row[0]}" for row in rows] == first
    for member, *cells in rows:
        published: dict[str, float] = {name: size * 1e9 for name, (size, _) in OWN_MIXES.items()} | {"Q8_0": 421.507e9}
        if member in PUBLISHED:
            exact, others = PUBLISHED[member]
            published = {"Q8_0": exact} | {name: size for name, (size, _) in others.items()}
        for recipe, cell in zip(recipes, cells, strict=True):
            ours = file_sizes(published_like(member, recipe))["model"]
            known = recipe in published
            difference = f" ({round(percent(ours, published[recipe]), 1) + 0:+.1f}%)" if known else ""
            assert cell == f"{ours / 1e9:.3f}{difference}", (member, recipe)
