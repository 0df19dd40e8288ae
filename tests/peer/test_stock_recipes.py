"""Stock recipes choose for every tensor the type that llama-quantize chooses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shape_files
from quant.stock_types import BY_IMPORTANCE, CASES, FROZEN, MIXES, render
from random_members import tiny_family_config

from qwill.fit.family import distinct_members, family_config
from qwill.quant.recipes import load_recipe
from qwill.weights.shapes import typed_shapes

pytestmark = pytest.mark.peer


def assert_same_types(text: dict[str, Any], scratch: Path, mix: str, importance: bool) -> None:
    file = scratch / "shapes.gguf"
    shape_files.write_shape_file(file, text)
    statistics = shape_files.write_importance(scratch / "importance.gguf") if importance else None
    wanted = shape_files.planned_types(file, mix, statistics)
    found = {tensor.gguf: tensor.type.name for tensor in typed_shapes(text, load_recipe(mix), importance)}
    assert found == wanted, (mix, importance)


@pytest.mark.parametrize("draft_head", [False, True], ids=["plain", "drafts"])
@pytest.mark.parametrize("member", distinct_members())
def test_members(member: str, draft_head: bool, tmp_path: Path) -> None:
    text = family_config(member)["text_config"] | {"mtp_num_hidden_layers": int(draft_head)}
    for mix in MIXES:
        for importance in (False, True):
            assert_same_types(text, tmp_path, mix, importance)


@pytest.mark.parametrize("number", range(12))
def test_odd_shapes(number: int, tmp_path: Path, rng: np.random.Generator) -> None:
    """Any depth, rows that are no whole blocks, few heads, eight experts."""
    moe, tied, draft_head = (bool(bit) for bit in rng.integers(0, 2, 3))
    text = tiny_family_config(moe, tied)["text_config"] | {
        "mtp_num_hidden_layers": int(draft_head),
        "num_hidden_layers": int(rng.integers(4, 70)),
        "hidden_size": int(rng.choice([256, 288, 272, 512, 40])),
        "num_attention_heads": int(rng.choice([2, 4, 8])),
        "num_key_value_heads": int(rng.choice([1, 2])),
        "linear_num_value_heads": int(rng.choice([2, 4, 6])),
        "full_attention_interval": int(rng.choice([2, 3, 4])),
    }
    widths = [256, 96, 24, 160, 512]
    if moe:
        text["num_experts"] = int(rng.choice([2, 8, 9]))
        text["moe_intermediate_size"] = int(rng.choice(widths))
        text["shared_expert_intermediate_size"] = int(rng.choice(widths))
    else:
        text["intermediate_size"] = int(rng.choice(widths))
    print(text)
    for mix in MIXES:
        for importance in {False, mix in BY_IMPORTANCE}:
            assert_same_types(text, tmp_path, mix, importance)


def test_what_the_default_tests_compare_with_is_true(tmp_path: Path) -> None:
    assert FROZEN.read_text("utf-8") == render({case: shape_files.types_of(case, tmp_path) for case in CASES})
