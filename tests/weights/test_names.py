"""The table of names against transformers' own modules and the `gguf` package's map."""

import gguf
import pytest
from checkpoints import tiny_config, tiny_model
from hypothesis import given
from hypothesis import strategies as st

from qwill.weights.names import LAYER, MTP, TOP, VISION_BLOCK, Kind, gguf_name, is_ignored_hf, place_gguf, place_hf

LAYERS = 4
TABLE = {
    **{row.canonical: row.gguf for row in TOP},
    **{row.canonical: f"blk.{LAYERS}.{row.gguf}" for row in MTP},
    **{f"layers.2.{row.canonical}": f"blk.2.{row.gguf}" for row in LAYER},
    **{f"mtp.layers.0.{row.canonical}": f"blk.{LAYERS}.{row.gguf}" for row in LAYER},
    **{f"visual.blocks.1.{row.canonical}": f"v.blk.1.{row.gguf}" for row in VISION_BLOCK},
}


@pytest.mark.parametrize("moe", [False, True])
@pytest.mark.parametrize("vision", [False, True])
def test_every_name_of_the_model_has_a_place(moe: bool, vision: bool) -> None:
    places = {}
    state = tiny_model(tiny_config(moe, vision)).state_dict()
    for name, tensor in state.items():
        place = place_hf(name)
        assert place is not None, name
        assert (place.part, place.is_scale) == (None, False)
        assert (place.kind in (Kind.MATRIX, Kind.GATE_ROW)) <= (tensor.ndim == 2)
        assert (place.kind in (Kind.EXPERTS, Kind.GATE_UP)) <= (tensor.ndim == 3)
        assert (place.kind in (Kind.NORM, Kind.VECTOR, Kind.DECAY)) <= (tensor.ndim == 1)
        places[place.name] = name
    assert len(places) == len(state)


def test_table_has_each_name_once() -> None:
    assert len(set(TABLE.values())) == len(TABLE) - len({row.gguf for row in LAYER} & {row.gguf for row in MTP})
    for canonical, name in TABLE.items():
        place = place_gguf(name, LAYERS)
        assert place is not None
        assert place.name == canonical
        assert gguf_name(canonical, LAYERS) == name


def test_gguf_names_are_those_of_the_package() -> None:
    """The package maps released names; where it maps one, the table must say the same."""
    text = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN35MOE, LAYERS + 1)
    dense = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN35, LAYERS + 1)
    tower = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, LAYERS)
    checked = 0
    for canonical, name in TABLE.items():
        released = canonical.replace("linear_attn.A", "linear_attn.A_log").replace(".dt_bias", ".dt_proj.bias")
        if not released.startswith(("visual.", "lm_head", "mtp.")):
            released = f"model.{released}"
        if "mlp.experts." in released:
            released += ".weight"
        for names in (text, dense, tower):
            mapped = names.get_name(released, try_suffixes=(".weight", ".bias"))
            if mapped is not None and not canonical.startswith(("visual.merger", "visual.patch_embed")):
                assert mapped == name, canonical
                checked += 1
                break
    assert checked == 3 + len(LAYER) + 1 + len(VISION_BLOCK)  # top without the vision's, which the converter spells out


@pytest.mark.parametrize(
    ("name", "canonical", "part", "is_scale"),
    [
        ("model.language_model.layers.7.mlp.experts.11.up_proj.weight", "layers.7.mlp.experts.up_proj", 11, False),
        ("model.layers.7.mlp.experts.11.up_proj.weight_scale_inv", "layers.7.mlp.experts.up_proj", 11, True),
        ("mtp.layers.0.mlp.experts.0.down_proj.weight", "mtp.layers.0.mlp.experts.down_proj", 0, False),
        ("model.mtp.fc.weight", "mtp.fc.weight", None, False),
        ("model.layers.0.mlp.experts.down_proj.weight", "layers.0.mlp.experts.down_proj", None, False),
        ("model.layers.0.mlp.experts.gate_up_proj_scale_inv", "layers.0.mlp.experts.gate_up_proj", None, True),
        ("visual.merger.norm.bias", "visual.merger.norm.bias", None, False),
        ("model.visual.blocks.26.attn.qkv.bias", "visual.blocks.26.attn.qkv.bias", None, False),
        ("language_model.model.layers.3.mlp.up_proj.weight", "layers.3.mlp.up_proj.weight", None, False),
        ("language_model.lm_head.weight", "lm_head.weight", None, False),
        ("model.language_model.language_model.language_model.norm.weight", "norm.weight", None, False),
        ("_orig_mod.model.layers.2._orig_mod.linear_attn.A_log", "layers.2.linear_attn.A", None, False),
        ("module._orig_mod.lm_head.weight", "lm_head.weight", None, False),
        ("base_model.model.model.language_model.embed_tokens.weight", "embed_tokens.weight", None, False),
        ("transformer.layers.1.mlp.experts.4.up_proj.weight", "layers.1.mlp.experts.up_proj", 4, False),
        ("model.language_model.mtp.layers.0.mlp.up_proj.weight", "mtp.layers.0.mlp.up_proj.weight", None, False),
        ("language_model.mtp.norm.weight", "mtp.norm.weight", None, False),
    ],
)
def test_released_names(name: str, canonical: str, part: int | None, is_scale: bool) -> None:
    place = place_hf(name)
    assert place is not None
    assert (place.name, place.part, place.is_scale) == (canonical, part, is_scale)


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.x.input_layernorm.weight",
        "model.layers.-1.input_layernorm.weight",
        "model.layers.1.input_layernorm.bias",
        "model.layers.1.linear_attn.A",
        "model.layers.1.mlp.experts.gate_proj",
        "model.layers.1.mlp.experts.1.gate_up_proj.weight",
        "model.visual.deepstack_merger_list.0.norm.weight",
        "lm_head.bias",
        "model",
        "model.",
        "models.norm.weight",
        "encoder.norm.weight",
        "model.vision.norm.weight",
        "",
    ],
)
def test_unknown_released_names(name: str) -> None:
    place = place_hf(name)
    # A released checkpoint never has the split halves; GGUF alone knows `ffn_gate_exps`.
    assert place is None or place.name == "layers.1.mlp.experts.gate_proj"


@pytest.mark.parametrize(
    "name", ["blk.0.nextn.eh_proj.weight", "blk.5.nextn.enorm.weight", "rope_freqs.weight", "v.x", "mm.1.weight"]
)
def test_unknown_gguf_names(name: str) -> None:
    assert place_gguf(name, LAYERS) is None


@given(st.text(max_size=60))
def test_no_text_is_both_known_and_ignored(name: str) -> None:
    for candidate in (name, f"model.layers.0.{name}", f"visual.blocks.0.{name}"):
        assert not (place_hf(candidate) and is_ignored_hf(candidate))
        place_gguf(candidate, LAYERS)
