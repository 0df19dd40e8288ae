"""Pictures are trained in the size at which qwill gives them to the model."""

import numpy as np
import pytest
from PIL import Image
from training.examples import Mark, Picture
from training.export import processor
from training.preparation import MAX_PIXELS, MIN_PIXELS, prepared
from training.vision import MERGE, PATCH, patches

from qwill.media.image import ImageSettings, preprocess_image


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 128), (128, 128), (96, 192), (160, 96)])
def test_as_the_exported_processor_prepares_them(height: int, width: int) -> None:
    pixels = np.random.default_rng().integers(0, 256, (height, width, 3), np.uint8)
    picture = prepared(Picture(pixels))
    rows, columns = picture.pixels.shape[:2]
    assert rows * columns >= MIN_PIXELS
    settings = ImageSettings.from_config(processor("image_processor_type", MIN_PIXELS, MAX_PIXELS))
    expected = preprocess_image(Image.fromarray(pixels), settings)
    assert expected.grid == (1, rows // PATCH, columns // PATCH)
    assert settings.merge_size == MERGE
    # qwill's patches hold the picture twice, for the two frames of a patch
    ours = patches(picture.pixels[None]).reshape(-1, 3, PATCH * PATCH)
    theirs = expected.pixels.reshape(-1, 3, 2, PATCH * PATCH)
    np.testing.assert_allclose(ours, theirs[:, :, 0], atol=1e-6)
    np.testing.assert_array_equal(theirs[:, :, 0], theirs[:, :, 1])


def test_marks_stay_where_their_things_are() -> None:
    picture = Picture(np.zeros((64, 128, 3), np.uint8), (Mark(96.0, 16.0, "circle", "red", 1),))
    enlarged = prepared(picture)
    assert enlarged.pixels.shape == (96, 192, 3)
    assert enlarged.marks == (Mark(144.0, 24.0, "circle", "red", 1),)
