"""Videos: choose frames evenly over time, decode them in one pass, cut frame pairs into patches."""

import io
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qwill.errors import CheckpointError, InvalidArgument, MediaError
from qwill.media.animation import open_animation
from qwill.media.decoding import Decoding
from qwill.media.file_kinds import is_animation, kind_of
from qwill.media.image import flatten, read_head, read_source, resize
from qwill.media.orientation import display_matrix, upright
from qwill.media.patches import Patches, PatchSettings, check_aspect, cut_patches
from qwill.media.timeline import Stamps, Timeline

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger("qwill")

UNKNOWN_RATE = 24.0  # frames per second of a video that does not say
ATTACHED_PICTURE = 1 << 10  # FFmpeg's mark of such a stream
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
    count = _frame_count(total / (rate or UNKNOWN_RATE), settings, fps, num_frames)
    return np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()


def _frame_count(seconds: float, settings: VideoSettings, fps: float | None, num_frames: int | None) -> int:
    """How many frames are asked for of a video that lasts `seconds`."""
    if fps is not None and num_frames is not None:
        raise InvalidArgument("fps and num_frames of a video exclude each other; give one")
    if fps is not None and not (fps > 0 and math.isfinite(fps)):
        raise InvalidArgument(f"fps of a video must be above 0, not {fps}")
    if num_frames is not None and num_frames < 1:
        raise InvalidArgument(f"num_frames of a video must be at least 1, not {num_frames}")
    if num_frames is not None:
        return num_frames
    wanted = int(min(seconds * (fps or settings.fps), settings.max_frames))
    return min(max(wanted, settings.min_frames), settings.max_frames)


def choose_frames(
    stamps: Stamps, rate: float, settings: VideoSettings, fps: float | None = None, num_frames: int | None = None
) -> tuple[list[int], list[float]]:
    """Which frames the model sees, and the time in seconds of each.

    As the released processor has it, by index over the stated rate (`sample_indices`), unless the frames' own times
    contradict that: then evenly over time, each with the time it is seen at (`Timeline.sample`), as many as `fps` asks
    for over the true length, within the same bounds.
    """
    timeline = Timeline.of(stamps)
    if timeline is None or not timeline.contradicts(rate):
        indices = sample_indices(len(stamps), rate, settings, fps, num_frames)
        return indices, [index / rate for index in indices]
    return timeline.sample(_frame_count(timeline.seconds, settings, fps, num_frames))


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
    """The frames that the model sees of a video or animated picture: a path, a `data:` address or the bytes of a file.

    Frames are decoded one after the other and only the chosen ones are kept, already at the model's size: memory is
    bound by `settings.max_pixels`, and grows by a few dozen bytes with each frame of the video. They are chosen by the
    times of the packets (`choose_frames`); where there turn out to be more or fewer frames than packets, they are
    chosen by their own and decoded again. Of a damaged file all is seen that can be decoded, with a warning. Raises
    MediaError when there is no video in it, nothing of it can be decoded, or reading it takes longer than `seconds`;
    InvalidArgument as `sample_indices` does.
    """
    deadline = time.monotonic() + (math.inf if seconds is None else seconds)
    with _video(source) as (container, stream, name):
        stamps = Stamps(stream.time_base)
        for packet in _until(deadline, container.demux(stream)):
            if packet.size > 0 and not packet.is_discard:
                stamps.add(packet)
        rate = float(stream.average_rate or 0) or UNKNOWN_RATE
    for _ in range(2):
        if len(stamps) == 0:
            raise MediaError(f"{name} has no frames")
        indices, timestamps = choose_frames(stamps, rate, settings, fps, num_frames)
        found = Stamps(stamps.clock, frames=True)
        with _video(source) as (container, stream, name):
            pixels = _decode(_until(deadline, container.decode(stream)), found, indices, settings)
        if len(found) == len(stamps):
            if container.damage:
                log.warning("%s %s", name, container.damage)
            return VideoFrames(np.stack([pixels[index] for index in indices]), timestamps)
        stamps = found
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
def _video(source: str | Path | bytes) -> Iterator[tuple[Any, Any, str]]:
    """The opened container, its video stream and its name. What FFmpeg and Pillow raise inside becomes MediaError."""
    opened, name = read_source(source, "video")
    if is_animation(read_head(opened)):
        with open_animation(opened, name) as animation:
            _check_pixels(animation.width * animation.height, name)
            yield animation, animation, name
    else:
        with _container(opened, name) as (container, stream):
            yield container, stream, name


@contextmanager
def _container(opened: Path | io.BytesIO, name: str) -> Iterator[tuple[Any, Any]]:
    import av

    kind = kind_of(read_head(opened))
    file = opened.open("rb") if isinstance(opened, Path) else opened
    try:
        # A playlist must not make FFmpeg read other files or addresses.
        with file, av.open(file, metadata_errors="replace", options={"protocol_whitelist": "none"}) as container:
            stream = next((each for each in container.streams.video if not _is_cover(each)), None)
            if not container.streams:
                raise MediaError(f"{name} is cut off or damaged; nothing in it can be read")
            if stream is None:
                raise MediaError(f"{name} has no video in it")
            if stream.codec_context is None:
                raise MediaError(f"{name} is in a video format that cannot be decoded here; convert it to H.264")
            _check_pixels(stream.codec_context.width * stream.codec_context.height, name)
            stream.thread_type = "AUTO"
            yield Decoding(container), stream
    except (av.error.InvalidDataError, av.error.EOFError) as error:
        if kind is None or kind.use != "video":
            raise MediaError(f"{name} is not a video that can be decoded: {error.strerror}") from error
        raise MediaError(f"{name} is {kind.name} that is cut off or damaged; nothing in it can be read") from error
    except av.error.FFmpegError as error:
        raise MediaError(f"{name} is not a video that can be decoded: {error.strerror}") from error


def _check_pixels(pixels: int, name: str) -> None:
    if pixels > MAX_FRAME_PIXELS:
        raise MediaError(f"{name} has frames of more than {MAX_FRAME_PIXELS:,} pixels; scale it down first")


def _is_cover(stream: Any) -> bool:
    """Whether it is the picture of a song or a film."""
    return bool(getattr(stream, "disposition", 0) & ATTACHED_PICTURE)


def _until(deadline: float, parts: Iterator[Any]) -> Iterator[Any]:
    """The parts of a video, as long as there is time."""
    for part in parts:
        if time.monotonic() > deadline:
            raise MediaError("reading the video takes too long; send a shorter or smaller one")
        yield part


def _decode(
    frames: Iterator[Any], stamps: Stamps, indices: list[int], settings: VideoSettings
) -> dict[int, np.ndarray]:
    """The frames of `indices` at the model's size; the times of all go into `stamps`."""
    wanted = set(indices)
    pixels: dict[int, np.ndarray] = {}
    size = None
    for index, frame in enumerate(frames):
        stamps.add(frame)
        if index in wanted:
            image = _upright(frame)
            size = size or target_size(len(indices), image.height, image.width, settings)
            pixels[index] = resize(image, *size)
    return pixels


def _upright(frame: Any) -> "Image":
    """A decoded frame as RGB image, transparency on white, turned and mirrored as the file says."""
    from PIL import Image

    has_alpha = any(component.is_alpha for component in frame.format.components)
    image = flatten(Image.fromarray(frame.to_ndarray(format="rgba"))) if has_alpha else frame.to_image()
    return upright(image, display_matrix(frame))
