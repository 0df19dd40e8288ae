"""Frames and their times in files of many kinds, against the times that were written into them."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from films import SIDE, film, number_of
from PIL import Image

from qwill.media.video import VideoFrames, VideoSettings, load_video

RANDOM = np.random.default_rng()
SETTINGS = VideoSettings(min_pixels=1)
MILLISECOND = Fraction(1, 1000)
PIXELS = {"ffv1": "bgr0", "mjpeg": "yuvj420p"}
RED, BLUE = (255, 0, 0), (0, 0, 255)


def uneven(count: int, span: int) -> list[int]:
    """Times from 0 to `span` ticks, as chance has it."""
    between = RANDOM.choice(np.arange(1, span), count - 2, replace=False)
    return [0, *sorted(between.tolist()), span]


def assert_seen_in_time(loaded: VideoFrames, times: list[float], tolerance: float = 1e-6) -> None:
    """Each picture is the one that is shown at its time; the times go evenly from the first frame to the last."""
    assert loaded.timestamps[0] == 0
    assert loaded.timestamps[-1] == pytest.approx(times[-1], abs=tolerance)
    looks = np.linspace(0, times[-1], len(loaded.timestamps))
    for pixels, seen, look in zip(loaded.pixels, loaded.timestamps, looks, strict=True):
        number = number_of(pixels)
        shown = [index for index, time in enumerate(times) if time <= look + tolerance]
        assert number == shown[-1]
        assert seen == pytest.approx(times[number], abs=tolerance) or seen == pytest.approx(look, abs=0.002)
    assert all(a < b for a, b in zip(loaded.timestamps, loaded.timestamps[1:], strict=False))


@pytest.mark.parametrize(
    ("kind", "codec", "rate", "piped"),
    [
        ("mp4", "libx264", 30, False),  # frames are reordered: the first are decoded before 0
        ("mp4", "mpeg4", 30, False),
        ("mov", "libx264", 30, False),
        ("matroska", "libx264", 30, False),
        ("matroska", "ffv1", 24, True),
        ("webm", "libvpx", 1000, True),  # as browsers record: no length, and a rate that is the clock's
        ("webm", "libvpx-vp9", 1000, True),
        ("avi", "mpeg4", 1000, False),
        ("avi", "mjpeg", 1000, False),
        ("mpegts", "libx264", 30, False),
        ("flv", "flv1", 30, False),
        ("asf", "mpeg4", 1000, False),
        ("mp4", "libx265", 30, False),
    ],
)
def test_variable_rates(kind: str, codec: str, rate: int, piped: bool) -> None:
    ticks = uneven(150, 7200)
    data = film(ticks, MILLISECOND, kind, codec, PIXELS.get(codec, "yuv420p"), rate, piped=piped)
    loaded = load_video(data, SETTINGS)
    times = [tick / 1000 for tick in ticks]
    assert len(loaded.pixels) == 14  # 7.2 seconds and the last frame's share
    # A clock of 1/90000 (MPEG-TS, MP4 here) rounds by less than that of the others.
    assert_seen_in_time(loaded, times, 2e-5)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_recording_in_fragments(codec: str) -> None:
    """As browsers and cameras record MP4: its header knows of no frames."""
    ticks = uneven(150, 7200)
    data = film(ticks, MILLISECOND, codec=codec, piped=True, muxing={"movflags": "frag_keyframe+empty_moov"})
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.video[0].frames == 0
    loaded = load_video(data, SETTINGS)
    assert len(loaded.pixels) == 14
    assert_seen_in_time(loaded, [tick / 1000 for tick in ticks], 2e-5)


def test_a_recording_of_a_browser() -> None:
    """30 frames a second, in a WebM whose header says 1000."""
    ticks = [round(number * 1000 / 30) for number in range(149)]
    data = film(ticks, MILLISECOND, "webm", "libvpx", rate=1000, piped=True)
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.video[0].average_rate == 1000
        assert container.duration is None
    loaded = load_video(data, SETTINGS)
    assert len(loaded.pixels) == 9
    assert_seen_in_time(loaded, [tick / 1000 for tick in ticks])
    assert loaded.timestamps[-1] == pytest.approx(4.933)


@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "mjpeg"])
def test_an_avi_with_a_clock_of_milliseconds(codec: str) -> None:
    """Times of decoding is all it has, and libx264 reorders frames."""
    ticks = [40 * number for number in range(100)]
    loaded = load_video(film(ticks, MILLISECOND, "avi", codec, PIXELS.get(codec, "yuv420p"), 1000), SETTINGS)
    assert len(loaded.pixels) == 8
    assert_seen_in_time(loaded, [tick / 1000 for tick in ticks])


def colours(loaded: VideoFrames) -> list[str]:
    return ["red" if pixels[..., 0].mean() > pixels[..., 2].mean() else "blue" for pixels in loaded.pixels]


def coloured(*parts: tuple[tuple[int, int, int], int]) -> list[np.ndarray]:
    return [np.full((SIDE, SIDE, 3), colour, np.uint8) for colour, count in parts for _ in range(count)]


@pytest.mark.parametrize("still", [1, 5, 50])
def test_five_seconds_of_red_then_one_of_blue(still: int) -> None:
    ticks = [450_000 // still * number for number in range(still)] + [450_000 + 1500 * number for number in range(60)]
    data = film(ticks, Fraction(1, 90_000), frames=coloured((RED, still), (BLUE, 60)))
    loaded = load_video(data, SETTINGS)
    assert colours(loaded) == ["red"] * 10 + ["blue"] * 2
    assert loaded.timestamps[-1] == pytest.approx(5 + 59 / 60)


def test_a_last_frame_that_stays() -> None:
    """A second of red, then one blue frame that is shown for five."""
    red, blue = Image.new("RGB", (SIDE, SIDE), RED), Image.new("RGB", (SIDE, SIDE), BLUE)
    reds = [red.copy() for _ in range(25)]
    for number, picture in enumerate(reds):
        picture.putpixel((0, 0), (number, 0, 0))  # or Pillow would make them one
    file = io.BytesIO()
    reds[0].save(file, "GIF", save_all=True, append_images=[*reds[1:], blue], duration=[40] * 25 + [5000])
    loaded = load_video(file.getvalue(), SETTINGS)
    assert colours(loaded) == ["red"] * 2 + ["blue"] * 10
    assert loaded.timestamps[2] == 1
    assert 5.5 < loaded.timestamps[-1] < 6


def test_a_gif_of_few_frames_with_delays_of_their_own() -> None:
    """All are seen, each at its own time."""
    delays = [100, 700, 30, 2000, 60]
    pictures = [Image.new("RGB", (SIDE, SIDE), (50 * number, 0, 0)) for number in range(5)]
    file = io.BytesIO()
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=delays)
    loaded = load_video(file.getvalue(), SETTINGS)
    assert loaded.timestamps == pytest.approx([0, 0.1, 0.8, 0.83, 2.83])
    assert [round(int(pixels[9, 9, 0]) / 50) for pixels in loaded.pixels] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("kind", "codec", "rate"),
    [("mp4", "libx264", 30), ("matroska", "libx264", 30), ("mpegts", "libx264", 30), ("avi", "mpeg4", 30)],
)
def test_constant_rates_are_sampled_by_index(kind: str, codec: str, rate: int) -> None:
    """As the released processor does it, though clocks round the times of the frames."""
    data = film(range(100), Fraction(1, rate), kind, codec, rate=rate)
    loaded = load_video(data, SETTINGS)
    indices = np.linspace(0, 99, int(100 / rate * 2)).round().astype(int).tolist()
    assert [number_of(pixels) for pixels in loaded.pixels] == indices
    assert loaded.timestamps == pytest.approx([index / rate for index in indices], rel=1e-9)


def test_a_stream_that_begins_late_and_is_joined_to_itself() -> None:
    """MPEG-TS begins at 1.4 seconds or so; at a seam its clock falls back."""
    part = film(range(40), Fraction(1, 25), "mpegts", rate=25)
    for copies in (1, 3):
        loaded = load_video(part * copies, SETTINGS)
        indices = np.linspace(0, 40 * copies - 1, max(int(40 * copies / 25 * 2), 4)).round().astype(int)
        assert [number_of(pixels) for pixels in loaded.pixels] == (indices % 40).tolist()
        assert loaded.timestamps == pytest.approx((indices / 25).tolist())


def test_uneven_parts_joined() -> None:
    ticks = uneven(120, 600_000)
    part = film(ticks, Fraction(1, 90_000), "mpegts")
    loaded = load_video(part + part, SETTINGS)
    seam = np.median(np.diff(ticks))
    times = [*ticks, *(ticks[-1] + seam + tick for tick in ticks)]
    for pixels, seen in zip(loaded.pixels, loaded.timestamps, strict=True):
        shown = [index % 120 for index, time in enumerate(times) if time / 90_000 <= seen + 1e-4]
        assert number_of(pixels) == shown[-1]
    assert loaded.timestamps[-1] == pytest.approx(times[-1] / 90_000, abs=1e-4)


def test_what_an_edit_list_cuts_off() -> None:
    """The frames before its beginning are decoded for those after, and not shown."""
    ticks = uneven(60, 3000)
    shift = ticks[20]
    data = film([tick - shift for tick in ticks], MILLISECOND, "mp4", "mpeg4", muxing={"avoid_negative_ts": "disabled"})
    with av.open(io.BytesIO(data)) as container:
        shown = [round(frame.time * 1000) for frame in container.decode(video=0)]
    loaded = load_video(data, SETTINGS, num_frames=60)
    first = 60 - len(shown)
    assert [number_of(pixels) for pixels in loaded.pixels] == list(range(first, 60))
    assert loaded.timestamps == pytest.approx([(tick - ticks[first]) / 1000 for tick in ticks[first:]], abs=1e-4)


def test_pictures_that_are_not_shown() -> None:
    """VP8 may hide reference frames in packets of their own: there are more packets than frames."""
    ticks = uneven(100, 5000)
    hidden = range(5, 100, 9)
    file = io.BytesIO()
    whole = film(ticks, MILLISECOND, "webm", "libvpx", rate=1000)
    with av.open(io.BytesIO(whole)) as container, av.open(file, "w", format="webm") as copy:
        stream = copy.add_stream_from_template(container.streams.video[0])
        for number, packet in enumerate(each for each in container.demux(video=0) if each.size):
            contents = bytearray(bytes(packet))
            if number in hidden:
                contents[0] &= ~0x10  # the bit that has it shown
            changed = av.Packet(bytes(contents))
            changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
            changed.is_keyframe, changed.stream = packet.is_keyframe, stream
            copy.mux(changed)
    loaded = load_video(file.getvalue(), SETTINGS, num_frames=100)
    shown = [number for number in range(100) if number not in hidden]
    assert [number_of(pixels) for pixels in loaded.pixels] == shown
    assert loaded.timestamps == pytest.approx([ticks[number] / 1000 for number in shown])


def test_a_stream_without_any_times() -> None:
    data = film(range(50), Fraction(1, 25), "h264", rate=25)
    loaded = load_video(data, SETTINGS)
    assert [number_of(pixels) for pixels in loaded.pixels] == [0, 16, 33, 49]
    assert loaded.timestamps == pytest.approx([0, 0.64, 1.32, 1.96])


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "libx264"), ("webm", "libvpx"), ("mpegts", "libx264")])
def test_one_frame_at_some_time(kind: str, codec: str) -> None:
    loaded = load_video(film([70], MILLISECOND, kind, codec), SETTINGS)
    assert (len(loaded.pixels), loaded.timestamps) == (1, [0])


def test_every_frame_of_a_variable_rate() -> None:
    ticks = uneven(90, 9000)
    loaded = load_video(film(ticks, MILLISECOND, "matroska"), SETTINGS, num_frames=500)
    assert [number_of(pixels) for pixels in loaded.pixels] == list(range(90))
    assert loaded.timestamps == pytest.approx([tick / 1000 for tick in ticks])
