import base64
import io
import random
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from released_processors import image_processor

from qwill.errors import CheckpointError, MediaError, UnsupportedModel
from qwill.media.image import ImageSettings, load_image, preprocess_image, resize, target_size

RANDOM = np.random.default_rng()
SMALL = ImageSettings(min_pixels=4096, max_pixels=40_000)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width, channels), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def processed(image: Image.Image, **more: object) -> Any:
    """What the released processor gives for an image that has its size already: it does not resize it again."""
    resized = Image.fromarray(resize(image, *target_size(image.height, image.width, SMALL)))
    return image_processor(4096, 40_000)(resized, return_tensors="np", input_data_format="channels_last", **more)


@pytest.mark.parametrize("size", [(1, 1), (37, 61), (64, 64), (101, 333), (5, 999), (700, 31)])
def test_patches_equal_the_released_processor(size: tuple[int, int]) -> None:
    image = Image.fromarray(noise(*size))
    ours = preprocess_image(image, SMALL)
    theirs = processed(image)
    assert list(ours.grid) == theirs.image_grid_thw[0].tolist()
    assert ours.pixels.dtype == np.float32
    # The same pixels (test_resize.py) and the same float32 steps: not a bit of difference.
    np.testing.assert_array_equal(ours.pixels, theirs.pixel_values)
    assert ours.tokens * 4 == len(ours.pixels)


def test_patches_with_uneven_mean_and_std() -> None:
    config = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28], "rescale_factor": 1 / 255}
    size = {"shortest_edge": 4096, "longest_edge": 40_000}
    image = Image.fromarray(noise(77, 90))
    ours = preprocess_image(image, ImageSettings.from_config({**config, "size": size}))
    theirs = processed(image, **config)
    np.testing.assert_array_equal(ours.pixels, theirs.pixel_values)


@settings(deadline=None)
@given(st.integers(1, 30_000), st.integers(1, 30_000), st.sampled_from([(65_536, 16_777_216), (4096, 40_000)]))
def test_target_size_is_the_released_rule(height: int, width: int, limits: tuple[int, int]) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    ours = ImageSettings(min_pixels=limits[0], max_pixels=limits[1])
    try:
        expected = smart_resize(height, width, 32, *limits)
    except ValueError:
        with pytest.raises(MediaError, match="at most 200 times"):
            target_size(height, width, ours)
    else:
        assert target_size(height, width, ours) == expected


def test_largest_of_the_family_table() -> None:
    assert preprocess_image(Image.new("RGB", (1344, 1344)), ImageSettings()).tokens == 1764


def test_settings_come_from_the_checkpoint() -> None:
    assert ImageSettings.from_config({}) == ImageSettings()
    assert ImageSettings.from_config({"min_pixels": 1024, "size": {"longest_edge": 2048}}).max_pixels == 2048
    assert ImageSettings.from_config({"min_pixels": 1024, "max_pixels": 2048}).min_pixels == 1024
    assert ImageSettings.from_config({"patch_size": 14, "merge_size": 1}).factor == 14
    assert ImageSettings.from_config({"do_normalize": False}).normalised[255, 1] == 1
    assert ImageSettings.from_config({"do_rescale": False, "do_normalize": False}).normalised[255, 1] == 255


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"patch_size": 0}, "patch_size"),
        ({"merge_size": "2"}, "merge_size"),
        ({"size": {"shortest_edge": -4}}, "min_pixels"),
        ({"min_pixels": 9000, "max_pixels": 8000}, "pixels"),
        ({"image_mean": [0.5, 0.5]}, "image_mean"),
        ({"image_std": [0.5, 0, 0.5]}, "image_std"),
    ],
)
def test_settings_without_meaning_are_refused(config: dict[str, object], name: str) -> None:
    with pytest.raises(CheckpointError, match=name):
        ImageSettings.from_config(config)


@pytest.mark.parametrize("config", [{"do_resize": False}, {"resample": 2}])
def test_settings_that_ask_for_other_steps_are_refused(config: dict[str, object]) -> None:
    with pytest.raises(UnsupportedModel):
        ImageSettings.from_config(config)


def test_every_kind_of_source_gives_the_same_image(tmp_path: Path) -> None:
    pixels = noise(9, 7)
    data = encoded(Image.fromarray(pixels), "PNG")
    path = tmp_path / "an image.png"
    path.write_bytes(data)
    address = "data:image/png;base64," + base64.b64encode(data).decode()
    for source in (path, str(path), path.as_uri(), data, address, Image.fromarray(pixels)):
        image = load_image(source)
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    turned = [
        lambda a: a,
        lambda a: a[:, ::-1],
        lambda a: a[::-1, ::-1],
        lambda a: a[::-1],
        lambda a: a.swapaxes(0, 1),
        lambda a: np.rot90(a, -1),
        lambda a: a[::-1, ::-1].swapaxes(0, 1),
        lambda a: np.rot90(a, 1),
    ]
    pixels = noise(4, 6)
    exif = Image.Exif()
    exif[0x0112] = orientation
    loaded = load_image(encoded(Image.fromarray(pixels), "PNG", exif=exif))
    np.testing.assert_array_equal(np.asarray(loaded), turned[orientation - 1](pixels))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    layers = noise(5, 8, len(mode)).astype(np.float64)
    loaded = np.asarray(load_image(encoded(Image.fromarray(layers.astype(np.uint8), mode), "PNG")))
    alpha = layers[..., -1:] / 255
    # Pillow blends in integers with rounding: at most one step of 255 from the exact value.
    assert np.abs(loaded - (layers[..., :-1] * alpha + 255 * (1 - alpha))).max() <= 1


def test_transparent_palette_is_laid_on_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    loaded = load_image(encoded(image, "PNG", transparency=0))
    assert np.asarray(loaded).tolist() == [[[255, 255, 255], [0, 0, 255]]]


def test_sixteen_bit_grey_keeps_its_scale() -> None:
    samples = RANDOM.integers(0, 65_536, (6, 5)).astype(np.uint16)
    loaded = np.asarray(load_image(encoded(Image.fromarray(samples), "PNG")))
    np.testing.assert_array_equal(loaded[..., 2], np.rint(samples / 257).astype(np.uint8))


def test_cmyk_and_bilevel() -> None:
    cyan = load_image(encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "TIFF"))
    assert np.asarray(cyan)[3, 3].tolist() == [0, 255, 255]
    assert np.asarray(load_image(encoded(Image.new("1", (3, 3), 1), "PNG")))[0, 0].tolist() == [255, 255, 255]


def test_first_frame_of_an_animation() -> None:
    red, blue = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    data = encoded(red, "PNG", save_all=True, append_images=[blue])
    assert np.asarray(load_image(data))[0, 0].tolist() == [255, 0, 0]


def huge_png(width: int, height: int) -> bytes:
    """A PNG that states a size and holds no pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b""), (b"IEND", b"")]
    parts = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_20000_by_20000_is_refused_from_its_header(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(huge_png(20_000, 20_000))
    with pytest.raises(MediaError, match=r"huge\.png has more than 178,956,970 pixels; scale it down"):
        load_image(path)


def test_an_image_below_the_limit_is_decoded_without_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    assert load_image(encoded(Image.new("RGB", (99, 99)), "PNG")).size == (99, 99)  # Pillow would warn: 9,801 > 5,000
    with pytest.raises(MediaError, match="10,000 pixels"):
        load_image(encoded(Image.new("RGB", (101, 100)), "PNG"))


def test_a_ribbon_is_refused() -> None:
    with pytest.raises(MediaError, match="1x201 pixels; one side may be at most 200 times"):
        preprocess_image(Image.new("RGB", (1, 201)), ImageSettings())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("http://example.org/a.png", "download it first"),
        ("https://example.org/a.png", "download it first"),
        ("data:image/png;base64", "no comma"),
        ("data:image/png;base64,a", "base64"),
        ("data:,hello", "not an image"),
        (b"", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF", "not an image"),
        (encoded(Image.fromarray(np.zeros((30, 30, 3), np.uint8)), "BMP")[:200], "damaged"),
        (encoded(Image.new("F", (3, 3)), "TIFF"), "type F"),
        ("no\0name", "no such"),
    ],
)
def test_bad_sources(source: str | bytes, message: str) -> None:
    with pytest.raises(MediaError, match=message) as caught:
        load_image(source)
    assert "\n" not in str(caught.value)


def test_bad_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "poem.png"
    with pytest.raises(MediaError, match=r"poem\.png'?: no such image"):
        load_image(path)
    path.write_text("roses are red")
    with pytest.raises(MediaError, match=r"poem\.png is not an image"):
        load_image(path)
    path.write_bytes(encoded(Image.fromarray(noise(50, 50)), "PNG")[:900])
    with pytest.raises(MediaError, match=r"poem\.png is a damaged image"):
        load_image(str(path))
    with pytest.raises(MediaError, match="not a file"):
        load_image(tmp_path)


SEEDS = [encoded(Image.fromarray(noise(20, 30)), kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SEEDS), st.integers(0, 2**32), st.integers(1, 6))
def test_torn_files_give_an_image_or_a_media_error(seed: bytes, random_seed: int, edits: int) -> None:
    data, chance = bytearray(seed), random.Random(random_seed)
    for _ in range(edits):
        data[chance.randrange(min(len(data), chance.choice((64, 400, 10**6))))] = chance.randrange(256)
    if chance.random() < 0.2:
        del data[chance.randrange(1, len(data)) :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata
        try:
            assert load_image(bytes(data)).mode == "RGB"
        except MediaError as error:
            message = str(error)
        else:
            message = ""
        assert "\n" not in message
