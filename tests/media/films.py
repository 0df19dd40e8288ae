"""Films whose frames tell their own numbers, at times of one's own choice."""

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

SIDE = 64


class Pipe(io.RawIOBase):
    """What a browser records into: it can only be appended to, so that nothing is written into the header later."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.written += data
        return len(data)


def numbered(number: int) -> np.ndarray:
    """uint8 [64, 64, 3]: eight stripes, white for the bits of `number` that are set."""
    bits = [number >> bit & 1 for bit in range(8)]
    row = np.repeat(np.array(bits, np.uint8) * 255, SIDE // 8)
    return np.broadcast_to(row[None, :, None], (SIDE, SIDE, 3)).copy()


def number_of(pixels: np.ndarray) -> int:
    """The number of a frame that was loaded at its own size."""
    stripes = pixels[..., 1].reshape(SIDE, 8, SIDE // 8).mean((0, 2))
    return int(sum(1 << bit for bit in range(8) if stripes[bit] > 127))


def film(
    ticks: Sequence[int],
    clock: Fraction,
    kind: str = "mp4",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rate: int = 30,
    frames: Sequence[np.ndarray] | None = None,
    piped: bool = False,
    options: dict[str, str] | None = None,
    muxing: dict[str, str] | None = None,
) -> bytes:
    """A file of frames shown at `ticks` of `clock`; `rate` is what its header states where a format has that."""
    frames = [numbered(number) for number in range(len(ticks))] if frames is None else frames
    file = Pipe() if piped else io.BytesIO()
    with av.open(file, "w", format=kind, container_options=muxing or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pixels
        stream.codec_context.time_base = stream.time_base = clock
        for frame, tick in zip(frames, ticks, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = tick, clock
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return bytes(file.written) if isinstance(file, Pipe) else file.getvalue()
