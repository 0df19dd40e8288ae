"""Expressions of numbers within bounds, against the numbers themselves."""

import random
import re
from decimal import Decimal

import pytest

from qwill.text.schemas.numbers import Bound, decimals, integers


def ends(generator: random.Random) -> list[int]:
    """Bounds of one digit to forty, some close together."""
    first = generator.randint(-(10 ** generator.randint(1, 40)), 10 ** generator.randint(1, 40))
    other = first + generator.randint(0, 10 ** generator.randint(1, 30))
    return [first, generator.choice([first, other, other])]


def test_whole_numbers_within_bounds_of_any_size() -> None:
    generator = random.Random()
    for _ in range(400):
        least, most = ends(generator)
        low, high = generator.choice([(least, most), (least, most), (None, most), (least, None)])
        pattern = re.compile(integers(low, high))
        near = [end + step for end in (least, most) for step in (-10, -1, 0, 1, 10)]
        for number in [
            *near,
            0,
            -1,
            1,
            (least + most) // 2,
            -least,
            10 * most,
            most // 10,
            generator.randint(least, most),
        ]:
            fits = (low is None or number >= low) and (high is None or number <= high)
            assert bool(pattern.fullmatch(str(number))) is fits, (low, high, number)
            assert not pattern.fullmatch(f"0{number}")
        assert not pattern.fullmatch("-0")


def test_small_ranges_whole() -> None:
    for low in range(-25, 26):
        for high in range(-25, 126, 7):
            pattern = re.compile(integers(low, high))
            found = [number for number in range(-130, 1300) if pattern.fullmatch(str(number))]
            assert found == list(range(low, high + 1))


@pytest.mark.parametrize("places", [None, 0, 1, 2, 5])
def test_decimals_within_bounds(places: int | None) -> None:
    generator = random.Random()

    def draw() -> Decimal:
        return Decimal(generator.randint(-3000, 3000)).scaleb(-generator.randint(0, 3))

    for _ in range(600):
        low, high = Bound(draw(), generator.random() < 0.5), Bound(draw(), generator.random() < 0.5)
        if generator.random() < 0.4:
            high = Bound(low.value + Decimal(generator.randint(-2, 20)).scaleb(-generator.randint(0, 3)), high.open)
        pattern = re.compile(decimals(low, high, places))
        for _ in range(30):
            number = generator.choice([draw(), low.value, high.value])
            number += Decimal(generator.randint(-12, 12)).scaleb(-generator.randint(0, 4))
            text = f"{number:f}" + generator.choice(["", "", "0" if "." in f"{number:f}" else ".00"])
            above = number > low.value if low.open else number >= low.value
            below = number < high.value if high.open else number <= high.value
            short = places is None or len(text.partition(".")[2]) <= places
            if not text.startswith("-0") or number != 0:
                assert bool(pattern.fullmatch(text)) is (above and below and short), (low, high, text)


def test_large_numbers_have_no_fractions() -> None:
    """With one, most readers would round the whole number, too."""
    pattern = re.compile(decimals(Bound(Decimal(10**14)), Bound(Decimal(9007199254740995))))
    for text in ("100000000000000", "999999999999999.75", "1000000000000000", "9007199254740995", "9007199254740993"):
        assert pattern.fullmatch(text)
    for text in ("99999999999999.9", "1000000000000000.5", "9007199254740995.0", "9007199254740996"):
        assert not pattern.fullmatch(text)


def test_bounds_with_many_digits() -> None:
    low, high = Decimal("0.000000000000000000000001"), Decimal("5e-24")
    pattern = re.compile(decimals(Bound(low), Bound(high, open=True)))
    for text in ("0.000000000000000000000001", "0.00000000000000000000000499"):
        assert pattern.fullmatch(text)
    for text in ("0", "0.000000000000000000000005", "0.0000000000000000000000009", "1"):
        assert not pattern.fullmatch(text)
