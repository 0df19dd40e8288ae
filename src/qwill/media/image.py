"""Images: read anything that Pillow reads, bring it to the model's size, cut it into patches."""

import base64
import binascii
import io
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import numpy as np

from qwill.errors import MediaError
from qwill.media.file_kinds import HEAD, check_use
from qwill.media.patches import Patches, PatchSettings, check_aspect, cut_patches
from qwill.system.paths import path_of_address

if TYPE_CHECKING:
    from PIL.Image import Image

# What people have; others are refused, for some of Pillow's readers start other programs (EPS: Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO")

# What Pillow's decoders raise on torn or hostile files, found by fuzzing.
DAMAGES = (OSError, ValueError, SyntaxError, EOFError, RuntimeError)


@dataclass(frozen=True)
class ImageSettings(PatchSettings):
    """How images are prepared; `min_pixels` and `max_pixels` bound height * width."""

    min_pixels: int = 65_536
    max_pixels: int = 16_777_216


def load_image(source: "str | Path | bytes | Image") -> "Image":
    """An upright 8-bit RGB image from a path, a `data:` address, the bytes of a file, or a Pillow image.

    EXIF orientation is applied, transparency is laid on white, 16-bit grey is scaled to 8, of an animation the first
    frame is taken. Pillow's limit on the number of pixels (twice `PIL.Image.MAX_IMAGE_PIXELS`, about 179 million) is
    the limit here: an image below it is decoded without a warning (at most about 0.7 GB), one above it is refused from
    its header. Raises MediaError, which names the file, when it cannot be read; http(s) addresses are refused, fetching
    is not done here.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(source, Image.Image):
        return _to_rgb(source, "the image")
    data, name = read_source(source, "image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of many pixels, and of what Pillow mends in damaged files
            with Image.open(data, formats=FORMATS) as image:
                return _to_rgb(image, name)
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise MediaError(f"{name} has more than {limit:,} pixels; scale it down first") from error
    except UnidentifiedImageError as error:
        raise MediaError(f"{name} is not an image; give a JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF file") from error
    except DAMAGES as error:
        raise MediaError(f"{name} is a damaged image: {error}") from error


def read_source(source: str | Path | bytes, kind: str) -> tuple[Path | io.BytesIO, str]:
    """What to open, and its name for messages. Raises MediaError when there is no such file, or when its first bytes
    show that it is something else."""
    if isinstance(source, bytes):
        check_use(source[:HEAD], kind, f"the {kind}")
        return io.BytesIO(source), f"the {kind}"
    if isinstance(source, str):
        scheme = source[:8].lower()
        if scheme.startswith(("http://", "https://")):
            raise MediaError(f"{source} is not fetched; download it first and give the file")
        if scheme.startswith("data:"):
            contents, name = data_bytes(source, kind), f"the {kind} in a data: address"
            check_use(contents[:HEAD], kind, name)
            return io.BytesIO(contents), name
        if scheme.startswith("file://"):
            source = path_of_address(unquote_to_bytes(source[len("file://") :]).decode("utf-8", "replace"))
    path = Path(source)
    if "\0" in str(path) or not path.exists():
        raise MediaError(f"{str(path)!r}: no such {kind} file")
    if not path.is_file():
        raise MediaError(f"{path} is not a file; give one {kind}")
    check_use(read_head(path), kind, str(path))
    return path, str(path)


def read_head(opened: Path | io.BytesIO) -> bytes:
    """The first bytes of a file, HEAD of them or all. Raises MediaError."""
    if isinstance(opened, io.BytesIO):
        return bytes(opened.getbuffer()[:HEAD])
    try:
        with opened.open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise MediaError(f"{opened} cannot be read: {error.strerror}") from error


def source_bytes(source: "str | Path | bytes | Image", kind: str) -> bytes:
    """The contents of an image's or video's file; a Pillow image as a PNG file. Raises MediaError."""
    from PIL import Image

    if isinstance(source, Image.Image):
        memory = io.BytesIO()
        load_image(source).save(memory, "PNG")
        return memory.getvalue()
    opened, _ = read_source(source, kind)
    return opened.read_bytes() if isinstance(opened, Path) else opened.getvalue()


def target_size(height: int, width: int, settings: ImageSettings) -> tuple[int, int]:
    """Height and width that an image is resized to: multiples of `settings.factor`, the area within the limits.

    The rule of the released processor (`smart_resize`): round each side; when the area leaves the limits, scale the
    true sides to the limit and round towards its inside. Raises MediaError when one side is more than 200 times the
    other.
    """
    check_aspect(height, width, "the image")
    factor = settings.factor
    rows, columns = round(height / factor) * factor, round(width / factor) * factor
    if rows * columns > settings.max_pixels:
        shrink = math.sqrt(height * width / settings.max_pixels)
        rows = max(factor, math.floor(height / shrink / factor) * factor)
        columns = max(factor, math.floor(width / shrink / factor) * factor)
    elif rows * columns < settings.min_pixels:
        grow = math.sqrt(settings.min_pixels / (height * width))
        rows = math.ceil(height * grow / factor) * factor
        columns = math.ceil(width * grow / factor) * factor
    return rows, columns


def resize(image: "Image", height: int, width: int) -> np.ndarray:
    """uint8 [height, width, 3]: the RGB image resized with Pillow's bicubic filter, first in width, then in height.

    Left to itself Pillow takes the cheaper order, which one depends on its version, and values between the passes are
    rounded and clipped: on pages of text the other order is 20 of 255 levels away from the released processor, which
    resizes with torchvision, always width first; this one is within 2.
    """
    from PIL import Image

    widened = image.resize((width, image.height), Image.Resampling.BICUBIC)
    return np.asarray(widened.resize((width, height), Image.Resampling.BICUBIC))


def preprocess_image(image: "Image", settings: ImageSettings) -> Patches:
    """The patches of an RGB image (see `load_image`); a still image fills the temporal patch by repetition."""
    pixels = resize(image, *target_size(image.height, image.width, settings))
    return cut_patches(pixels[None], settings)


def flatten(image: "Image") -> "Image":
    """The image in RGB, what is transparent laid on white."""
    from PIL import Image

    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layer).convert("RGB")


def data_bytes(address: str, kind: str) -> bytes:
    """The bytes of a `data:` address (RFC 2397)."""
    header, comma, body = address.partition(",")
    if not comma:
        raise MediaError(f"the {kind}'s data: address has no comma between its type and its data")
    data = unquote_to_bytes(body)
    if not header.lower().endswith(";base64"):
        return data
    try:
        return base64.b64decode(data)
    except binascii.Error as error:
        raise MediaError(f"the {kind}'s data: address is not valid base64: {error}") from error


def _to_rgb(image: "Image", name: str) -> "Image":
    from PIL import Image, ImageOps

    if image.width == 0 or image.height == 0:
        raise MediaError(f"{name} has no pixels")
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16-bit grey; "I" has 32 bits but comes from 16-bit files
        samples = np.clip(np.asarray(image).astype(np.float32), 0, 65_535)
        return Image.fromarray(np.rint(samples / 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("F", "LAB"):
        raise MediaError(f"{name} has pixels of type {image.mode}; save it as 8-bit RGB first")
    return flatten(image)
