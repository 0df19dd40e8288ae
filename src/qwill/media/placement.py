"""Media in a prompt: placeholders become as many tokens as the vision tower gives, with positions on three axes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from qwill.errors import CheckpointError
from qwill.media.patches import Patches
from qwill.media.video import frame_timestamps

Kind = Literal["image", "video"]


@dataclass(frozen=True)
class MediaTokenIds:
    """The ids of the four special tokens that mark images and videos."""

    image_pad: int
    video_pad: int
    vision_start: int
    vision_end: int

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MediaTokenIds":
        """From a checkpoint's config.json. Raises CheckpointError when one is missing."""
        keys = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
        for key in keys:
            if not isinstance(config.get(key), int):
                raise CheckpointError(f"config: {key} is missing; the model cannot take images or videos")
        return cls(*(config[key] for key in keys))


@dataclass(frozen=True)
class MediaRows:
    """A run of pad tokens: the prompt's tokens `start` to `start + length` take rows from `first_row` on of the
    embeddings of `patches`. A video has one run per temporal patch."""

    patches: Patches
    start: int
    length: int
    first_row: int


def placeholder_text(kind: Kind, patches: Patches, times: Sequence[float] = ()) -> str:
    """What stands in the prompt for an image, or for a video whose sampled frames are at `times` seconds.

    An image is its pads between `<|vision_start|>` and `<|vision_end|>`; a video is that for every temporal patch, each
    after its time stamp. The released template already writes such a pair around a video's one pad. It is part of the
    placeholder and replaced with it, for each frame carries a pair of its own: so did the processor that the family was
    released with (Qwen3VLProcessor of transformers 4.57), and so does vLLM. transformers 5.23 replaces the pad alone,
    which leaves a second pair around the whole video.
    """
    pads = f"<|vision_start|>{f'<|{kind}_pad|>' * patches.tokens_per_frame}<|vision_end|>"
    if kind == "image":
        return pads
    return "".join(f"<{seconds:.1f} seconds>{pads}" for seconds in frame_timestamps(times))


def place(
    token_ids: Sequence[int], media: Sequence[tuple[Kind, Patches]], ids: MediaTokenIds
) -> tuple[np.ndarray, int, tuple[MediaRows, ...]]:
    """Positions of a prompt's tokens, the position after them, and which tokens take which embeddings.

    `token_ids` holds the placeholder texts of `media`, in their order. See `positions` for the first two.
    """
    grids = {kind: [patches.grid for its_kind, patches in media if its_kind == kind] for kind in ("image", "video")}
    merge_size = media[0][1].merge_size if media else 1
    axes, next_position = positions(token_ids, grids["image"], grids["video"], ids, merge_size)
    pads = np.flatnonzero(np.isin(token_ids, (ids.image_pad, ids.video_pad)))
    rows, done = [], 0
    for _, patches in media:
        for frame in range(patches.grid[0]):
            length = patches.tokens_per_frame
            rows.append(MediaRows(patches, int(pads[done]), length, frame * length))
            done += length
    return axes, next_position, tuple(rows)


def positions(
    token_ids: Sequence[int],
    image_grids: Iterable[tuple[int, int, int]],
    video_grids: Iterable[tuple[int, int, int]],
    ids: MediaTokenIds,
    merge_size: int = 2,
) -> tuple[np.ndarray, int]:
    """Rotary positions int32 [3, tokens] of an expanded prompt, and the position of the token after it.

    Text counts up on all three axes. A frame (an image, or one temporal patch of a video) that starts at p has p on the
    time axis and p + row, p + column of its grid of tokens on the others; the text after it goes on at p + the grid's
    longer side. Grids are (t, h, w) in patches. Asserts that the runs of pads have the grids' sizes.
    """
    tokens = np.asarray(token_ids, dtype=np.int64)
    result = np.empty((3, len(tokens)), np.int32)
    frames = {
        ids.image_pad: iter([(h, w) for t, h, w in image_grids for _ in range(t)]),
        ids.video_pad: iter([(h, w) for t, h, w in video_grids for _ in range(t)]),
    }
    pads = np.flatnonzero((tokens == ids.image_pad) | (tokens == ids.video_pad))
    done = position = 0
    while len(pads) > 0:
        start = int(pads[0])
        result[:, done:start] = np.arange(position, position + start - done)
        position += start - done
        pad = int(tokens[start])
        height, width = (side // merge_size for side in next(frames[pad]))
        done = start + height * width
        assert done <= len(tokens), "the last run of pads is shorter than its grid"
        assert np.all(tokens[start:done] == pad), "a run of pads is shorter than its grid"
        rows, columns = np.divmod(np.arange(height * width), width)
        result[:, start:done] = position + np.stack([np.zeros_like(rows), rows, columns])
        position += max(height, width)
        pads = pads[height * width :]
    assert all(next(rest, None) is None for rest in frames.values()), "a grid is left over"
    result[:, done:] = np.arange(position, position + len(tokens) - done)
    return result, position + len(tokens) - done
