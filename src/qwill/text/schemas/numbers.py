"""Regular expressions of the JSON numbers within bounds of any size, exact to the last digit.

Numbers are written without an exponent. The expressions keep to what Rust's regex crate and Python's re share.
"""

from dataclasses import dataclass
from decimal import Decimal

# A fraction behind more digits would make most readers round the whole number, too.
LARGE = 10**15
ANY_INTEGER = "-?(?:0|[1-9][0-9]*)"
ANY_NUMBER = rf"{ANY_INTEGER}(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_NOTHING = "[^\x00-\U0010ffff]"


@dataclass(frozen=True)
class Bound:
    """An end of a range, with or without the number itself."""

    value: Decimal
    open: bool = False


def integers(low: int | None, high: int | None) -> str:
    """Whole numbers from `low` to `high`, both among them; None is no bound. Zero has no sign."""
    parts = []
    if low is None or low < 0:
        parts += [f"-(?:{range_})" for range_ in _from_to(max(1, -high) if high is not None else 1, _negated(low))]
    if high is None or high >= 0:
        parts += _from_to(max(0, low or 0), high)
    return _either(parts)


def decimals(low: Bound | None, high: Bound | None, places: int | None = None) -> str:
    """Numbers within the bounds, with at most `places` digits behind the point; none of them from LARGE on."""
    parts = []
    if low is None or low.value < 0:
        ends = (Bound(-high.value, high.open) if high is not None else None), _mirrored(low)
        parts += [f"-(?:{found})" for found in _magnitudes(_at_least_zero(ends[0], True), ends[1], places)]
    if high is None or high.value > 0 or (high.value == 0 and not high.open):
        parts += _magnitudes(_at_least_zero(low, False), high, places)
    return _either(parts)


def _negated(low: int | None) -> int | None:
    return None if low is None else -low


def _mirrored(low: Bound | None) -> Bound | None:
    return None if low is None else Bound(-low.value, low.open)


def _at_least_zero(bound: Bound | None, open: bool) -> Bound:
    zero = Bound(Decimal(0), open)
    if bound is None or bound.value < 0:
        return zero
    return Bound(bound.value, bound.open or (open and bound.value == 0))


def _magnitudes(low: Bound, high: Bound | None, places: int | None) -> list[str]:
    """Numbers of at least 0 within the bounds. Those whose whole parts lie between those of the bounds have any
    fraction; the others are looked at digit by digit."""
    if high is not None and (low.value > high.value or (low.value == high.value and (low.open or high.open))):
        return []
    any_fraction = "" if places == 0 else rf"(?:\.[0-9]{{1,{places if places is not None else ''}}})?"
    first, first_digits = _split(low.value)
    if high is None:
        parts = _with_fractions(first + 1, None, any_fraction)
        return parts + _whole(first, _fractions(first_digits, low.open, None, False, places))
    last, last_digits = _split(high.value)
    if first == last:
        return _whole(first, _fractions(first_digits, low.open, last_digits, high.open, places))
    parts = _with_fractions(first + 1, last - 1, any_fraction)
    parts += _whole(first, _fractions(first_digits, low.open, None, False, places))
    return parts + _whole(last, _fractions("", False, last_digits, high.open, places))


def _split(value: Decimal) -> tuple[int, str]:
    """The whole part of a number of at least 0 and the digits behind the point, without zeros at the end."""
    whole, _, fraction = f"{value:f}".partition(".")
    return int(Decimal(whole)), fraction.rstrip("0")


def _with_fractions(low: int, high: int | None, fraction: str) -> list[str]:
    """Whole parts from `low` to `high`, with a fraction below LARGE."""
    small = _from_to(low, LARGE - 1 if high is None else min(high, LARGE - 1))
    parts = [f"(?:{_either(small)}){fraction}"] if small else []
    return parts + _from_to(max(low, LARGE), high)


def _whole(whole: int, fractions: list[str]) -> list[str]:
    if whole >= LARGE:
        fractions = [fraction for fraction in fractions if not fraction]
    return [f"{whole}(?:{'|'.join(fractions)})"] if fractions else []


def _fractions(low: str, low_open: bool, high: str | None, high_open: bool, places: int | None) -> list[str]:
    """Fractions, each with its point, or the empty text, within bounds that are digits behind the point. No `high`
    is 1, which is never reached."""
    found = []
    if not low and not low_open and not (high == "" and high_open):
        found.append("")
    digits = _digits(low, low_open, high, high_open, places)
    return [*found, rf"\.(?:{'|'.join(digits)})"] if digits else found


def _digits(low: str, low_open: bool, high: str | None, high_open: bool, places: int | None) -> list[str]:
    """Sequences of one digit or more that, as a fraction, lie within the bounds."""
    if places is not None and places <= 0:
        return []
    least = int(low[0]) if low else 0
    most = 9 if high is None else int(high[0]) if high else 0
    if least > most:
        return []
    left = None if places is None else places - 1
    tail = "[0-9]*" if left is None else f"[0-9]{{0,{left}}}" if left else ""
    low_binds, high_binds = bool(low) or low_open, high is not None
    found = []
    inner_least, inner_most = least + low_binds, most - high_binds
    if inner_least <= inner_most:
        found.append(f"[{inner_least}-{inner_most}]{tail}" if inner_least < inner_most else f"{inner_least}{tail}")
    if low_binds and high_binds and least == most:
        return found + _behind(least, low[1:], low_open, high[1:] if high else "", high_open, left)
    if low_binds:
        found += _behind(least, low[1:], low_open, None, False, left)
    if high_binds:
        found += _behind(most, "", False, high[1:] if high else "", high_open, left)
    return found


def _behind(digit: int, low: str, low_open: bool, high: str | None, high_open: bool, places: int | None) -> list[str]:
    """A digit and what may follow it, when what came before is as in a bound."""
    ends = not low and not low_open and not (high == "" and high_open)
    found = [str(digit)] if ends else []
    if not low and high == "":  # nothing but zeros can follow, or nothing
        if not low_open and not high_open and places != 0:
            found.append(f"{digit}0{{1,{places if places is not None else ''}}}")
        return found
    if not low and low_open and high is None:
        if places is None:
            return [*found, f"{digit}0*[1-9][0-9]*"]
        following = [f"0{{{zeros}}}[1-9][0-9]{{0,{places - zeros - 1}}}" for zeros in range(places)]
        return [*found, f"{digit}(?:{'|'.join(following)})"] if following else found
    following = _digits(low, low_open, high, high_open, places)
    return [*found, f"{digit}(?:{'|'.join(following)})"] if following else found


def _from_to(low: int, high: int | None) -> list[str]:
    """Whole numbers of at least 0, by their lengths."""
    first = str(low)
    if high is None:
        longer = f"[1-9][0-9]{{{len(first)},}}"
        return [*_same_length(first, "9" * len(first)), longer]
    if low > high:
        return []
    last = str(high)
    if len(first) == len(last):
        return _same_length(first, last)
    between = range(len(first) + 1, len(last))
    middle = [f"[1-9][0-9]{{{between.start - 1},{between.stop - 2}}}"] if between else []
    return [*_same_length(first, "9" * len(first)), *middle, *_same_length("1" + "0" * (len(last) - 1), last)]


def _same_length(low: str, high: str) -> list[str]:
    """Sequences of digits between two of the same length."""
    shared = next((place for place in range(len(low)) if low[place] != high[place]), len(low))
    if shared == len(low):
        return [low]
    head, least, most = low[:shared], int(low[shared]), int(high[shared])
    rest = len(low) - shared - 1
    free_low, free_high = set(low[shared + 1 :]) <= {"0"}, set(high[shared + 1 :]) <= {"9"}
    inner = (least if free_low else least + 1, most if free_high else most - 1)
    parts = []
    if inner[0] <= inner[1]:
        parts.append(f"{head}{_class(*inner)}{_some(rest)}")
    if not free_low:
        for place in range(shared + 1, len(low)):
            digit = int(low[place]) + (place < len(low) - 1)
            if digit <= 9:
                parts.append(f"{low[:place]}{_class(digit, 9)}{_some(len(low) - place - 1)}")
    if not free_high:
        for place in range(shared + 1, len(high)):
            digit = int(high[place]) - (place < len(high) - 1)
            if digit >= 0:
                parts.append(f"{high[:place]}{_class(0, digit)}{_some(len(high) - place - 1)}")
    return parts


def _class(least: int, most: int) -> str:
    return str(least) if least == most else f"[{least}-{most}]"


def _some(count: int) -> str:
    return "" if count == 0 else "[0-9]" if count == 1 else f"[0-9]{{{count}}}"


def _either(parts: list[str]) -> str:
    return "|".join(parts) if parts else _NOTHING
