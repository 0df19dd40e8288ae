"""Pictures, and the values that the released processor gives for them where it resizes with torchvision.

The values in `torchvision_values.npz` were written by `python tests/media/torchvision_values.py` with transformers
5.24.0 (`Qwen2VLImageProcessor`), torchvision 0.28.0 and torch 2.13.0 on a CPU (x86-64, AVX2). The tests read the file
and need no torchvision.
"""

import random
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".npz")
MIN_PIXELS, MAX_PIXELS = 4096, 8192
GLYPH_ROWS, GLYPH_COLUMNS = 9, 5  # of a cell of 13 by 7 pixels

# Kind and sides: larger and smaller, taller and wider, hardly changed and shrunk to a hundredth.
PICTURES = (
    ("page", 75, 119), ("page", 119, 75), ("page", 40, 190), ("page", 190, 40), ("page", 1200, 848),
    ("page", 848, 1200), ("page", 30, 2500), ("noise", 3000, 29), ("noise", 20, 33), ("noise", 5, 60),
)  # fmt: skip


def picture(kind: str, height: int, width: int) -> np.ndarray:
    """uint8 [height, width, 3]: noise, or a page of black and coloured signs on white, the same on every machine."""
    chance = random.Random(f"{kind} {height} {width}")
    if kind == "noise":
        return np.frombuffer(chance.randbytes(height * width * 3), np.uint8).reshape(height, width, 3)
    page = np.full((height, width, 3), 255, np.uint8)
    for top in range(2, height - GLYPH_ROWS, GLYPH_ROWS + 4):
        for left in range(2, width - GLYPH_COLUMNS, GLYPH_COLUMNS + 2):
            bits = [chance.getrandbits(1) for _ in range(GLYPH_ROWS * GLYPH_COLUMNS)]
            strokes = np.array(bits, bool).reshape(GLYPH_ROWS, GLYPH_COLUMNS)
            colour = chance.choice([(0, 0, 0), (0, 0, 0), (0, 0, 0), (200, 0, 30), (0, 60, 255)])
            page[top : top + GLYPH_ROWS, left : left + GLYPH_COLUMNS][strokes] = colour
    return page


def name(kind: str, height: int, width: int) -> str:
    return f"{kind}_{height}x{width}"


def write() -> None:
    """Needs torchvision."""
    from transformers import Qwen2VLImageProcessor

    processor = Qwen2VLImageProcessor(
        patch_size=16,
        temporal_patch_size=2,
        merge_size=2,
        size={"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS},
        do_rescale=False,
        do_normalize=False,
    )
    values = {}
    for which in PICTURES:
        result = processor(picture(*which), return_tensors="np", input_data_format="channels_last")
        frames = result["pixel_values"].reshape(-1, 3, 2, 16 * 16)
        assert np.array_equal(frames[:, :, 0], frames[:, :, 1])
        assert np.array_equal(frames, frames.astype(np.uint8))
        values[name(*which)] = frames[:, :, 0].astype(np.uint8)
    np.savez_compressed(FILE, **values)


if __name__ == "__main__":
    write()
