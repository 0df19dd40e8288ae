"""Animated pictures that FFmpeg does not read, WebP and AVIF, as videos: through Pillow."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwill.errors import MediaError
from qwill.media.image import DAMAGES, flatten

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("WEBP", "AVIF")
MILLISECOND = Fraction(1, 1000)
SHORTEST, USUAL = 11, 100  # milliseconds: what asks for less than the one is shown for the other, as in browsers


@dataclass(frozen=True)
class Delay:
    """When a frame is shown and how long, in milliseconds, with the face of a packet of PyAV."""

    pts: int
    duration: int
    dts: int
    size: int = 1
    is_discard: bool = False


class Animation:
    """An opened animation with the face of PyAV's container and of the stream in it."""

    time_base = MILLISECOND
    damage = ""

    def __init__(self, image: "Image") -> None:
        self._image = image
        self._end = 0
        self.width, self.height = image.size

    @property
    def average_rate(self) -> Fraction:
        """Once all delays are known."""
        return Fraction(1000 * self._image.n_frames, self._end)  # type: ignore[attr-defined]

    def demux(self, _: Any) -> Iterator[Delay]:
        for start, duration in self._shown():
            yield Delay(start, duration, start)

    def decode(self, _: Any) -> Iterator[Any]:
        from av import VideoFrame

        for start, _duration in self._shown():
            frame = VideoFrame.from_image(flatten(self._image))
            frame.pts, frame.time_base = start, MILLISECOND
            yield frame

    def _shown(self) -> Iterator[tuple[int, int]]:
        """When each frame is shown and how long, while it is the image."""
        self._end = 0
        for number in range(self._image.n_frames):  # type: ignore[attr-defined]
            self._image.seek(number)
            self._image.load()
            duration = int(self._image.info.get("duration", 0))
            duration = duration if duration >= SHORTEST else USUAL
            yield self._end, duration
            self._end += duration


@contextmanager
def open_animation(opened: Path | io.BytesIO, name: str) -> Iterator[Animation]:
    """Pillow's errors inside become MediaError."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of many pixels, which the caller bounds
            with Image.open(opened, formats=FORMATS) as image:
                yield Animation(image)
    except (*DAMAGES, Image.DecompressionBombError) as error:
        raise MediaError(f"{name} is an animation that cannot be decoded: {error}") from error
