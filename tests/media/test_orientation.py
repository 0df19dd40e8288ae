"""Videos that are stored turned or mirrored: by the display matrix of MP4 and by the EXIF of frames."""

import io
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from films import film
from PIL import Image

from qwill.media.orientation import upright
from qwill.media.video import VideoSettings, load_video

RANDOM = np.random.default_rng()
SETTINGS = VideoSettings(min_pixels=1)
BLOCK = 32
# (a, b, c, d) of ISO/IEC 14496-12: what is stored at x, y is shown at a x + c y, b x + d y, with y downwards.
MATRICES = {
    "as it is": (1, 0, 0, 1),
    "mirrored": (-1, 0, 0, 1),
    "half a turn": (-1, 0, 0, -1),
    "top down": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "a quarter with the clock": (0, 1, -1, 0),
    "transposed the other way": (0, -1, -1, 0),
    "a quarter against the clock": (0, -1, 1, 0),
}


def blocks() -> np.ndarray:
    """uint8 [64, 96, 3]: six blocks of colours that survive coding."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 0, 0), (255, 255, 255)]
    places = RANDOM.permutation(6).reshape(2, 3)
    return np.array(colours, np.uint8)[places].repeat(BLOCK, 0).repeat(BLOCK, 1)


def moved(pixels: np.ndarray, matrix: tuple[int, ...]) -> np.ndarray:
    """Each pixel where the standard's formula puts it, the least row and column being 0."""
    a, b, c, d = matrix
    height, width = pixels.shape[:2]
    y, x = np.mgrid[:height, :width]
    columns, rows = a * x + c * y, b * x + d * y
    columns, rows = columns - columns.min(), rows - rows.min()
    result = np.zeros((rows.max() + 1, columns.max() + 1, 3), np.uint8)
    result[rows, columns] = pixels
    return result


def with_matrix(data: bytes, matrix: tuple[float, ...]) -> bytes:
    """The MP4 with another matrix in its track header."""
    a, b, c, d = (round(value * 65_536) for value in matrix)
    start = data.index(b"tkhd") + 4
    assert data[start] == 0, "version 0: times of 32 bits"
    place = start + 40
    assert data[place : place + 4] == struct.pack(">i", 65_536)
    return data[:place] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[place + 36 :]


def assert_looks_like(shown: np.ndarray, expected: np.ndarray) -> None:
    """The same colours in the same places; coding changes them a little, most where blocks meet."""
    assert shown.shape == expected.shape
    middles = (slice(BLOCK // 2, None, BLOCK),) * 2
    assert np.abs(shown[middles].astype(int) - expected[middles]).max() < 40


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_all_orientations_of_a_track(name: str, codec: str) -> None:
    pixels = blocks()
    data = film([0, 1], Fraction(1, 10), codec=codec, rate=10, frames=[pixels] * 2)
    loaded = load_video(with_matrix(data, MATRICES[name]), SETTINGS)
    for shown in loaded.pixels:
        assert_looks_like(shown, moved(pixels, MATRICES[name]))


@pytest.mark.parametrize("name", MATRICES)
def test_exactly(name: str) -> None:
    pixels = RANDOM.integers(0, 256, (7, 4, 3), dtype=np.uint8)
    scale = int(RANDOM.integers(1, 2**18))
    matrix = np.array(MATRICES[name]).reshape(2, 2) * scale
    np.testing.assert_array_equal(np.asarray(upright(Image.fromarray(pixels), matrix)), moved(pixels, MATRICES[name]))


def test_an_angle_between() -> None:
    """30 degrees with the clock: what is stored at the top is shown at the right of the top."""
    pixels = np.zeros((101, 101, 3), np.uint8)
    pixels[5:10, 48:53] = 255  # 43 above the middle
    shown = np.asarray(upright(Image.fromarray(pixels), np.array([[0.866, 0.5], [-0.5, 0.866]]) * 65_536))
    rows, columns = np.nonzero(shown[..., 0] > 127)
    middle = (np.array(shown.shape[:2]) - 1) / 2
    assert (rows.mean(), columns.mean()) == pytest.approx((middle[0] - 43 * 0.866, middle[1] + 43 * 0.5), abs=1.5)


@pytest.mark.parametrize("matrix", [(0, 0, 0, 0), (1, 1, 1, 1), (0, 0, 0, -1)])
def test_a_matrix_without_meaning_hurts_nobody(matrix: tuple[int, ...]) -> None:
    data = film([0, 1], Fraction(1, 10), rate=10, frames=[blocks()] * 2)
    assert len(load_video(with_matrix(data, matrix), SETTINGS).pixels) == 2


@pytest.mark.parametrize(("orientation", "name"), [*enumerate(MATRICES, start=1)])
def test_frames_that_carry_exif(orientation: int, name: str) -> None:
    """An AVI of a camera's JPEGs. FFmpeg hands on the rest of their EXIF as a kind that PyAV 18.1 has no name for."""
    pixels = blocks()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "a camera"
    jpeg, file = io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels).save(jpeg, "JPEG", exif=exif, quality=95)
    with av.open(file, "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "yuvj420p"
        for number in range(3):
            packet = av.Packet(jpeg.getvalue())
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 10), True
            packet.pts = packet.dts = number
            container.mux(packet)
    for shown in load_video(file.getvalue(), SETTINGS).pixels:
        assert_looks_like(shown, moved(pixels, MATRICES[name]))
