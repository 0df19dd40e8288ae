"""Media in a prompt: placeholders become as many tokens as the vision tower gives, with positions on three axes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from qwill.errors import CheckpointError, MediaError
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
class MediaSpan:
    """A run of pad tokens: rows `first_row` to `first_row + length` of the embeddings of that image or video go to
    the prompt's tokens `start` to `start + length`. A video has one span per temporal patch."""

    kind: Kind
    index: int
    start: int
    length: int
    first_row: int


@dataclass(frozen=True)
class Placed:
    """A prompt with room for its media. `positions` is int32 [3 (time, height, width), tokens]; text has the same on
    all axes. The token generated first is at `next_position` on all axes.
    """

    token_ids: list[int]
    positions: np.ndarray
    spans: list[MediaSpan]
    next_position: int


def expand_media(
    token_ids: Sequence[int],
    images: Sequence[Patches],
    videos: Sequence[tuple[Patches, Sequence[float]]],
    ids: MediaTokenIds,
    encode: Callable[[str], list[int]],
) -> Placed:
    """The prompt with each placeholder replaced by what the model was trained to see.

    `token_ids` is the encoded chat template, with one `<|image_pad|>` or `<|video_pad|>` for each image or video, in
    their order. `videos` gives with the patches the second of each sampled frame (`VideoFrames.timestamps`); `encode`
    is the tokenizer without special tokens. Raises MediaError when the number of placeholders is not the number of
    images or videos.

    An image's pad is repeated, once per token. A video's pad becomes, for every temporal patch, `<1.5
    seconds><|vision_start|>` + pads + `<|vision_end|>`. The released template already writes `<|vision_start|>` and
    `<|vision_end|>` around the one pad. That outer pair is part of the placeholder and is replaced with it, for each
    frame carries a pair of its own: so did the processor that the family was released with (Qwen3VLProcessor of
    transformers 4.57), and so does vLLM. transformers 5.23 replaces the pad alone, which leaves a second pair around
    the whole video. A bare pad, without the pair, is accepted too. Time stamps are encoded by themselves, not together
    with the text before the video.
    """
    _check_count("image", sum(token == ids.image_pad for token in token_ids), len(images))
    _check_count("video", sum(token == ids.video_pad for token in token_ids), len(videos))
    placed: list[int] = []
    spans: list[MediaSpan] = []
    image_count = video_count = 0
    after_video = False  # the token before was a wrapped video's pad: its outer end is still to be dropped
    for at, token in enumerate(token_ids):
        if token == ids.image_pad:
            tokens = images[image_count].tokens
            spans.append(MediaSpan("image", image_count, len(placed), tokens, 0))
            placed += [ids.image_pad] * tokens
            image_count += 1
        elif token == ids.video_pad:
            after_video = list(token_ids[max(at - 1, 0) : at + 2]) == [ids.vision_start, ids.video_pad, ids.vision_end]
            if after_video:
                placed.pop()
            patches, times = videos[video_count]
            _place_video(placed, spans, video_count, patches, times, ids, encode)
            video_count += 1
        elif after_video:
            after_video = False
        else:
            placed.append(token)
    grids = [patches.grid for patches in images], [patches.grid for patches, _ in videos]
    merge_size = next((patches.merge_size for patches in (*images, *(video for video, _ in videos))), 1)
    axes, next_position = positions(placed, *grids, ids, merge_size)
    return Placed(placed, axes, spans, next_position)


def placeholder_text(kind: Kind, patches: Patches, times: Sequence[float] = ()) -> str:
    """What stands in the prompt for an image, or for a video whose sampled frames are at `times` seconds."""
    pads = f"<|vision_start|>{f'<|{kind}_pad|>' * patches.tokens_per_frame}<|vision_end|>"
    if kind == "image":
        return pads
    return "".join(f"<{seconds:.1f} seconds>{pads}" for seconds in frame_timestamps(times))


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


def _place_video(
    placed: list[int],
    spans: list[MediaSpan],
    index: int,
    patches: Patches,
    times: Sequence[float],
    ids: MediaTokenIds,
    encode: Callable[[str], list[int]],
) -> None:
    length = patches.tokens_per_frame
    means = frame_timestamps(times)
    assert len(means) == patches.grid[0], (len(times), patches.grid)
    for frame, seconds in enumerate(means):
        placed += [*encode(f"<{seconds:.1f} seconds>"), ids.vision_start]
        spans.append(MediaSpan("video", index, len(placed), length, frame * length))
        placed += [ids.video_pad] * length
        placed.append(ids.vision_end)


def _check_count(kind: Kind, placeholders: int, given: int) -> None:
    if placeholders != given:
        raise MediaError(
            f"the prompt has {placeholders} {kind} placeholder(s) but {given} {kind}(s) were given; "
            "add the missing ones or remove the others"
        )
