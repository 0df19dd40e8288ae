"""What the generators draw, measured from the pixels alone, agrees with what they say about it."""

import random
import zlib
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from training.examples import Example, Picture, Video
from training.tasks import charts, compare, forms, pictures, reading, shapes, video
from training.tasks.drawing import COLOUR_NAMES, COLOURS, LABELS

SEEDS = range(40)
NUMBERS = {"One.": 1, "Two.": 2, "Three.": 3, "Four.": 4, "Five.": 5, "Six.": 6}
# A colour's channels vary by 12 with its shade, by 14 with noise; any two of the eight differ by 80 in one.
TOLERANCE = 26


def drawn(task, held_out=True, seeds=SEEDS) -> list[Example]:
    return [task(random.Random(seed), held_out) for seed in seeds]


def question(example: Example) -> str:
    content = example.messages[-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def spoken(example: Example) -> list[str]:
    return [message["content"] for message in example.messages if message["role"] == "assistant"] + [example.answer]


def nearest_colour(pixels: np.ndarray) -> np.ndarray:
    """Index of the nearest of the eight colours, [...] for [..., 3]."""
    table = np.array(list(COLOURS.values()), np.int32)
    return np.abs(pixels[..., None, :].astype(np.int32) - table).sum(-1).argmin(-1)


def pieces(mask: np.ndarray, smallest: int = 12) -> list[np.ndarray]:
    """The connected pieces of a mask (four neighbours), as [pixels, 2] of row and column; specks left out."""
    left, found = {(int(y), int(x)) for y, x in np.argwhere(mask)}, []
    while left:
        stack = [left.pop()]
        piece = list(stack)
        while stack:
            y, x = stack.pop()
            for neighbour in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if neighbour in left:
                    left.remove(neighbour)
                    stack.append(neighbour)
                    piece.append(neighbour)
        if len(piece) >= smallest:
            found.append(np.array(piece))
    return found


def foreground(pixels: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Where a picture differs from its background's colour by more than noise."""
    return np.abs(pixels.astype(np.int32) - back).max(-1) > 45


def background_of(pixels: np.ndarray) -> np.ndarray:
    """Median colour: all these pictures are mostly background."""
    return np.median(pixels.reshape(-1, 3), axis=0)


def test_shares_sum_to_one():
    assert sum(pictures.TASKS.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("task", pictures.TASKS, ids=lambda task: task.__name__)
def test_examples_keep_the_contract(task):
    for held_out in (False, True):
        for example in drawn(task, held_out, range(25)):
            parts = [part["type"] for part in example.messages[0]["content"]]
            expected = ["image" if isinstance(item, Picture) else "video" for item in example.media]
            assert parts == [*expected, "text"]
            assert [m["role"] for m in example.messages] == ["user", "assistant"] * (len(example.messages) // 2) + [
                "user"
            ]
            assert not held_out or len(example.messages) == 1
            assert example.answer
            assert bool(example.reasoning) == example.thinking
            asked = [m["content"] for m in example.messages if m["role"] == "user" and isinstance(m["content"], str)]
            assert len(set(asked)) == len(asked)
            for item in example.media:
                pixels = item.pixels if isinstance(item, Picture) else item.frames
                assert pixels.dtype == np.uint8
                height, width, channels = pixels.shape[-3:]
                assert (height % 32, width % 32, channels) == (0, 0, 3)
                if isinstance(item, Video):
                    assert len(pixels) in (8, 10, 12)
                    assert item.fps == 2.0
                for mark in item.marks:
                    assert mark.label in LABELS
                    assert mark.colour in ("", *COLOUR_NAMES)
                    assert 0 <= mark.x <= width
                    assert 0 <= mark.y <= height


@pytest.mark.parametrize("task", pictures.TASKS, ids=lambda task: task.__name__)
def test_a_seed_gives_the_same_example_again(task):
    first, second = task(random.Random(7), False), task(random.Random(7), False)
    assert (first.messages, first.answer, first.reasoning) == (second.messages, second.answer, second.reasoning)
    for one, two in zip(first.media, second.media, strict=True):
        pixels = [item.pixels if isinstance(item, Picture) else item.frames for item in (one, two)]
        np.testing.assert_array_equal(*pixels)
        assert one.marks == two.marks


@pytest.mark.parametrize("task", pictures.TASKS, ids=lambda task: task.__name__)
def test_a_quarter_thinks_and_seeds_differ(task):
    examples = drawn(task, False, range(200))
    share = 0.1 if task is reading.reading else 0.25
    # Four standard deviations of a share of 200.
    reach = 4 * (share * (1 - share) / 200) ** 0.5
    assert abs(np.mean([example.thinking for example in examples]) - share) < reach + 0.05
    assert len({example.answer for example in examples}) > 4 or task in (video.direction,)
    assert len({item.marks for example in examples for item in example.media}) > 150


def test_every_mark_of_a_shape_lies_on_its_colour():
    tasks = (shapes.colour, shapes.count, shapes.position, compare.comparison, video.order, video.direction)
    for example in [e for task in tasks for e in drawn(task, seeds=range(15))]:
        for item in example.media:
            for mark in item.marks:
                image = item.pixels if isinstance(item, Picture) else item.frames[mark.frame]
                pixel = image[int(mark.y), int(mark.x)].astype(int)
                assert np.abs(pixel - COLOURS[mark.colour]).max() <= TOLERANCE, mark


def test_colour_of_a_single_shape_is_what_most_foreground_pixels_have():
    asked = 0
    for example in drawn(shapes.colour, seeds=range(80)):
        if len(example.media[0].marks) == 1:
            pixels = example.media[0].pixels
            mask = foreground(pixels, background_of(pixels))
            if mask.mean() < 0.4:
                common = Counter(nearest_colour(pixels[mask]).tolist()).most_common(1)[0][0]
                assert example.answer == COLOUR_NAMES[common].capitalize() + "."
                asked += 1
    assert asked > 15


def test_as_many_pieces_as_counted():
    asked = 0
    for example in drawn(shapes.count, seeds=range(120)):
        pixels = example.media[0].pixels
        found = pieces(foreground(pixels, background_of(pixels)))
        if "shapes" in question(example) and not any(colour in question(example) for colour in COLOUR_NAMES):
            assert len(found) == NUMBERS[example.answer]
            asked += 1
        assert len(found) == len(example.media[0].marks)
    assert asked > 40


def test_as_many_pieces_of_a_colour_as_counted():
    asked = 0
    for example in drawn(shapes.count, seeds=range(150)):
        wanted = [colour for colour in COLOUR_NAMES if f"{colour} shapes" in question(example)]
        if wanted:
            # The commonest nearest colour of each piece; its edge may be nearest to another.
            pixels = example.media[0].pixels
            found = [
                Counter(nearest_colour(pixels[piece[:, 0], piece[:, 1]]).tolist()).most_common(1)[0][0]
                for piece in pieces(foreground(pixels, background_of(pixels)))
            ]
            assert found.count(COLOUR_NAMES.index(wanted[0])) == NUMBERS[example.answer]
            asked += 1
    assert asked > 15


def test_positions_are_where_the_pixels_are():
    words = {}
    for example in drawn(shapes.position, seeds=range(200)):
        picture = example.media[0]
        if len(picture.marks) == 1:
            (piece,) = pieces(foreground(picture.pixels, background_of(picture.pixels)))
            y, x = (piece.min(0) + piece.max(0)) / 2 / picture.pixels.shape[:2]
            row, column = (("top", "", "bottom")[int(y * 3)], ("left", "", "right")[int(x * 3)])
            expected = (f"{row} {column}".strip() or "centre").capitalize() + "."
            assert example.answer == expected
            words[expected] = True
    assert len(words) > 5


def test_shapes_fill_their_boxes_as_their_geometry_says():
    # Of the box around it: a circle π/4; a star of inner radius 0.42 10/2 · 0.42 · sin 36° over its 1.90 × 1.81 box;
    # a cross with arms of 0.33 its radius 1 - 0.67².
    filled = {"circle": 0.785, "square": 1.0, "triangle": 0.5, "star": 0.359, "cross": 0.551}
    seen = set()
    for example in drawn(shapes.shape, seeds=range(150)):
        picture = example.media[0]
        if len(picture.marks) == 1:
            (piece,) = pieces(foreground(picture.pixels, background_of(picture.pixels)))
            box = piece.max(0) - piece.min(0) + 1
            assert example.answer == picture.marks[0].label.capitalize() + "."
            if min(box) >= 18:
                # Half-covered pixels along the edges, taken or left, make a tenth of such a box.
                assert len(piece) / np.prod(box) == pytest.approx(filled[picture.marks[0].label], abs=0.1)
                seen.add(example.answer)
    assert len(seen) == 5


def test_descriptions_name_everything_from_left_to_right():
    for example in drawn(shapes.description):
        marks = sorted(example.media[0].marks, key=lambda mark: mark.x)
        words = example.answer.rstrip(".").lower().split(", ")
        assert [word.split(" ", 1)[1] for word in words] == [f"{mark.colour} {mark.label}" for mark in marks]


def test_relations_follow_the_marks():
    asked = 0
    for example in drawn(shapes.position, seeds=range(200)):
        words = question(example).rstrip("?").split()
        marks = {mark.label: mark for mark in example.media[0].marks}
        if len(words) > 3 and words[-2] == "the" and words[-1] in marks and words[-3] in ("of", "above", "below"):
            two = marks[words[-1]]
            one = marks[words[2]] if words[0] == "Is" else marks[example.answer.rstrip(".").lower()]
            facts = {
                "left of": one.x < two.x,
                "right of": one.x > two.x,
                "above": one.y < two.y,
                "below": one.y > two.y,
            }
            relation = next(name for name in facts if f" {name} " in question(example))
            assert facts[relation] == (example.answer != "No.")
            asked += 1
    assert asked > 30


def test_held_out_texts_are_never_trained_on():
    trained = {text for example in drawn(reading.reading, False, range(300)) for text in whole_text(example)}
    unseen = {text for example in drawn(reading.reading, True, range(300)) for text in whole_text(example)}
    assert not trained & unseen
    assert all(zlib.crc32(text.encode()) % 8 == 3 for text in unseen)
    assert {len(text) for text in trained} == set(range(1, 9))


def whole_text(example: Example) -> list[str]:
    return ["".join(mark.label for mark in sorted(example.media[0].marks, key=lambda mark: mark.order))]


def test_read_text_is_the_answer_and_large_enough():
    for example in drawn(reading.reading, seeds=range(100)):
        picture = example.media[0]
        assert example.answer == whole_text(example)[0]
        assert [mark.x for mark in picture.marks] == sorted(mark.x for mark in picture.marks)
        mask = foreground(picture.pixels, background_of(picture.pixels))
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        # Edge rows of thin strokes may fall below the threshold.
        assert rows[-1] - rows[0] + 1 >= 12
        # Nothing is cut off at the sides.
        assert columns[0] > 0
        assert columns[-1] < picture.pixels.shape[1] - 1


def test_characters_are_where_their_marks_are():
    checked = 0
    for example in drawn(reading.reading, seeds=range(100)):
        picture = example.media[0]
        found = pieces(foreground(picture.pixels, background_of(picture.pixels)), smallest=3)
        # Thin strokes break and serifs touch; where there is one piece a character, each has its mark in its middle.
        if len(found) == len(picture.marks):
            middles = sorted(((piece.min(0) + piece.max(0) + 1) / 2).tolist()[::-1] for piece in found)
            marks = [[mark.x, mark.y] for mark in picture.marks]
            # The threshold may leave out a thin serif on one side: up to 6 pixels, half of that in the middle.
            np.testing.assert_allclose(middles, marks, atol=3)
            checked += 1
    assert checked > 40


def test_earlier_answers_about_a_text_are_right():
    expected = {
        "What is the first character?": lambda text: text[0],
        "What is the last character?": lambda text: text[-1],
    }
    asked = 0
    for example in drawn(reading.reading, False, range(100)):
        users = [m["content"] for m in example.messages if m["role"] == "user"]
        users[0] = users[0][-1]["text"]
        for asking, answer in zip(users, spoken(example), strict=True):
            if asking in expected:
                assert answer == expected[asking](whole_text(example)[0])
                asked += 1
    assert asked > 20


def test_highest_bar_is_the_highest_in_pixels():
    for example in drawn(charts.chart, seeds=range(80)):
        picture = example.media[0]
        heights = {}
        colour_at = nearest_colour(picture.pixels)
        for mark in picture.marks:
            if mark.label == "bar":
                column = colour_at[:, int(mark.x)]
                heights[mark.order] = int((column == COLOUR_NAMES.index(mark.colour)).sum())
        ranked = sorted(heights, key=lambda order: heights[order])
        # Bars differ by 0.08 of the plot or more, and the plot is 60 pixels high at least.
        assert heights[ranked[-1]] - heights[ranked[-2]] >= 4
        names = {mark.order: mark.colour for mark in picture.marks if mark.label == "bar"}
        letters = {mark.order: mark.label for mark in picture.marks if mark.label != "bar"}
        by_letter = letters and "colour" not in question(example)
        highest = (letters if by_letter else names)[ranked[-1]]
        assert example.answer == highest.capitalize() + "."


def test_same_pictures_are_the_same():
    seen = Counter()
    for example in drawn(compare.comparison, seeds=range(200)):
        first, second = (item.pixels for item in example.media)
        asking = question(example)
        if asking in ("Are the two pictures the same?", "Do both pictures show the same?"):
            assert (example.answer == "Yes.") == np.array_equal(first, second)
            seen["same"] += 1
        elif asking in ("Which picture has more shapes?", "Where are more shapes?"):
            one, two = (len(pieces(foreground(pixels, background_of(pixels)))) for pixels in (first, second))
            expected = "Both the same." if one == two else "The first." if one > two else "The second."
            assert example.answer == expected
            seen["more"] += 1
        elif asking == "Is it the same colour in both pictures?":
            (one,), (two,) = (item.marks for item in example.media)
            assert example.answer == ("Yes." if one.colour == two.colour else "No.")
            seen["colour"] += 1
    assert min(seen["same"], seen["more"], seen["colour"]) > 4, seen


class FormReader(HTMLParser):
    """Collects what a form has, and fails where a tag is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag == "input":
            self.found.append("checkbox" if dict(attrs)["type"] == "checkbox" else "field")
        else:
            self.open.append(tag)
            if tag != "form":
                self.found.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_form_html_has_what_the_picture_has():
    for example in drawn(forms.form, seeds=range(60)):
        reader = FormReader()
        reader.feed(example.answer)
        reader.close()
        assert reader.open == []
        assert Counter(reader.found) == Counter(mark.label for mark in example.media[0].marks)
        assert set(reader.words) <= {*forms.LABELS, *forms.BUTTONS}
        assert zlib.crc32(example.answer.encode()) % 8 == 3


def test_ticked_boxes_are_dark_inside():
    boxes = 0
    for example in drawn(forms.form, seeds=range(60)):
        picture = example.media[0]
        ticks = [part.startswith(" checked") for part in example.answer.split('type="checkbox"')[1:]]
        marks = sorted((mark for mark in picture.marks if mark.label == "checkbox"), key=lambda mark: mark.order)
        for mark, ticked in zip(marks, ticks, strict=True):
            y, x = round(mark.y), round(mark.x)
            assert (picture.pixels[y - 5 : y + 6, x - 5 : x + 6].min() < 100) == ticked
            boxes += 1
    assert boxes > 20


def test_no_label_runs_into_its_field():
    """The column left of every field and box is paper."""
    for example in drawn(forms.form, seeds=range(60)):
        picture = example.media[0]
        for mark in picture.marks:
            if mark.label == "checkbox":
                y, x = round(mark.y), round(mark.x) - 10
                assert picture.pixels[y - 6 : y + 7, x].min() > 150


def test_direction_is_the_way_of_the_centroid():
    for example in drawn(video.direction):
        frames = example.media[0].frames
        back = background_of(frames)
        centroids = np.array([np.argwhere(foreground(f, back)).mean(0) for f in frames])
        dy, dx = centroids[-1] - centroids[0]
        expected = ("Right." if dx > 0 else "Left.") if abs(dx) > abs(dy) else ("Down." if dy > 0 else "Up.")
        assert example.answer == expected
        assert max(abs(dx), abs(dy)) > 0.35 * frames.shape[1]


def test_order_is_that_of_the_first_frames_with_a_colour():
    for example in drawn(video.order, seeds=range(60)):
        item = example.media[0]
        first = {}
        for index, picture in enumerate(item.frames):
            for piece in pieces(foreground(picture, background_of(picture))):
                pixels = picture[piece[:, 0], piece[:, 1]]
                colour = COLOUR_NAMES[Counter(nearest_colour(pixels).tolist()).most_common(1)[0][0]]
                first.setdefault(colour, index)
        order = sorted(first, key=lambda colour: first[colour])
        assert len(set(first.values())) == len(first) in (2, 3)
        named = {mark.colour: mark.label for mark in item.marks}
        if "shape" in question(example):
            order = [named[colour] for colour in order]
        words = example.answer.rstrip(".").lower().split(", ")
        if len(words) > 1:
            assert words == order
        else:
            index = next(
                i for word, i in (("first", 0), ("second", 1), ("third", 2), ("last", -1)) if word in question(example)
            )
            assert words[0] == order[index]


def test_blinks_are_the_times_the_pixels_light_up():
    counts = set()
    for example in drawn(video.blinks, seeds=range(60)):
        frames = example.media[0].frames
        dark = np.median(frames.reshape(-1, 3), axis=0)
        lit = [bool(foreground(picture, dark).sum() > 20) for picture in frames]
        rises = sum(now and not before for before, now in zip([False, *lit], lit, strict=False))
        assert NUMBERS[example.answer] == rises
        # Every blink is within one pair of frames, as the vision tower takes them.
        assert sum(any(lit[index : index + 2]) for index in range(0, len(lit), 2)) == rises
        counts.add(rises)
    assert counts == {1, 2, 3, 4, 5}
