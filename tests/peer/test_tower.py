"""The vision tower's embeddings against libmtmd's, on the mmproj file of llama.cpp's converter.

The images' sides are multiples of 32 and their areas within the limits of both, so that neither resizes them.
"""

from pathlib import Path

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
@pytest.mark.parametrize("backend", BACKENDS)
def test_embeddings(
    name: str, height: int, width: int, backend: str, converted: dict[str, Converted], rng: np.random.Generator
) -> None:
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mmproj = converted[name].mmproj
    assert mmproj is not None
    assert_same_embeddings(converted[name].files["f32"], mmproj, pixels, backend)


def assert_same_embeddings(file: Path, mmproj: Path, pixels: np.ndarray, backend: str) -> None:
    """libmtmd rounds patches and their weights to f16, by up to 2^-11, and two blocks carry that on: 1.5e-3.

    file: the model, with `mmproj` as the only vision file beside it or above. pixels: uint8 [height, width, 3].
    """
    expected = peer.run_llama(file, ["embeddings"], pixels=pixels, mmproj=str(mmproj))["embeddings"]
    patches = preprocess_image(Image.fromarray(pixels), ImageSettings())
    vision = Ours(file, backend).model.vision
    assert vision is not None
    got = vision.forward(patches.pixels, patches.grid)
    error = np.abs(got - expected).max() / expected.std()
    print(f"{backend}: {error:.1e}")
    assert got.shape == expected.shape
    assert error <= 5e-3
