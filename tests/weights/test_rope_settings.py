"""Rotary settings in every place and form, against what transformers computes from the same config.json."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from checkpoints import edit_json, edit_text_config, save_hf, tiny_config
from hypothesis import given
from hypothesis import strategies as st
from model.harness import BACKENDS, Ours, assert_same_logits, random_prompt, reference_logits
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5TextRotaryEmbedding

from qwill.cli.inspect import describe
from qwill.convert.quantize import plan_model, write_gguf
from qwill.errors import CheckpointError, InvalidArgument, QwillError, UnsupportedModel
from qwill.model.config import model_config
from qwill.model.rope import inverse_frequencies
from qwill.quant.recipes import load_recipe
from qwill.weights.load import open_checkpoint
from qwill.weights.rope_settings import rope_settings

PLAIN = {
    "rope_type": "default",
    "rope_theta": 1e7,
    "partial_rotary_factor": 0.25,
    "mrope_section": [2, 1, 1],
    "mrope_interleaved": True,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
OLD = {"type": "yarn", "factor": 4, "original_max_position_embeddings": 1024}
REPLACED = "rope_scaling takes the place of rope_parameters"
NO_THETA = "rope_scaling has no rope_theta, which then is 10000"
BESIDE = (REPLACED, NO_THETA)

# What changes in the text model's part, and what is said of it.
FORMS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "plain": ({}, ()),
    "in rope_parameters": ({"rope_parameters": PLAIN | YARN}, ()),
    "beside rope_parameters": ({"rope_scaling": YARN}, BESIDE),
    "in the old form": ({"rope_scaling": OLD}, BESIDE),
    "whole": ({"rope_scaling": PLAIN | YARN}, (REPLACED,)),
    "alone": ({"rope_scaling": PLAIN | YARN, "rope_parameters": None}, ()),
    "alone, theta beside it": ({"rope_scaling": OLD, "rope_parameters": None, "rope_theta": 5e6}, ()),
    "theta beside it": ({"rope_scaling": YARN, "rope_theta": 5e6}, (REPLACED,)),
    "share beside it": ({"rope_scaling": YARN, "partial_rotary_factor": 0.5}, BESIDE),
    "null": ({"rope_scaling": None}, ()),
    "empty": ({"rope_scaling": {}}, ()),
    "yarn and null": ({"rope_parameters": PLAIN | YARN, "rope_scaling": None}, ()),
    "yarn and default": ({"rope_parameters": PLAIN | YARN, "rope_scaling": PLAIN}, (REPLACED,)),
    "yarn twice": ({"rope_parameters": PLAIN | YARN, "rope_scaling": PLAIN | YARN}, ()),
    "two factors": ({"rope_parameters": PLAIN | YARN, "rope_scaling": PLAIN | YARN | {"factor": 2.5}}, (REPLACED,)),
    "two types": ({"rope_scaling": PLAIN | OLD | {"type": "default", "rope_type": "yarn"}}, (REPLACED,)),
    "type beside rope_type": ({"rope_parameters": PLAIN | OLD}, ("of type 'default', with which a factor does",)),
    "without the original": ({"rope_parameters": PLAIN | {"rope_type": "yarn", "factor": 3.0}}, ()),
    "original beside it": (
        {"rope_parameters": PLAIN | {"rope_type": "yarn", "factor": 4.0}, "original_max_position_embeddings": 2048},
        (),
    ),
    "original twice": ({"rope_parameters": PLAIN | YARN, "original_max_position_embeddings": 2048}, ()),
    "no positions": (
        {"rope_parameters": PLAIN | {"rope_type": "yarn", "factor": 4.0}, "max_position_embeddings": None},
        (),
    ),
    "factor null": ({"rope_parameters": PLAIN | YARN | {"factor": None}}, ()),
    "factor 1": ({"rope_parameters": PLAIN | YARN | {"factor": 1.0}}, ()),
    "whole numbers": ({"rope_parameters": PLAIN | YARN | {"factor": 4, "rope_theta": 10000000}}, ()),
    "all of YaRN": (
        {"rope_parameters": PLAIN | YARN | {"attention_factor": 1.3, "beta_fast": 20.0, "beta_slow": 2}},
        (),
    ),
    "mscale": ({"rope_parameters": PLAIN | YARN | {"mscale": 1.0, "mscale_all_dim": 0.5}}, ()),
    "half an mscale": ({"rope_parameters": PLAIN | YARN | {"mscale": 0.7}}, ()),
    "not truncated": ({"rope_parameters": PLAIN | YARN | {"truncate": False, "rope_theta": 5e4}}, ()),
    "nothing at all": ({"rope_parameters": None}, ("rope_parameters has no rope_theta, which then is 10000",)),
    "theta alone": ({"rope_parameters": None, "rope_theta": 3e6}, ()),
}


def write(folder: Path, vision: bool, text: dict[str, Any], outside: dict[str, Any] | None = None) -> dict[str, Any]:
    """A config.json of PLAIN with changes; None leaves a key out, but for rope_scaling, which is then null."""
    tiny_config(vision=vision).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    part = config.get("text_config", config)
    part |= {"rope_parameters": PLAIN} | text
    for key in [key for key, value in part.items() if value is None and key != "rope_scaling"]:
        del part[key]
    config |= outside or {}
    (folder / "config.json").write_text(json.dumps(config))
    return config


def assert_as_transformers(folder: Path, config: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of its own use of rope_scaling
        theirs = transformers.AutoConfig.from_pretrained(folder).get_text_config()
    rope = Qwen3_5TextRotaryEmbedding(theirs)
    found = model_config(config).text.rope
    frequencies, factor = inverse_frequencies(found)
    np.testing.assert_allclose(frequencies, rope.inv_freq.numpy(), rtol=1e-6)
    np.testing.assert_allclose(factor, rope.attention_scaling, rtol=1e-7)
    assert list(found.sections) == list(rope.mrope_section)


@pytest.mark.parametrize("vision", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_frequencies_are_those_of_transformers(form: str, vision: bool, tmp_path: Path) -> None:
    text, notes = FORMS[form]
    config = write(tmp_path, vision, text)
    assert_as_transformers(tmp_path, config)
    found = rope_settings(config).notes
    assert len(found) == len(notes)
    assert all(note in line for note, line in zip(notes, found, strict=True))


@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
@pytest.mark.parametrize("section", [YARN, OLD, {"rope_type": "linear", "factor": 2.0}])
def test_beside_the_text_model_s_part_it_does_nothing_and_that_is_said(
    key: str, section: dict[str, Any], tmp_path: Path
) -> None:
    """transformers ends with an error, or, where the number of positions stands there too, does nothing either."""
    outside = {key: section, "max_position_embeddings": 4096}
    config = write(tmp_path, True, {}, outside)
    assert_as_transformers(tmp_path, config)
    (note,) = rope_settings(config).notes
    assert f"{key} beside text_config does nothing; move it into text_config.rope_parameters" in note
    assert not rope_settings(write(tmp_path, True, {}, {key: PLAIN})).notes


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, UnsupportedModel, "'linear' in rope_scaling"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, UnsupportedModel, "'dynamic'"),
        ({"rope_parameters": PLAIN | {"rope_type": "longrope"}}, UnsupportedModel, "'longrope' in rope_parameters"),
        ({"rope_parameters": {"full_attention": PLAIN}}, UnsupportedModel, "differ by layer type"),
        ({"rope_parameters": PLAIN | {"rope_type": None}}, UnsupportedModel, "rope_type None"),
        ({"rope_parameters": PLAIN | {"mrope_section": [2, 2]}}, UnsupportedModel, "3 interleaved parts"),
        ({"rope_parameters": PLAIN | {"mrope_section": "211"}}, UnsupportedModel, "3 interleaved parts"),
        ({"rope_parameters": PLAIN | {"rope_type": "yarn"}}, CheckpointError, "yarn and has no factor"),
        ({"rope_parameters": PLAIN | YARN | {"factor": 0.5}}, CheckpointError, "would shorten the context"),
        ({"rope_parameters": PLAIN | YARN | {"factor": "four"}}, CheckpointError, "factor must be a positive number"),
        ({"rope_parameters": PLAIN | YARN | {"factor": True}}, CheckpointError, "must be a positive number"),
        ({"rope_parameters": PLAIN | {"rope_theta": -1}}, CheckpointError, "rope_theta must be a positive number"),
        ({"rope_parameters": PLAIN | {"rope_theta": 1.0}}, CheckpointError, "rope_theta of 1 is no base"),
        ({"rope_scaling": "yarn"}, CheckpointError, "rope_scaling must be an object"),
    ],
)
def test_what_is_refused(text: dict[str, Any], error: type[CheckpointError], words: str, tmp_path: Path) -> None:
    config = write(tmp_path, False, text)
    with pytest.raises(error, match=words):
        model_config(config)


def test_numbers_in_strings_count_as_numbers(tmp_path: Path) -> None:
    words = {"factor": "4.0", "original_max_position_embeddings": "1024", "rope_theta": "1e7"}
    found = model_config(write(tmp_path, False, {"rope_parameters": PLAIN | YARN | words})).text
    assert found == model_config(write(tmp_path, False, {"rope_parameters": PLAIN | YARN})).text


def test_mrope_adds_nothing(tmp_path: Path) -> None:
    """The older name of the default, which transformers refuses."""
    scaling = {"type": "mrope", "mrope_section": [2, 1, 1]}
    config = write(tmp_path, False, {"rope_scaling": scaling})
    assert rope_settings(config) == rope_settings(write(tmp_path, False, {}))
    alone = rope_settings(write(tmp_path, False, {"rope_scaling": scaling, "rope_parameters": None, "rope_theta": 5e6}))
    assert (alone.theta, alone.sections, alone.notes) == (5e6, (2, 1, 1), ())


def test_a_factor_that_is_asked_for_takes_the_place_of_the_file_s(tmp_path: Path) -> None:
    mscale = {"mscale": 1.0, "mscale_all_dim": 0.5, "truncate": False}
    config = write(tmp_path, False, {"rope_parameters": PLAIN | YARN | mscale})
    asked = model_config(config, yarn=2.0).text
    own = model_config(write(tmp_path, False, {"rope_parameters": PLAIN | YARN | mscale | {"factor": 2.0}})).text
    assert asked == own
    assert asked.max_position_embeddings == 4096
    assert model_config(config, yarn=8.0).text.max_position_embeddings == 8192
    with pytest.raises(InvalidArgument, match=r"YaRN factor of 0\.9"):
        model_config(config, yarn=0.9)


@pytest.mark.parametrize("form", ["beside rope_parameters", "not truncated", "mscale"])
def test_logits_notes_and_the_description(form: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seed = int(np.random.SeedSequence().generate_state(1)[0] % 2**31)
    print("seed", seed)
    made = save_hf(tmp_path / "hf", tiny_config(), seed=seed, tokenizer=True)
    text, notes = FORMS[form]
    edit_text_config(made.folder, **text)
    reference = transformers.AutoModelForCausalLM.from_pretrained(made.folder).eval()
    prompt = random_prompt(np.random.default_rng(seed), 60, 288)
    ours = Ours(made.folder, BACKENDS[-1])
    assert_same_logits(ours.logits(prompt), reference_logits(reference, prompt))
    told = [record.getMessage() for record in caplog.records if record.name == "qwill"]
    assert len(told) == len(notes)
    assert all(str(made.folder / "config.json") in line for line in told)
    assert describe(ours.checkpoint)["rope"]["yarn"] == {"factor": 4.0, "original_context": 1024}
    if form == "not truncated":
        with pytest.raises(UnsupportedModel, match="truncate = false cannot be said in GGUF"):
            plan_model(made.folder, load_recipe("F32"))
        return
    (file,) = write_gguf(plan_model(made.folder, load_recipe("F32")), tmp_path / "it.gguf")
    found, own = (model_config(open_checkpoint(path).config).text.rope for path in (file, made.folder))
    for mine, theirs in zip(inverse_frequencies(own), inverse_frequencies(found), strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=1e-6)


def test_the_settings_beside_hold_for_the_whole_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = save_hf(tmp_path, tiny_config(vision=True))
    edit_json(made.folder / "config.json", rope_scaling=YARN)
    assert describe(open_checkpoint(made.folder))["rope"]["yarn"] is None
    assert "rope_scaling beside text_config does nothing" in caplog.text


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just([1, 2, 3])
KEYS = st.sampled_from([*PLAIN, *YARN, "type", "truncate", "mscale", "mscale_all_dim", "beta_fast", "beta_slow"])
SECTIONS = st.dictionaries(KEYS, VALUES) | st.dictionaries(KEYS, VALUES).map(lambda it: PLAIN | YARN | it) | VALUES
OUTSIDE = st.sampled_from(["rope_scaling", "rope_parameters", "rope_theta", "max_position_embeddings"])


@given(text=st.dictionaries(OUTSIDE, SECTIONS), outside=st.dictionaries(OUTSIDE, SECTIONS))
def test_any_settings_are_read_or_refused(text: dict[str, Any], outside: dict[str, Any]) -> None:
    config = json.loads(tiny_config(vision=True).to_json_string(use_diff=False))
    config["text_config"] |= text
    config |= outside
    try:
        found = model_config(config).text.rope
    except QwillError as error:
        message = str(error)
        assert "\n" not in message.replace(repr("\n"), "")
        return
    frequencies, factor = inverse_frequencies(found)
    assert np.isfinite(frequencies).all()
    assert np.isfinite(factor)
