"""The pictures of the generator's examples."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from training.evaluation.tasks import held_out_examples
from training.gallery import PICTURES, TEXTS, draw_pictures, draw_texts, lines_of, picture_of


def test_a_conversation_names_everybody_who_speaks() -> None:
    (example,) = held_out_examples("tools: chain", 3, 1)
    lines = lines_of(example)
    calls = [line.split()[1] for line in lines if line.startswith("     call")]
    assert len(calls) == sum("tool_calls" in message for message in example.messages)
    assert lines[-1].endswith(example.answer.splitlines()[-1])
    assert max(map(len, lines)) <= 84


def test_frames_of_a_video_stand_in_rows_of_four() -> None:
    (example,) = held_out_examples("video: direction", 3, 1)
    frames = example.media[0].frames
    count, height, width, _ = frames.shape
    sheet = picture_of(example)
    assert sheet.shape == (-(-count // 4) * (height + 4) - 4, 4 * (width + 4) - 4, 3)
    np.testing.assert_array_equal(sheet[height + 4 : 2 * height + 4, width + 4 : 2 * width + 4], frames[5])


@pytest.mark.parametrize(("draw", "name"), [(draw_pictures, PICTURES), (draw_texts, TEXTS)])
def test_pictures_are_small_enough_for_the_docs(draw: Any, name: str, tmp_path: Path, seed: int) -> None:
    draw(tmp_path / name, random.Random(seed))
    assert (tmp_path / name).stat().st_size < 300_000
    with Image.open(tmp_path / name) as picture:
        assert picture.width == 1200
