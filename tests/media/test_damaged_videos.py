"""Videos that are cut off or have damaged parts: all that can be decoded is seen, with its own times."""

import io
import logging
from fractions import Fraction

import av
import pytest
from films import film, number_of
from hypothesis import given
from hypothesis import strategies as st

from qwill.errors import MediaError
from qwill.media.video import VideoFrames, VideoSettings, load_video

SETTINGS = VideoSettings(min_pixels=64 * 64, max_frames=200)
FRAMES = 60
RATE = 30
CODECS = [
    ("matroska", "libx264", "yuv420p"),
    ("matroska", "mjpeg", "yuvj420p"),
    ("webm", "libvpx-vp9", "yuv420p"),
    ("mpegts", "libx264", "yuv420p"),
    ("avi", "mjpeg", "yuvj420p"),
]


@pytest.fixture(scope="module")
def films() -> dict[tuple[str, str, str], bytes]:
    return {
        kind: film(range(FRAMES), Fraction(1, RATE), kind[0], kind[1], kind[2], RATE, options={"g": "10"})
        for kind in CODECS
    }


def seen(contents: bytes) -> VideoFrames:
    return load_video(contents, SETTINGS, fps=RATE)


@pytest.mark.parametrize("kind", CODECS, ids=" ".join)
def test_a_video_that_is_cut_off(kind: tuple[str, str, str], films: dict[tuple[str, str, str], bytes]) -> None:
    video = seen(films[kind][: len(films[kind]) * 2 // 3])
    numbers = [number_of(frame) for frame in video.pixels]
    assert len(numbers) >= FRAMES // 3
    assert numbers[:-2] == list(range(len(numbers) - 2))  # of the last ones a part may be missing
    assert video.timestamps[:-2] == pytest.approx([number / RATE for number in numbers[:-2]], abs=0.002)


def test_damaged_frames_are_left_out_with_a_warning(
    films: dict[tuple[str, str, str], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    whole = films["matroska", "mjpeg", "yuvj420p"]
    with av.open(io.BytesIO(whole)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    at = whole.index(packets[20])
    with caplog.at_level(logging.WARNING, "qwill"):
        video = seen(whole[:at] + bytes(len(packets[20])) + whole[at + len(packets[20]) :])
    left = [number for number in range(FRAMES) if number != 20]
    assert [number_of(frame) for frame in video.pixels] == left
    assert video.timestamps == pytest.approx([number / RATE for number in left], abs=0.002)
    assert [record.getMessage() for record in caplog.records] == [
        "the video is damaged or cut off; 1 of its parts could not be decoded"
    ]


def test_a_recording_that_was_never_finished() -> None:
    contents = film(range(FRAMES), Fraction(1, RATE))
    with pytest.raises(MediaError, match="cut off or damaged; nothing in it can be read"):
        load_video(contents[: contents.index(b"moov") - 4], SETTINGS)


@given(
    seed=st.sampled_from(CODECS),
    place=st.lists(st.floats(0, 1, exclude_max=True), max_size=25),
    value=st.binary(min_size=1),
)
def test_any_damage(
    seed: tuple[str, str, str], place: list[float], value: bytes, films: dict[tuple[str, str, str], bytes]
) -> None:
    contents = bytearray(films[seed])
    for number, at in enumerate(place):
        contents[int(at * len(contents))] ^= value[number % len(value)]
    try:
        video = load_video(bytes(contents), SETTINGS)
    except MediaError:
        return
    assert len(video.pixels) == len(video.timestamps) > 0
