"""The demonstration model as the package carries it."""

from pathlib import Path

import pytest

from qwill import LLM
from qwill.cli.chat import EXAMPLES, PICTURE_EXAMPLE
from qwill.cli.inspect import describe
from qwill.engine.sampling_params import SamplingParams
from qwill.media.image import ImageSettings
from qwill.media.video import VideoSettings
from qwill.weights.hub.cache import resolve_model

RED_CIRCLE = Path(__file__).parents[1] / "docs" / "red_circle.png"


@pytest.fixture(scope="module")
def demo() -> LLM:
    return LLM("demo", threads=1)


def test_the_package_carries_a_pair_of_files_and_nothing_else() -> None:
    """16 MB is what a wheel may spend on it."""
    files = {file.name: file.stat().st_size for file in resolve_model("demo").parent.iterdir()}
    assert sorted(files) == ["demo.gguf", "mmproj-demo.gguf"]
    assert sum(files.values()) <= 16_000_000


def test_it_has_every_part_of_the_family(demo: LLM) -> None:
    described = describe(demo.checkpoint)
    assert described["architecture"] == "qwen3_5_moe"
    assert described["vision"] is not None
    assert described["layers"]["mtp"] == 1
    assert described["experts"]["total"] >= 16
    assert described["chat_template"] == "the model's own"
    assert next(iter(described["tensor_types"])) == "Q8_0"


def test_it_is_greedy_unless_asked_otherwise(demo: LLM) -> None:
    given = demo.checkpoint.generation_config
    assert SamplingParams().resolve(given).temperature == 0
    assert SamplingParams(temperature=0.9).resolve(given).temperature == 0.9


def test_pictures_come_in_the_sizes_it_was_trained_on(demo: LLM) -> None:
    """Its limits are far below the family's, which would hold if the files did not say."""
    images, videos = demo.checkpoint.image_processor, demo.checkpoint.video_processor
    assert ImageSettings.from_config(images).max_pixels < ImageSettings().min_pixels
    assert VideoSettings.from_config(videos).max_frames < VideoSettings().max_frames
    assert VideoSettings.from_config(videos).max_pixels < VideoSettings().max_pixels


@pytest.mark.parametrize("example", EXAMPLES)
def test_what_the_greeting_proposes_is_answered(demo: LLM, example: str) -> None:
    answer = demo.chat([{"role": "user", "content": example}], SamplingParams(max_tokens=200))
    assert answer.finish_reason == "stop"
    assert answer.text
    assert "never taught" not in answer.text
    assert ("42" in answer.text) == ("17 + 25" in example)


def test_a_picture_is_seen(demo: LLM) -> None:
    content = [{"type": "image", "image": RED_CIRCLE}, {"type": "text", "text": PICTURE_EXAMPLE}]
    answer = demo.chat([{"role": "user", "content": content}], SamplingParams(max_tokens=100), thinking=False)
    assert "red circle" in answer.text.lower()
