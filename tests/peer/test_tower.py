"""The vision tower's embeddings against libmtmd's, on the mmproj file of llama.cpp's converter.

The images' sides are multiples of 32 and their areas within the limits of both, so that neither resizes them.
"""

import numpy as np
import peer
import pytest
from conftest import Converted
from model.harness import BACKENDS, Ours
from PIL import Image

from qwill.media.image import ImageSettings, preprocess_image

pytestmark = pytest.mark.peer


@pytest.mark.parametrize("name", ["V = 2 K", "experts, V = 2 K"])
@pytest.mark.parametrize(("height", "width"), [(256, 256), (320, 448), (224, 704)])
def test_embeddings(
    name: str, height: int, width: int, converted: dict[str, Converted], rng: np.random.Generator
) -> None:
    """libmtmd rounds patches and their weights to f16, by up to 2^-11, and two blocks carry that on: 1.5e-3."""
    file = converted[name].files["f32"]
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mmproj = str(converted[name].mmproj)
    expected = peer.run_llama(file, ["embeddings"], pixels=pixels, mmproj=mmproj)["embeddings"]
    patches = preprocess_image(Image.fromarray(pixels), ImageSettings())
    for backend in BACKENDS:
        vision = Ours(file, backend).model.vision
        assert vision is not None
        got = vision.forward(patches.pixels, patches.grid)
        error = np.abs(got - expected).max() / expected.std()
        print(f"{backend}: {error:.1e}")
        assert got.shape == expected.shape
        assert error <= 5e-3
