from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwill.errors import CheckpointError
from qwill.media.patches import Patches
from qwill.media.placement import MediaTokenIds, place, placeholder_text, positions

IDS = MediaTokenIds(image_pad=900, video_pad=901, vision_start=902, vision_end=903)
MARKS = {
    "<|image_pad|>": IDS.image_pad,
    "<|video_pad|>": IDS.video_pad,
    "<|vision_start|>": IDS.vision_start,
    "<|vision_end|>": IDS.vision_end,
}


def patches(t: int, h: int, w: int) -> Patches:
    return Patches(np.zeros((t * h * w, 0), np.float32), (t, h, w))


def encode(text: str) -> list[int]:
    """One token a character, one a special token."""
    for name, token in MARKS.items():
        text = text.replace(name, chr(token))
    return [ord(character) for character in text]


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
    text = ""
    media: list[tuple[str, Patches]] = []
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        kind, *grid = part
        media.append((kind, patches(*grid)))
        text += placeholder_text(kind, media[-1][1], [0.5 * i for i in range(2 * grid[0])])
    token_ids = encode(text)
    axes, next_position, rows = place(token_ids, media, IDS)
    grids = {kind: [each.grid for its_kind, each in media if its_kind == kind] for kind in ("image", "video")}
    expected, expected_next = reference_positions(token_ids, grids["image"], grids["video"])
    assert axes.dtype == np.int32
    np.testing.assert_array_equal(axes, expected)
    assert next_position == expected_next
    # The runs cover every pad once, in order, with the embeddings' rows in order.
    pads = [at for at, token in enumerate(token_ids) if token in (IDS.image_pad, IDS.video_pad)]
    assert [at for run in rows for at in range(run.start, run.start + run.length)] == pads
    for _, each in media:
        own = [run for run in rows if run.patches is each]
        assert [row for run in own for row in range(run.first_row, run.first_row + run.length)] == list(
            range(each.tokens)
        )


def test_text_alone() -> None:
    axes, next_position, rows = place(encode("hello"), [], IDS)
    assert axes.tolist() == [[0, 1, 2, 3, 4]] * 3
    assert (next_position, rows) == (5, ())
    assert positions([], [], [], IDS)[1] == 0


def test_an_image_by_hand() -> None:
    image = patches(1, 4, 6)
    text = "a" + placeholder_text("image", image) + "b"
    assert text == "a<|vision_start|>" + "<|image_pad|>" * 6 + "<|vision_end|>b"
    axes, next_position, rows = place(encode(text), [("image", image)], IDS)
    assert axes.tolist() == [
        [0, 1, 2, 2, 2, 2, 2, 2, 5, 6],
        [0, 1, 2, 2, 2, 3, 3, 3, 5, 6],
        [0, 1, 2, 3, 4, 2, 3, 4, 5, 6],
    ]
    assert [(run.start, run.length, run.first_row) for run in rows] == [(2, 6, 0)]
    assert next_position == 7


def test_a_video_has_one_pair_of_marks_a_frame() -> None:
    video = patches(2, 2, 4)
    text = placeholder_text("video", video, [0.0, 0.5, 1.1])
    frame = "<|vision_start|><|video_pad|><|video_pad|><|vision_end|>"
    assert text == f"<0.2 seconds>{frame}<1.1 seconds>{frame}"
    _, _, rows = place(encode("see " + text), [("video", video)], IDS)
    assert [(run.start, run.length, run.first_row) for run in rows] == [(18, 2, 0), (35, 2, 2)]


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
