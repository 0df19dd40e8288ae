"""What the vision tower reads: normalised pixels, cut into patches, and the settings that say how."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from qwill.errors import CheckpointError, MediaError, UnsupportedModel

MAX_ASPECT = 200
BICUBIC = 3  # Pillow's number, which the checkpoints' JSON uses


@dataclass(frozen=True)
class Patches:
    """One image or video as the vision tower takes it.

    `pixels` is float32 [t * h * w, channels * temporal_patch_size * patch_size**2], a row being one patch in the order
    (C, T, H, W). Rows go frame pair by frame pair, and inside one by blocks of merge_size x merge_size patches, not in
    raster order. `grid` is (t, h, w) in patches. Each block of merge_size**2 patches becomes one token.
    """

    pixels: np.ndarray
    grid: tuple[int, int, int]
    merge_size: int = 2

    @property
    def tokens_per_frame(self) -> int:
        return self.grid[1] * self.grid[2] // self.merge_size**2

    @property
    def tokens(self) -> int:
        return self.grid[0] * self.tokens_per_frame

    @cached_property
    def digest(self) -> bytes:
        """16 bytes that stand for the pixels and their shape."""
        shape = repr((self.grid, self.merge_size, self.pixels.shape)).encode()
        return hashlib.blake2b(self.pixels.tobytes() + shape, digest_size=16).digest()

    def keys(self, first: int, count: int) -> np.ndarray:
        """int64 [count]: numbers for tokens `first` to `first + count`, which no other pixels and places have, except
        by an accident of one in 2**64, and which are no token ids.
        """
        own = np.frombuffer(self.digest[:8], np.uint64)
        keys = own + np.arange(first, first + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        return (keys | np.uint64(1 << 63)).view(np.int64)


@dataclass(frozen=True)
class PatchSettings:
    """How pixels are prepared, common to images and videos; the values come from the checkpoint's own JSON."""

    min_pixels: int
    max_pixels: int
    patch_size: int = 16
    temporal_patch_size: int = 2
    merge_size: int = 2
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    rescale: float = 1 / 255

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Settings of a checkpoint's preprocessor JSON; what it leaves out keeps the family's value.

        Raises CheckpointError when a value has no meaning and UnsupportedModel when one asks for other steps than ours.
        """
        return cls(**cls._fields(config))

    @classmethod
    def _fields(cls, config: dict[str, Any]) -> dict[str, Any]:
        if config.get("do_resize") is False:
            raise UnsupportedModel(
                "preprocessor config: do_resize is false, but the model needs sizes in whole patches"
            )
        if config.get("resample", BICUBIC) != BICUBIC:
            raise UnsupportedModel(
                f"preprocessor config: resample is {config['resample']}, only bicubic ({BICUBIC}) is known"
            )
        size = config.get("size") or {}
        fields: dict[str, Any] = {}
        for field, edge in (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge")):
            if (value := config.get(field) or size.get(field) or size.get(edge)) is not None:
                fields[field] = _whole_number(field, value)
        for field in ("patch_size", "temporal_patch_size", "merge_size"):
            if config.get(field) is not None:
                fields[field] = _whole_number(field, config[field])
        if config.get("do_normalize") is False:
            fields["mean"], fields["std"] = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        else:
            for field in ("mean", "std"):
                if config.get(f"image_{field}") is not None:
                    fields[field] = _three_numbers(f"image_{field}", config[f"image_{field}"])
            if 0.0 in fields.get("std", ()):
                raise CheckpointError("preprocessor config: image_std must not be 0")
        if config.get("do_rescale") is False:
            fields["rescale"] = 1.0
        elif config.get("rescale_factor") is not None:
            fields["rescale"] = float(config["rescale_factor"])
        return fields

    def __post_init__(self) -> None:
        if self.min_pixels > self.max_pixels:
            raise CheckpointError(
                f"preprocessor config: the least number of pixels, {self.min_pixels}, is above the greatest,"
                f" {self.max_pixels}"
            )

    @property
    def factor(self) -> int:
        """Sides are multiples of this many pixels: one token's side."""
        return self.patch_size * self.merge_size

    @cached_property
    def normalised(self) -> np.ndarray:
        """float32 [256, 3]: what each value of an 8-bit channel becomes, (value * rescale - mean) / std."""
        values = (np.arange(256) * self.rescale).astype(np.float32)[:, None]
        return (values - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)


def check_aspect(height: int, width: int, name: str) -> None:
    """Raises MediaError when one side is more than 200 times the other."""
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise MediaError(
            f"{name} is {width}x{height} pixels; one side may be at most {MAX_ASPECT} times the other: crop or pad it"
        )


def cut_patches(pixels: np.ndarray, settings: PatchSettings) -> Patches:
    """Patches of uint8 [frames, height, width, 3], whose sides are multiples of `settings.factor`.

    Frames are taken `temporal_patch_size` at a time; where the last group is not full its last frame is repeated.
    """
    frames, height, width, channels = pixels.shape
    patch, merge, temporal = settings.patch_size, settings.merge_size, settings.temporal_patch_size
    assert (pixels.dtype, channels) == (np.uint8, 3), (pixels.dtype, pixels.shape)
    assert (height % settings.factor, width % settings.factor) == (0, 0), (pixels.shape, settings.factor)
    if missing := -frames % temporal:
        pixels = np.concatenate([pixels, np.repeat(pixels[-1:], missing, axis=0)])
    t, h, w = len(pixels) // temporal, height // patch, width // patch
    blocks = pixels.reshape(t, temporal, h // merge, merge, patch, w // merge, merge, patch, channels)
    blocks = blocks.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)  # t, block row, block column, row, column, C, T, H, W
    result = np.empty(blocks.shape, np.float32)
    for frame in range(t):
        # One row of blocks at a time: indexing with uint8 makes an 8-byte index of each pixel.
        for row in range(h // merge):
            for channel in range(channels):
                values = blocks[frame, row, ..., channel, :, :, :]
                result[frame, row, ..., channel, :, :, :] = settings.normalised[:, channel][values]
    return Patches(result.reshape(t * h * w, channels * temporal * patch * patch), (t, h, w), merge)


def _whole_number(field: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"preprocessor config: {field} must be a whole number above 0, not {value!r}")
    return value


def _three_numbers(field: str, value: object) -> tuple[float, float, float]:
    if not isinstance(value, list | tuple) or len(value) != 3 or not all(isinstance(v, int | float) for v in value):
        raise CheckpointError(f"preprocessor config: {field} must be three numbers, not {value!r}")
    red, green, blue = (float(v) for v in value)
    return red, green, blue
