"""Pictures in the size at which the model sees them: the same rule, limits and filter as when qwill runs it."""

from dataclasses import replace

from PIL import Image

from qwill.media.image import ImageSettings, resize, target_size
from training.examples import Picture

# Small pictures are enlarged: a token sees 32 pixels of each side, and the smallest shapes have 15. Enlarged, a token
# holds one shape or a part of one, and what has to be counted and placed stands in tokens of its own.
MIN_PIXELS, MAX_PIXELS = 128 * 128, 96 * 192


def prepared(picture: Picture) -> Picture:
    """The picture in the model's size, its marks moved along."""
    settings = ImageSettings(min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS)
    height, width = picture.pixels.shape[:2]
    rows, columns = target_size(height, width, settings)
    if (rows, columns) == (height, width):
        return picture
    marks = tuple(replace(mark, x=mark.x * columns / width, y=mark.y * rows / height) for mark in picture.marks)
    return Picture(resize(Image.fromarray(picture.pixels), rows, columns), marks)
