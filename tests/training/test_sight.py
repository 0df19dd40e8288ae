"""What the vision tower is asked: where the targets lie, and what the answers cost."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from training.examples import Mark, Picture, Video
from training.sight import IGNORED, MOST_ORDERS, WORDS, Questions, Sight, sight
from training.tasks.drawing import COLOUR_NAMES, LABELS
from training.train import build_model
from training.vision import patches


def blank(height: int, width: int, *marks: Mark) -> Picture:
    return Picture(np.zeros((height, width, 3), np.uint8), marks)


def painted(height: int, width: int, places: list[tuple[int, int, int]]) -> np.ndarray:
    """A picture that is 255 in the patches (row, column, channel) of `places`."""
    pixels = np.zeros((1, height, width, 3), np.uint8)
    for row, column, channel in places:
        pixels[0, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16, channel] = 255
    return pixels


def same_token(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] // 2 == other[0] // 2 and one[1] // 2 == other[1] // 2


@given(st.integers(1, 4), st.integers(1, 4), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_targets_lie_where_the_marks_are(rows: int, columns: int, rng: random.Random) -> None:
    """Patches painted where the marks are come out of `patches` in the targets' order."""
    height, width = 32 * rows, 32 * columns
    grid = [(row, column) for row in range(2 * rows) for column in range(2 * columns)]
    places = rng.sample(grid, rng.randint(1, min(6, len(grid))))
    marks = []
    for order, (row, column) in enumerate(places):
        x, y = 16 * column + rng.uniform(0, 15.99), 16 * row + rng.uniform(0, 15.99)
        marks.append(Mark(x, y, rng.choice(LABELS), rng.choice([*COLOUR_NAMES, ""]), order + rng.choice((0, 9))))
    seen = sight(blank(height, width, *marks), 0, height, width)
    assert int((seen.labels != len(LABELS)).sum()) == len(marks)
    assert seen.words.shape == (rows * columns, len(WORDS))
    for (row, column), mark in zip(places, marks, strict=True):
        (where,) = np.flatnonzero(patches(painted(height, width, [(row, column, 1)])).max(1) > 0)
        assert seen.labels[where] == LABELS.index(mark.label)
        assert seen.colours[where] == (COLOUR_NAMES.index(mark.colour) if mark.colour else IGNORED)
        before = [other for other in marks if other.order < mark.order]
        same_label, same_colour = (
            sum(getattr(other, name) == getattr(mark, name) for other in before) for name in ("label", "colour")
        )
        wanted = [min(count, MOST_ORDERS - 1) for count in (mark.order, same_label, same_colour)]
        assert seen.orders[:, where].tolist() == wanted
        others = [
            len(marks) - 1,
            *(sum(getattr(other, name) == getattr(mark, name) for other in marks) - 1 for name in ("label", "colour")),
        ]
        in_token = [other for place, other in zip(places, marks, strict=True) if same_token(place, (row, column))]
        if mark is max(in_token, key=lambda other: other.order):
            assert seen.numbers[:, where // 4].tolist() == wanted + others
        else:
            assert seen.numbers[0, where // 4] >= wanted[0]
        assert seen.words[where // 4, WORDS.index(mark.label)] > 0
        if mark.colour:
            assert seen.words[where // 4, WORDS.index(mark.colour)] > 0


def test_words_say_what_a_token_shows_and_where_it_is() -> None:
    marks = Mark(4, 4, "star", "red"), Mark(28, 28, "cross", "blue", 1), Mark(80, 80, "7", "", 2)
    words = sight(blank(96, 96, *marks), 0, 96, 96).words
    assert words.sum(1).tolist() == pytest.approx([1, 0, 0, 0, 0, 0, 0, 0, 1])
    said = [{WORDS[index] for index in np.flatnonzero(row)} for row in words]
    assert said[0] == {"star", "red", "cross", "blue", "top", "left"}
    assert said[8] == {"7", "bottom", "right"}
    middle = sight(blank(96, 96, Mark(48, 48, "star")), 0, 96, 96).words[4]
    assert {WORDS[index] for index in np.flatnonzero(middle)} == {"star", "centre"}


def test_targets_of_a_video_are_those_of_the_pair_of_frames() -> None:
    marks = tuple(Mark(8 + 16 * frame, 8, "star", "red", 0, frame) for frame in range(4))
    video = Video(np.zeros((4, 32, 64, 3), np.uint8), 2.0, marks)
    seen = [sight(video, frame, 32, 64) for frame in (0, 2)]
    assert [np.flatnonzero(each.labels == LABELS.index("star")).tolist() for each in seen] == [[0, 1], [4, 5]]
    assert all((each.orders == IGNORED).all() and (each.numbers == IGNORED).all() for each in seen)


def test_a_mark_at_the_edge_stays_inside() -> None:
    seen = sight(blank(32, 32, Mark(32.0, 32.0, "star")), 0, 32, 32)
    assert seen.labels.tolist() == [len(LABELS)] * 3 + [LABELS.index("star")]


def test_right_answers_cost_little_and_wrong_ones_much(seed: int) -> None:
    """Patches and tokens that are their own answers, against answers of other pictures."""
    rng = random.Random(seed)
    seen = []
    for _ in range(12):
        mark = Mark(rng.uniform(0, 63), rng.uniform(0, 31), rng.choice(LABELS), rng.choice(COLOUR_NAMES))
        seen.append(sight(blank(32, 64, mark), 0, 32, 64))
    targets = [torch.from_numpy(np.stack(field)) for field in zip(*seen, strict=True)]
    named = Sight(*targets)
    one_hot = torch.nn.functional.one_hot
    answers = torch.cat(
        [
            one_hot(named.labels, len(LABELS) + 1),
            one_hot(named.colours.clamp(0), len(COLOUR_NAMES)),
            *(one_hot(order.clamp(0), MOST_ORDERS) for order in named.orders.unbind(1)),
        ],
        -1,
    ).float()
    numbers = [one_hot(number.clamp(0), MOST_ORDERS) for number in named.numbers.unbind(1)]
    tokens = torch.cat([named.words, *(0.05 * number for number in numbers)], -1)  # little beside the words
    questions = Questions(answers.shape[-1], tokens.shape[-1])
    with torch.no_grad():
        sizes = [len(LABELS) + 1, len(COLOUR_NAMES), 3 * MOST_ORDERS]
        for head, rows in zip(
            (questions.label, questions.colour, questions.order), torch.eye(sum(sizes)).split(sizes), strict=True
        ):
            head.weight.copy_(9 * rows)
            head.bias.zero_()
        questions.number.weight.copy_(180 * torch.eye(tokens.shape[-1])[len(WORDS) :])
        questions.number.bias.zero_()
    words = torch.eye(len(WORDS), tokens.shape[-1])
    right = questions(answers, tokens, words, targets)
    wrong = questions(answers, tokens, words, [target.roll(1, 0) for target in targets])
    # What is left: several words share a token's loss (log 3 or 4, halved), and softmax never reaches one.
    assert right < 1.0
    assert wrong > 3 * right


def test_pictures_without_marks_ask_for_nothing_but_that(seed: int) -> None:
    targets = [torch.from_numpy(field)[None] for field in sight(blank(32, 32), 0, 32, 32)]
    generator = torch.Generator().manual_seed(seed)
    seen, tokens = torch.randn(1, 4, 8, generator=generator), torch.randn(1, 1, 6, generator=generator)
    loss = Questions(8, 6)(seen, tokens, torch.randn(len(WORDS), 6, generator=generator), targets)
    assert loss.isfinite()


def test_every_word_has_tokens_of_its_own(tokenizer: Tokenizer) -> None:
    words = build_model(tokenizer, torch.float32).words
    assert all(words)
    assert len({tuple(word) for word in words}) == len(WORDS)
