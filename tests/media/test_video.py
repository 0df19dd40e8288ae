import io
import random
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from released_processors import image_processor, video_functions
from torn_files import frames_or_a_media_error

from qwill.errors import CheckpointError, InvalidArgument, MediaError
from qwill.media import video
from qwill.media.image import resize
from qwill.media.video import (
    VideoSettings,
    frame_timestamps,
    load_video,
    preprocess_video,
    sample_indices,
    target_size,
)

RANDOM = np.random.default_rng()
REFERENCE = video_functions()


def encoded(
    frames: np.ndarray, kind: str = "matroska", codec: str = "ffv1", pixels: str = "bgr0", **more: int
) -> bytes:
    """A video file of uint8 [frames, height, width, 3] at 10 frames a second; ffv1 with bgr0 loses nothing."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=Fraction(10))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixels
        if "rotation" in more:
            stream.set_display_rotation(more["rotation"])
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def noise(frames: int, height: int, width: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


@settings(deadline=None)
@given(
    st.integers(1, 100_000),
    st.one_of(st.none(), st.floats(0.1, 240)),
    st.one_of(st.none(), st.floats(0.01, 60)),
    st.one_of(st.none(), st.integers(1, 900)),
)
def test_sampling_is_that_of_the_released_processor(
    total: int, rate: float | None, fps: float | None, num_frames: int | None
) -> None:
    assume(fps is None or num_frames is None)
    assume(num_frames is None or num_frames <= total)  # the processor would show frames twice, ours gives what there is
    processor = SimpleNamespace(fps=2, min_frames=4, max_frames=768)
    metadata = SimpleNamespace(total_num_frames=total, fps=rate)
    expected = REFERENCE.sample_frames(processor, metadata, num_frames=num_frames, fps=fps).tolist()
    assert sample_indices(total, rate, VideoSettings(), fps, num_frames) == expected


def test_sampling_more_frames_than_there_are() -> None:
    assert sample_indices(3, 10, VideoSettings(), num_frames=8) == [0, 1, 2]


@pytest.mark.parametrize(
    "options", [{"fps": 0}, {"fps": -2}, {"fps": float("nan")}, {"num_frames": 0}, {"fps": 1, "num_frames": 4}]
)
def test_sampling_without_meaning(options: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument, match="of a video"):
        sample_indices(10, 10, VideoSettings(), **options)


@settings(deadline=None)
@given(
    st.integers(2, 768),
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.sampled_from([(4096, 25_165_824), (4096, 469_762_048), (131_072, 786_432)]),
)
def test_target_size_is_the_released_rule(frames: int, height: int, width: int, limits: tuple[int, int]) -> None:
    ours = VideoSettings(min_pixels=limits[0], max_pixels=limits[1])
    try:
        expected = REFERENCE.smart_resize(frames, height, width, 2, 32, *limits)
    except ValueError:
        with pytest.raises(MediaError, match="at most 200 times"):
            target_size(frames, height, width, ours)
    else:
        assert target_size(frames, height, width, ours) == expected


def test_target_size_with_a_cap_per_frame() -> None:
    capped = VideoSettings.from_config({"cap_pixels_per_frame": True, "max_video_tokens": 10})
    # Four frames of at most 10 tokens of 32 x 32 pixels: the same rule with 40,960 pixels in all.
    assert target_size(4, 480, 640, capped) == REFERENCE.smart_resize(4, 480, 640, 2, 32, 4096, 40_960)


def test_settings_come_from_the_checkpoint() -> None:
    assert VideoSettings.from_config({}) == VideoSettings()
    read = VideoSettings.from_config({"size": {"longest_edge": 9999}, "fps": 1, "max_frames": 8, "patch_size": 14})
    assert (read.max_pixels, read.fps, read.max_frames, read.patch_size) == (9999, 1, 8, 14)
    with pytest.raises(CheckpointError, match="min_frames"):
        VideoSettings.from_config({"min_frames": 0})


@pytest.mark.parametrize("count", [2, 5])
def test_patches_are_those_of_the_frames(count: int) -> None:
    """Each half of a pair's patches is that of its frame as a still image."""
    height, width = 83, 130
    frames = noise(count, height, width)
    ours = VideoSettings(min_pixels=4096, max_pixels=count * 5000)  # smaller than the frames: they are resized
    loaded = load_video(encoded(frames), ours, num_frames=count)
    patches = preprocess_video(loaded, ours)
    rows, columns = target_size(count, height, width, ours)
    assert patches.grid == ((count + 1) // 2, rows // 16, columns // 16)
    assert (rows, columns) != (height, width)
    halves = patches.pixels.reshape(patches.grid[0], -1, 3, 2, 16, 16)
    for index in range(2 * patches.grid[0]):
        frame = frames[min(index, count - 1)]
        processor = image_processor(1024, 5000)  # the same scale: its share of the video's pixels
        resized = resize(Image.fromarray(frame), rows, columns)
        still = processor(resized, return_tensors="np", input_data_format="channels_last")
        assert still.image_grid_thw[0].tolist() == [1, *patches.grid[1:]]
        expected = still.pixel_values.reshape(-1, 3, 2, 16, 16)[:, :, 0]
        np.testing.assert_array_equal(halves[index // 2, :, :, index % 2], expected)


def test_chosen_frames_and_their_times() -> None:
    frames = np.repeat(np.arange(33, dtype=np.uint8), 64 * 64 * 3).reshape(33, 64, 64, 3) * 7
    loaded = load_video(encoded(frames), VideoSettings())  # 3.3 seconds at 2 a second: 6 frames
    indices = [0, 6, 13, 19, 26, 32]
    assert [int(pixels[0, 0, 0]) // 7 for pixels in loaded.pixels] == indices
    assert loaded.timestamps == pytest.approx([index / 10 for index in indices], abs=1e-12)


def test_only_chosen_frames_are_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    converted = []
    upright = video._upright
    monkeypatch.setattr(video, "_upright", lambda frame: converted.append(frame.pts) or upright(frame))
    assert len(load_video(encoded(noise(50, 32, 32)), VideoSettings(), fps=1).pixels) == 5
    assert len(converted) == 5


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=9).map(sorted))
def test_timestamps_of_pairs(times: list[float]) -> None:
    from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

    # The processor divides indices by the rate; with a rate of 1 the indices are the times.
    expected = Qwen3VLProcessor._calculate_timestamps(None, list(times), 1, 2)
    assert frame_timestamps(times) == expected


@pytest.mark.parametrize(
    ("kind", "codec", "pixels"),
    [("mp4", "mpeg4", "yuv420p"), ("webm", "libvpx", "yuv420p"), ("gif", "gif", "rgb8"), ("avi", "mpeg4", "yuv420p")],
)
@pytest.mark.parametrize("count", [1, 7])
def test_containers(kind: str, codec: str, pixels: str, count: int, tmp_path: Path) -> None:
    path = tmp_path / f"film.{kind}"
    path.write_bytes(encoded(noise(count, 48, 64), kind, codec, pixels))
    for source in (path, str(path), path.read_bytes()):
        loaded = load_video(source, VideoSettings())
        assert len(loaded.pixels) == len(loaded.timestamps) == min(count, 4)


def test_sideways_videos_are_turned_upright() -> None:
    frames = np.zeros((2, 64, 96, 3), np.uint8)
    frames[:, :32, :32] = 255  # top left
    data = encoded(frames, "mp4", "mpeg4", "yuv420p", rotation=90)  # a quarter turn against the clock when shown
    shown = load_video(data, VideoSettings(min_pixels=1)).pixels[0]
    assert shown.shape == (96, 64, 3)
    assert shown[80, 16].min() > 200  # bottom left
    assert shown[16, 16].max() < 50


def test_a_transparent_animation_is_laid_on_white() -> None:
    pictures = [Image.new("RGBA", (64, 64), (200 * i, 0, 0, 0)) for i in range(2)]
    for i, picture in enumerate(pictures):
        picture.paste((0, 0, 255, 255), (32 * i, 0, 32 * i + 32, 64))
    file = io.BytesIO()
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], disposal=2, duration=100)
    first = load_video(file.getvalue(), VideoSettings(min_pixels=1)).pixels[0]
    assert first[5, 5].tolist() == [0, 0, 255]
    assert first[5, 60].tolist() == [255, 255, 255]


def test_a_file_that_states_too_many_frames() -> None:
    """The last of 12 packets are replaced by MPEG-4's shortest one, which shows no new frame."""
    with av.open(io.BytesIO(encoded(noise(12, 32, 32), "mp4", "mpeg4", "yuv420p"))) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        file = io.BytesIO()
        with av.open(file, "w", format="mp4") as copy:
            stream = copy.add_stream_from_template(container.streams.video[0])
            for index, packet in enumerate(packets):
                kept = packet if index < 5 else av.Packet(b"\0\0\1\xb6")
                kept.pts, kept.dts, kept.time_base = packet.pts, packet.dts, packet.time_base
                kept.stream = stream
                copy.mux(kept)
    with av.open(io.BytesIO(file.getvalue())) as container:
        assert container.streams.video[0].frames == 12
        held = [frame.time for frame in container.decode(video=0)]
    assert 0 < len(held) < 12
    loaded = load_video(file.getvalue(), VideoSettings(), num_frames=12)
    assert len(loaded.pixels) == len(held)
    assert loaded.timestamps == pytest.approx(held)


@pytest.mark.parametrize("data", [b"", b"hello" * 99, encoded(noise(3, 32, 32))[:300]])
def test_what_is_not_a_video(data: bytes) -> None:
    with pytest.raises(MediaError, match="the video is not a video that can be decoded"):
        load_video(data, VideoSettings())


def test_bad_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with pytest.raises(MediaError, match=r"film\.mp4'?: no such video"):
        load_video(path, VideoSettings())
    path.write_text("once upon a time")
    with pytest.raises(MediaError, match=r"film\.mp4 is not a video"):
        load_video(path, VideoSettings())
    with pytest.raises(MediaError, match="download it first"):
        load_video("https://example.org/film.mp4", VideoSettings())


def test_sound_without_pictures() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(MediaError, match="no video in it"):
        load_video(file.getvalue(), VideoSettings())


def test_a_stream_without_frames() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        container.start_encoding()
    with pytest.raises(MediaError, match="the video"):
        load_video(file.getvalue(), VideoSettings())


def test_a_playlist_does_not_reach_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.mkv").write_bytes(encoded(noise(2, 32, 32)))
    playlist = b"ffconcat version 1.0\nfile secret.mkv\n"
    with av.open(io.BytesIO(playlist)) as container:  # FFmpeg itself would follow it
        assert next(container.decode(video=0)).width == 32
    with pytest.raises(MediaError, match="not a video that can be decoded"):
        load_video(playlist, VideoSettings())


def test_a_ribbon_is_refused() -> None:
    with pytest.raises(MediaError, match="the video is 6432x32 pixels"):
        target_size(2, 32, 32 * 201, VideoSettings())


SEEDS = [
    encoded(noise(4, 32, 32)),
    encoded(noise(4, 32, 32), "mp4", "mpeg4", "yuv420p"),
    encoded(noise(4, 32, 32), "gif", "gif", "rgb8"),
]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(SEEDS), st.integers(0, 2**32))
def test_torn_files_give_frames_or_a_media_error(seed: bytes, random_seed: int) -> None:
    frames_or_a_media_error(seed, random.Random(random_seed), (200, 1500))
