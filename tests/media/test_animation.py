"""Animated pictures as videos: by Pillow what FFmpeg does not read, and what both do."""

import io
import random

import numpy as np
import pytest
from films import SIDE, number_of, numbered
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torn_files import frames_or_a_media_error

from qwill.errors import MediaError
from qwill.media.image import load_image
from qwill.media.video import VideoSettings, load_video

SETTINGS = VideoSettings(min_pixels=1)
RANDOM = np.random.default_rng()
LOSSLESS = {"WEBP": {"lossless": True}}
KINDS = ["WEBP", "AVIF", "PNG", "GIF"]


def animation(kind: str, delays: list[int]) -> bytes:
    pictures = [Image.fromarray(numbered(number)) for number in range(len(delays))]
    file = io.BytesIO()
    more = LOSSLESS.get(kind, {})
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], duration=delays, **more)
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_few_frames_are_all_seen_at_their_own_times(kind: str) -> None:
    loaded = load_video(animation(kind, [100, 700, 30, 2000]), SETTINGS)
    assert [number_of(pixels) for pixels in loaded.pixels] == [0, 1, 2, 3]
    assert loaded.timestamps == pytest.approx([0, 0.1, 0.8, 0.83])


@pytest.mark.parametrize("kind", KINDS)
def test_uneven_delays_are_seen_evenly_in_time(kind: str) -> None:
    delays = [int(delay) for delay in RANDOM.permutation([20] * 40 + [500] * 10)]
    loaded = load_video(animation(kind, delays), SETTINGS)
    starts = np.cumsum([0, *delays[:-1]])
    looks = np.linspace(0, max(starts[-1], 5800 * 49 // 50), 11)
    assert len(loaded.pixels) == len(looks)
    for look, pixels, seen in zip(looks, loaded.pixels, loaded.timestamps, strict=True):
        number = number_of(pixels)
        assert number == np.flatnonzero(starts <= look)[-1]
        assert seen == pytest.approx(starts[number] / 1000) or seen == pytest.approx(look / 1000, abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_even_delays_are_a_constant_rate(kind: str) -> None:
    loaded = load_video(animation(kind, [40] * 50), SETTINGS)
    assert [number_of(pixels) for pixels in loaded.pixels] == [0, 16, 33, 49]
    assert loaded.timestamps == pytest.approx([0, 0.64, 1.32, 1.96])


def test_delays_that_browsers_do_not_keep() -> None:
    loaded = load_video(animation("WEBP", [0, 10, 11, 50, 0]), SETTINGS, num_frames=5)
    assert loaded.timestamps == pytest.approx([0, 0.1, 0.2, 0.211, 0.261])


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_transparency_is_laid_on_white(kind: str) -> None:
    pictures = [Image.new("RGBA", (SIDE, SIDE), (40 * number, 0, 0, 0)) for number in range(3)]
    for number, picture in enumerate(pictures):
        picture.paste((0, 0, 255, 255), (16 * number, 0, 16 * number + 16, SIDE))
    file = io.BytesIO()
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], duration=100, **LOSSLESS.get(kind, {}))
    loaded = load_video(file.getvalue(), SETTINGS)
    for number, pixels in enumerate(loaded.pixels):
        middle = pixels[5, 16 * number + 8].astype(int)
        assert np.abs(middle - [0, 0, 255]).max() < 20
        assert pixels[5, 60].min() > 235


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_frame_where_an_image_is_asked_for(kind: str) -> None:
    assert number_of(np.asarray(load_image(animation(kind, [100, 100, 100])))) == 0


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_a_torn_animation(kind: str) -> None:
    data = animation(kind, [100] * 20)
    with pytest.raises(MediaError, match="the video is an animation that cannot be decoded") as caught:
        load_video(data[: len(data) // 2], SETTINGS)
    assert "\n" not in str(caught.value)


def test_an_animation_of_too_many_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwill.media.video.MAX_FRAME_PIXELS", SIDE * SIDE - 1)
    with pytest.raises(MediaError, match="frames of more than 4,095 pixels"):
        load_video(animation("WEBP", [100] * 3), SETTINGS)


def test_the_time_is_limited() -> None:
    with pytest.raises(MediaError, match="takes too long"):
        load_video(animation("WEBP", [100] * 3), SETTINGS, seconds=0)


SEEDS = [animation("WEBP", [100, 50, 200]), animation("AVIF", [100, 50, 200]), animation("PNG", [100, 50, 200])]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(SEEDS), st.integers(0, 2**32))
def test_torn_files_give_frames_or_a_media_error(seed: bytes, random_seed: int) -> None:
    frames_or_a_media_error(seed, random.Random(random_seed), (64, 400))
