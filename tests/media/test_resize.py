import numpy as np
import pytest
from PIL import Image
from torchvision_values import FILE, MAX_PIXELS, MIN_PIXELS, PICTURES, name, picture

from qwill.media.image import ImageSettings, preprocess_image, resize

RANDOM = np.random.default_rng()
LEVELS = ImageSettings(MIN_PIXELS, MAX_PIXELS, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), rescale=1.0)
PRECISION = 22  # bits after the point of a filter's fixed-point weights


def bicubic(x: float) -> float:
    """Keys' filter with a = -1/2."""
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * -0.5 if x < 2 else 0.0


def one_pass(pixels: np.ndarray, length: int) -> np.ndarray:
    """int64 [length, ...]: the first axis resized by an antialiased bicubic filter with fixed-point weights."""
    scale = len(pixels) / length
    stretch = max(scale, 1.0)
    rows = []
    for out in range(length):
        centre = (out + 0.5) * scale
        first = max(int(centre - 2 * stretch + 0.5), 0)
        after = min(int(centre + 2 * stretch + 0.5), len(pixels))
        weights = np.array([bicubic((x - centre + 0.5) * (1 / stretch)) for x in range(first, after)])
        weights /= sum(weights.tolist())
        fixed = np.trunc(weights * (1 << PRECISION) + np.copysign(0.5, weights)).astype(np.int64)
        sums = np.tensordot(fixed, pixels[first:after], 1) + (1 << PRECISION - 1)
        rows.append(np.clip(sums >> PRECISION, 0, 255))
    return np.stack(rows)


@pytest.mark.parametrize("which", PICTURES, ids=lambda which: name(*which))
def test_levels_are_those_of_the_processor_with_torchvision(which: tuple[str, int, int]) -> None:
    with np.load(FILE) as values:
        expected = values[name(*which)].astype(np.float32)
    patches = preprocess_image(Image.fromarray(picture(*which)), LEVELS)
    frames = patches.pixels.reshape(-1, 3, 2, 16 * 16)
    for half in (0, 1):
        assert frames[:, :, half].shape == expected.shape
        assert np.abs(frames[:, :, half] - expected).max() <= 2


@pytest.mark.parametrize("_", range(40))
def test_width_goes_first_whatever_is_cheaper(_: int) -> None:
    """Bit for bit what the arithmetic gives, so that no version of Pillow can change it."""
    (height, width), (rows, columns) = RANDOM.integers(1, 300, 2), RANDOM.integers(1, 300, 2)
    pixels = RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)
    wide = one_pass(pixels.astype(np.int64).swapaxes(0, 1), columns).swapaxes(0, 1)
    np.testing.assert_array_equal(resize(Image.fromarray(pixels), rows, columns), one_pass(wide, rows))
