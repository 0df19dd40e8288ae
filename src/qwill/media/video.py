"""Videos: choose frames evenly over time, decode them in one pass, cut frame pairs into patches."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qwill.errors import CheckpointError, InvalidArgument, MediaError
from qwill.media.image import flatten, read_source, resize
from qwill.media.patches import Patches, PatchSettings, check_aspect, cut_patches

if TYPE_CHECKING:
    from PIL.Image import Image

UNKNOWN_RATE = 24.0  # frames per second of a video that does not say
MAX_FRAME_PIXELS = 2**26  # twice an 8K frame; keeps one hostile frame from taking all memory


@dataclass(frozen=True)
class VideoSettings(PatchSettings):
    """How videos are prepared; `min_pixels` and `max_pixels` bound frames * height * width.

    With `cap_pixels_per_frame` a frame may also have no more than `max_video_tokens` tokens.
    """

    min_pixels: int = 4_096
    max_pixels: int = 25_165_824
    fps: float = 2.0
    min_frames: int = 4
    max_frames: int = 768
    cap_pixels_per_frame: bool = False
    max_video_tokens: int = 768

    @classmethod
    def _fields(cls, config: dict[str, Any]) -> dict[str, Any]:
        fields = super()._fields(config)
        for name in ("fps", "min_frames", "max_frames", "cap_pixels_per_frame", "max_video_tokens"):
            if (value := config.get(name)) is not None:
                if not isinstance(value, int | float) or (value <= 0 and name != "cap_pixels_per_frame"):
                    raise CheckpointError(f"preprocessor config: {name} must be a number above 0, not {value!r}")
                fields[name] = value
        return fields


@dataclass(frozen=True)
class VideoFrames:
    """Chosen frames at the model's size, uint8 [frames, height, width, 3], and the time of each in seconds."""

    pixels: np.ndarray
    timestamps: list[float]


def sample_indices(
    total: int, rate: float | None, settings: VideoSettings, fps: float | None = None, num_frames: int | None = None
) -> list[int]:
    """Which of `total` frames, shown at `rate` a second, the model sees: evenly spaced from the first to the last.

    As many as `fps` asks for, within `min_frames`, `max_frames` and `total`; or `num_frames`, at most `total`.
    Raises InvalidArgument when both are given or one is not above 0.
    """
    if fps is not None and num_frames is not None:
        raise InvalidArgument("fps and num_frames of a video exclude each other; give one")
    if fps is not None and not (fps > 0 and math.isfinite(fps)):
        raise InvalidArgument(f"fps of a video must be above 0, not {fps}")
    if num_frames is not None and num_frames < 1:
        raise InvalidArgument(f"num_frames of a video must be at least 1, not {num_frames}")
    if num_frames is None:
        wanted = int(total / (rate or UNKNOWN_RATE) * (fps or settings.fps))
        num_frames = min(max(wanted, settings.min_frames), settings.max_frames)
    return np.linspace(0, total - 1, min(num_frames, total)).round().astype(int).tolist()


def target_size(frames: int, height: int, width: int, settings: VideoSettings) -> tuple[int, int]:
    """Height and width of every frame, by the released video processor's rule.

    As for images, but the limits are on frames * height * width. Sides below one token's are first scaled up to it. A
    single frame counts as two, because it is shown twice. Raises MediaError when one side is more than 200 times the
    other.
    """
    factor, temporal = settings.factor, settings.temporal_patch_size
    frames = max(frames, temporal)
    max_pixels = settings.max_pixels
    if settings.cap_pixels_per_frame:
        cap = min(settings.max_video_tokens * factor**2, max_pixels // frames)
        max_pixels = frames * max(cap, int(settings.min_pixels * 1.05))
    if height < factor or width < factor:
        scale = max(factor / height, factor / width)
        height, width = int(height * scale), int(width * scale)
    check_aspect(height, width, "the video")
    rows, columns = round(height / factor) * factor, round(width / factor) * factor
    volume = round(frames / temporal) * temporal * rows * columns
    if volume > max_pixels:
        shrink = math.sqrt(frames * height * width / max_pixels)
        rows = max(factor, math.floor(height / shrink / factor) * factor)
        columns = max(factor, math.floor(width / shrink / factor) * factor)
    elif volume < settings.min_pixels:
        grow = math.sqrt(settings.min_pixels / (frames * height * width))
        rows = math.ceil(height * grow / factor) * factor
        columns = math.ceil(width * grow / factor) * factor
    return rows, columns


def load_video(
    source: str | Path | bytes,
    settings: VideoSettings,
    fps: float | None = None,
    num_frames: int | None = None,
    seconds: float | None = None,
) -> VideoFrames:
    """The frames that the model sees of a video or animated GIF: a path, a `data:` address or the bytes of a file.

    Frames are decoded one after the other and only the chosen ones are kept, already at the model's size: memory is
    bound by `settings.max_pixels`, not by the video's length. A frame's time is its index over the average frame rate.
    Where the file states another number of frames than it holds, the frames are chosen and decoded again by the true
    number. Raises MediaError when there is no video in it, it is damaged, or reading it takes longer than `seconds`;
    InvalidArgument as `sample_indices` does.
    """
    deadline = time.monotonic() + (math.inf if seconds is None else seconds)
    with _video(source) as (container, name):
        rate = float(container.streams.video[0].average_rate or 0) or UNKNOWN_RATE
        packets = _until(deadline, container.demux(video=0))
        total = container.streams.video[0].frames or sum(packet.size > 0 for packet in packets)
    for _ in range(2):
        if total == 0:
            raise MediaError(f"{name} has no frames")
        indices = sample_indices(total, rate, settings, fps, num_frames)
        with _video(source) as (container, name):
            pixels, decoded = _decode(_until(deadline, container.decode(video=0)), indices, settings)
        if decoded == total:
            return VideoFrames(np.stack(pixels), [index / rate for index in indices])
        total = decoded
    raise MediaError(f"{name} is damaged: the number of its frames changes from one reading to the next")


def frame_timestamps(times: Sequence[float], temporal_patch_size: int = 2) -> list[float]:
    """The time in seconds of each temporal patch: the mean of its first and last frame, an odd last one with itself."""
    padded = [*times, *[times[-1]] * (-len(times) % temporal_patch_size)]
    first, last = padded[::temporal_patch_size], padded[temporal_patch_size - 1 :: temporal_patch_size]
    return [(a + b) / 2 for a, b in zip(first, last, strict=True)]


def preprocess_video(video: VideoFrames, settings: VideoSettings) -> Patches:
    """The patches of the chosen frames, taken in pairs; an odd last frame is paired with itself."""
    return cut_patches(video.pixels, settings)


@contextmanager
def _video(source: str | Path | bytes) -> Iterator[tuple[Any, str]]:
    """The opened container, which has a video stream, and its name; FFmpeg's errors inside become MediaError."""
    import av

    opened, name = read_source(source, "video")
    stream = opened.open("rb") if isinstance(opened, Path) else opened
    try:
        # A playlist must not make FFmpeg read other files or addresses.
        with stream, av.open(stream, metadata_errors="replace", options={"protocol_whitelist": "none"}) as container:
            if not container.streams.video:
                raise MediaError(f"{name} has no video in it")
            video = container.streams.video[0]
            if video.codec_context is None:
                raise MediaError(f"{name} is in a video format that cannot be decoded here; convert it to H.264")
            if video.codec_context.width * video.codec_context.height > MAX_FRAME_PIXELS:
                raise MediaError(f"{name} has frames of more than {MAX_FRAME_PIXELS:,} pixels; scale it down first")
            video.thread_type = "AUTO"
            yield container, name
    except av.error.FFmpegError as error:
        raise MediaError(f"{name} is not a video that can be decoded: {error.strerror}") from error


def _until(deadline: float, parts: Iterator[Any]) -> Iterator[Any]:
    """The parts of a video, as long as there is time."""
    for part in parts:
        if time.monotonic() > deadline:
            raise MediaError("reading the video takes too long; send a shorter or smaller one")
        yield part


def _decode(frames: Iterator[Any], indices: list[int], settings: VideoSettings) -> tuple[list[np.ndarray], int]:
    """The frames of `indices` at the model's size, and how many frames the whole stream has."""
    wanted = set(indices)
    pixels: list[np.ndarray] = []
    size = None
    count = 0
    for count, frame in enumerate(frames, start=1):
        if count - 1 in wanted:
            image = _upright(frame)
            size = size or target_size(len(indices), image.height, image.width, settings)
            pixels.append(resize(image, *size))
    return pixels, count


def _upright(frame: Any) -> "Image":
    """A decoded frame as RGB image, transparency on white, turned as the file says (phones store portrait videos
    sideways).
    """
    from PIL import Image

    has_alpha = any(component.is_alpha for component in frame.format.components)
    image = flatten(Image.fromarray(frame.to_ndarray(format="rgba"))) if has_alpha else frame.to_image()
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image
