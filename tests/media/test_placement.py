from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwill.errors import CheckpointError, MediaError
from qwill.media.patches import Patches
from qwill.media.placement import MediaSpan, MediaTokenIds, expand_media, placeholder_text, positions

IDS = MediaTokenIds(image_pad=900, video_pad=901, vision_start=902, vision_end=903)
NAMES = {IDS.image_pad: "I", IDS.video_pad: "V", IDS.vision_start: "[", IDS.vision_end: "]"}
WRAPPED_IMAGE = [IDS.vision_start, IDS.image_pad, IDS.vision_end]
WRAPPED_VIDEO = [IDS.vision_start, IDS.video_pad, IDS.vision_end]


def patches(t: int, h: int, w: int) -> Patches:
    return Patches(np.zeros((t * h * w, 0), np.float32), (t, h, w))


def encode(text: str) -> list[int]:
    return list(text.encode())


def shown(token_ids: Sequence[int]) -> str:
    return "".join(NAMES.get(token) or chr(token) for token in token_ids)


def reference_positions(
    token_ids: list[int], images: list[tuple[int, int, int]], videos: list[tuple[int, int, int]]
) -> tuple[np.ndarray, int]:
    """Positions and the next one by the method of transformers' model, on a stub in the model's place."""
    import torch
    from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5Model

    stub = SimpleNamespace(
        config=SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=2)),
        get_vision_position_ids=partial(Qwen3_5Model.get_vision_position_ids, None),
    )
    tokens = torch.tensor([token_ids])
    kinds = (tokens == IDS.image_pad).int() + 2 * (tokens == IDS.video_pad).int()
    axes, delta = Qwen3_5Model.get_rope_index(
        stub,
        tokens,
        kinds,
        image_grid_thw=torch.tensor(images) if images else None,
        video_grid_thw=torch.tensor(videos) if videos else None,
    )
    return axes[:, 0].numpy(), int(delta) + len(token_ids)


sides = st.integers(1, 5).map(lambda side: 2 * side)
media = st.lists(
    st.one_of(
        st.text("abc", min_size=1, max_size=9),
        st.tuples(st.just("image"), st.just(1), sides, sides),
        st.tuples(st.just("video"), st.integers(1, 4), sides, sides),
    ),
    min_size=1,
    max_size=7,
)


@settings(deadline=None)
@given(media)
def test_positions_are_those_of_the_model(parts: list[str | tuple[str, int, int, int]]) -> None:
    prompt: list[int] = []
    images, videos = [], []
    for part in parts:
        if isinstance(part, str):
            prompt += encode(part)
        elif part[0] == "image":
            prompt += WRAPPED_IMAGE
            images.append(part[1:])
        else:
            prompt += WRAPPED_VIDEO
            videos.append(part[1:])
    placed = expand_media(
        prompt,
        [patches(*grid) for grid in images],
        [(patches(*grid), [0.5 * i for i in range(2 * grid[0])]) for grid in videos],
        IDS,
        encode,
    )
    expected, next_position = reference_positions(placed.token_ids, images, videos)
    assert placed.positions.dtype == np.int32
    np.testing.assert_array_equal(placed.positions, expected)
    assert placed.next_position == next_position
    # Spans cover every pad once, in order, with the embeddings' rows in order.
    pads = [at for at, token in enumerate(placed.token_ids) if token in (IDS.image_pad, IDS.video_pad)]
    assert [at for span in placed.spans for at in range(span.start, span.start + span.length)] == pads
    for kind, grids in (("image", images), ("video", videos)):
        for index, (t, h, w) in enumerate(grids):
            spans = [span for span in placed.spans if (span.kind, span.index) == (kind, index)]
            rows = [row for span in spans for row in range(span.first_row, span.first_row + span.length)]
            assert rows == list(range(t * h * w // 4))


def test_text_alone() -> None:
    placed = expand_media(encode("hello"), [], [], IDS, encode)
    assert placed.token_ids == encode("hello")
    assert placed.spans == []
    assert placed.positions.tolist() == [[0, 1, 2, 3, 4]] * 3
    assert placed.next_position == 5
    assert positions([], [], [], IDS)[1] == 0


def test_an_image_by_hand() -> None:
    placed = expand_media([*encode("a"), *WRAPPED_IMAGE, *encode("b")], [patches(1, 4, 6)], [], IDS, encode)
    assert shown(placed.token_ids) == "a[IIIIII]b"
    assert placed.positions.tolist() == [
        [0, 1, 2, 2, 2, 2, 2, 2, 5, 6],
        [0, 1, 2, 2, 2, 3, 3, 3, 5, 6],
        [0, 1, 2, 3, 4, 2, 3, 4, 5, 6],
    ]
    assert placed.spans == [MediaSpan("image", 0, 2, 6, 0)]
    assert placed.next_position == 7


def test_a_video_has_one_pair_of_marks_a_frame() -> None:
    prompt = [*encode("see "), *WRAPPED_VIDEO, *encode(" ok")]
    placed = expand_media(prompt, [], [(patches(2, 2, 4), [0.0, 0.5, 1.1])], IDS, encode)
    assert shown(placed.token_ids) == "see <0.2 seconds>[VV]<1.1 seconds>[VV] ok"
    assert [(span.start, span.length, span.first_row) for span in placed.spans] == [(18, 2, 0), (35, 2, 2)]


def test_expanding_the_text_gives_the_same_as_expanding_the_tokens() -> None:
    image, video, times = patches(1, 4, 2), patches(2, 2, 4), [0.0, 0.5, 1.1]
    text = placeholder_text("image", image) + "then" + placeholder_text("video", video, times)
    assert text == (
        "<|vision_start|><|image_pad|><|image_pad|><|vision_end|>then"
        "<0.2 seconds><|vision_start|><|video_pad|><|video_pad|><|vision_end|>"
        "<1.1 seconds><|vision_start|><|video_pad|><|video_pad|><|vision_end|>"
    )
    placed = expand_media([*WRAPPED_IMAGE, *encode("then"), *WRAPPED_VIDEO], [image], [(video, times)], IDS, encode)
    for name, mark in (("image_pad", "I"), ("video_pad", "V"), ("vision_start", "["), ("vision_end", "]")):
        text = text.replace(f"<|{name}|>", mark)
    assert shown(placed.token_ids) == text


def test_a_bare_video_pad_keeps_its_neighbours() -> None:
    prompt = [IDS.vision_end, IDS.video_pad, *encode("x"), IDS.vision_end]
    placed = expand_media(prompt, [], [(patches(1, 2, 2), [3.0])], IDS, encode)
    assert shown(placed.token_ids) == "]<3.0 seconds>[V]x]"


def test_media_of_both_kinds_keep_their_order() -> None:
    prompt = [*WRAPPED_VIDEO, *WRAPPED_IMAGE, *WRAPPED_VIDEO, *WRAPPED_IMAGE]
    images = [patches(1, 2, 2), patches(1, 4, 2)]
    videos = [(patches(1, 2, 2), [0.0]), (patches(1, 2, 6), [9.0])]
    placed = expand_media(prompt, images, videos, IDS, encode)
    assert shown(placed.token_ids) == "<0.0 seconds>[V][I]<9.0 seconds>[VVV][II]"


@pytest.mark.parametrize(
    ("prompt", "images", "message"),
    [
        (WRAPPED_IMAGE, 0, r"1 image placeholder\(s\) but 0 image"),
        (WRAPPED_IMAGE * 2, 3, r"2 image placeholder\(s\) but 3 image"),
        (WRAPPED_VIDEO, 0, r"1 video placeholder\(s\) but 0 video"),
    ],
)
def test_counts_must_match(prompt: list[int], images: int, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        expand_media(prompt, [patches(1, 2, 2)] * images, [], IDS, encode)


def test_broken_runs_of_pads_assert() -> None:
    with pytest.raises(AssertionError, match="shorter"):
        positions([IDS.image_pad] * 3, [(1, 4, 4)], [], IDS)
    with pytest.raises(AssertionError, match="left over"):
        positions([1, 2], [(1, 2, 2)], [], IDS)


def test_ids_come_from_the_config() -> None:
    config = {"image_token_id": 1, "video_token_id": 2, "vision_start_token_id": 3, "vision_end_token_id": 4}
    assert MediaTokenIds.from_config(config) == MediaTokenIds(1, 2, 3, 4)
    del config["video_token_id"]
    with pytest.raises(CheckpointError, match="video_token_id"):
        MediaTokenIds.from_config(config)
