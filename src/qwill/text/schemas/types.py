"""What the keywords of numbers and texts say together, in the simple form of sound.py."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from qwill.text.schemas.formats import HINTS, PATTERNS, RANGES
from qwill.text.schemas.numbers import LARGE
from qwill.text.schemas.parts import LeftOut, Part, count_of
from qwill.text.schemas.patterns import anything_fits, usable
from qwill.text.schemas.shapes import ARRAYS, OBJECTS
from qwill.text.schemas.values import ALL_TYPES, exact, is_number, sayable

Schema = dict[str, Any]
Node = Schema | None

_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "format")
_STRINGS = ("minLength", "maxLength", "pattern", "format")
CONSTRAINTS = frozenset({*_NUMBERS, *_STRINGS, *ARRAYS, *OBJECTS, "type", "const", "enum"})
_TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
# Keywords that bind values and that grammars do not hold to, with the values of theirs that bind nothing.
_UNHELD: dict[str, tuple[Any, ...]] = {
    "not": (False,), "if": (), "propertyNames": (True, {}, {"type": "string"}), "uniqueItems": (False,),
    "contains": (), "dependentRequired": ({},), "dependentSchemas": ({},), "dependencies": ({},), "extends": (),
    "disallow": (), "divisibleBy": (),
}  # fmt: skip
SMALL = LARGE  # whole numbers that doubles hold with some to spare
MOST_MULTIPLES = 1000  # that are listed one by one
MOST_STEPS = 10_000  # of a `multipleOf` that llguidance counts
MOST_PLACES = 60  # behind the point of a bound
MOST_LETTERS = 2**20


def unheld(schema: Mapping[str, Any]) -> list[str]:
    """The keywords that bind values and that no grammar holds to."""
    found = [key for key, nothing in _UNHELD.items() if key in schema and schema[key] not in nothing]
    if "if" in found and not schema.keys() & {"then", "else"}:
        found.remove("if")
    return found


def types_of(part: Part, left_out: LeftOut) -> frozenset[str]:
    """The types that a schema allows."""
    schema = part.schema
    stated = schema.get("type")
    if stated is None:
        return ALL_TYPES
    names = stated if isinstance(stated, list) else [stated]
    known = [name for name in names if isinstance(name, str) and name in _TYPES]
    if len(known) < len(names) or not names:
        wrong = next((name for name in names if name not in known), stated)
        left_out.add(part.at("type"), mistake=f"{str(wrong)[:40]!r} is no type; there are {', '.join(_TYPES)}")
        if not known:
            return ALL_TYPES
    nullable = ["null"] if schema.get("nullable") is True else []
    return frozenset([*known, *nullable]) - {"number"} | ({"integer", "fraction"} if "number" in known else frozenset())


def number(groups: Sequence[Part], whole: bool, left_out: LeftOut) -> Node:
    """Numbers within all bounds, whole ones or any."""
    lows: list[tuple[Decimal, bool, float]] = []
    highs: list[tuple[Decimal, bool, float]] = []
    steps: dict[Fraction, Part] = {}
    for group in groups:
        schema = group.schema
        if whole and (ends_of := RANGES.get(str(schema.get("format")))):
            lows.append((Decimal(ends_of[0]), False, ends_of[0]))
            highs.append((Decimal(ends_of[1]), False, ends_of[1]))
        for key, ends in (("inimum", lows), ("aximum", highs)):
            exclusive = schema.get(f"exclusiveM{key}")
            for name, open in ((f"m{key}", exclusive is True), (f"exclusiveM{key}", True)):
                value = schema.get(name)
                if name not in schema or (name == f"exclusiveM{key}" and isinstance(value, bool)):
                    continue
                if is_number(value) and len(f"{exact(value):f}".partition(".")[2]) <= MOST_PLACES:
                    ends.append((exact(value), open, value))
                else:
                    left_out.add(group.at(name))
        step = schema.get("multipleOf")
        if step is not None and not (is_number(step) and step > 0):
            left_out.add(group.at("multipleOf"))
        elif step is not None:
            steps[Fraction(exact(step))] = group
    low = max(lows, key=lambda end: (end[0], end[1]), default=None)
    high = min(highs, key=lambda end: (end[0], not end[1]), default=None)
    step = _common_multiple(list(steps)) if steps else None
    of_whole = whole or (step is not None and step.denominator == 1)
    found = (_whole_numbers if of_whole else _any_numbers)(low, high, step)
    held = step is None or found is None or found.keys() & {"multipleOf", "enum"}
    if step is not None and not held and not (step.numerator == 1 and found and found["type"] == "integer"):
        for group in steps.values():
            left_out.add(group.at("multipleOf"))
    return found


End = tuple[Decimal, bool, float] | None


def _common_multiple(steps: Sequence[Fraction]) -> Fraction:
    found = steps[0]
    for step in steps[1:]:
        found = Fraction(math.lcm(found.numerator, step.numerator), math.gcd(found.denominator, step.denominator))
    return found


def _whole_numbers(low: End, high: End, step: Fraction | None) -> Node:
    least = None if low is None else _next_whole(low[0], low[1], 1)
    most = None if high is None else _next_whole(high[0], high[1], -1)
    apart = step.numerator if step is not None else 1
    if apart > 1:
        least = None if least is None else -(-least // apart) * apart
        most = None if most is None else most // apart * apart
    if least is not None and most is not None:
        if least > most:
            return None
        if apart > 1 and (most - least) // apart < MOST_MULTIPLES:
            return {"enum": list(range(least, most + 1, apart))}
    bounds = {key: end for key, end in (("minimum", least), ("maximum", most)) if end is not None}
    counted = 1 < apart <= MOST_STEPS and all(abs(end) <= SMALL for end in bounds.values())
    return {"type": "integer", **bounds, **({"multipleOf": apart} if counted else {})}


def _next_whole(value: Decimal, open: bool, direction: int) -> int:
    fraction = Fraction(value)
    whole = math.ceil(fraction) if direction > 0 else math.floor(fraction)
    return whole + direction if open and whole == fraction else whole


def _any_numbers(low: End, high: End, step: Fraction | None) -> Node:
    if low is not None and high is not None and (low[0] > high[0] or (low[0] == high[0] and (low[1] or high[1]))):
        return None
    if (low is not None and low[0] >= SMALL) or (high is not None and high[0] <= -SMALL):
        return _whole_numbers(low, high, step)
    found: Schema = {"type": "number"}
    for end, name in ((low, "inimum"), (high, "aximum")):
        if end is not None:
            found[f"exclusiveM{name}" if end[1] else f"m{name}"] = end[2]
    if step is None:
        return found
    if low is not None and high is not None:
        first, last = Fraction(low[0]) / step, Fraction(high[0]) / step
        least = math.floor(first) + 1 if low[1] else math.ceil(first)
        most = math.ceil(last) - 1 if high[1] else math.floor(last)
        if least > most:
            return None
        if most - least < MOST_MULTIPLES:
            members = [float(step * count) for count in range(least, most + 1)]
            if all(Fraction(repr(member)) == step * count for count, member in enumerate(members, least)):
                return {"enum": members}
    if step.numerator == 1 and _places(step) is not None:
        found["multipleOf"] = float(step)
    return found


def _places(step: Fraction) -> int | None:
    """How many digits behind the point multiples of a tenth, a hundredth and so on have; None for other steps."""
    return next((count for count in range(1, 10) if 10**count == step.denominator and step.numerator == 1), None)


def places(step: float | None) -> int | None:
    """The same of a schema's `multipleOf`."""
    return None if step is None else _places(Fraction(exact(step)))


def string(groups: Sequence[Part], left_out: LeftOut) -> Node:
    """Texts of all the lengths, patterns and formats."""
    least, most = 0, None
    patterns: dict[str, None] = {}
    for group in groups:
        schema = group.schema
        if (length := count_of(group, "minLength", left_out)) is not None:
            least = max(least, length)
        if (length := count_of(group, "maxLength", left_out)) is not None:
            most = length if most is None else min(most, length)
        if "pattern" in schema:
            if isinstance(schema["pattern"], str) and sayable(schema["pattern"]) and usable(schema["pattern"]):
                patterns[schema["pattern"]] = None
            else:
                left_out.add(group.at("pattern"))
        form = schema.get("format")
        if isinstance(form, str) and form in PATTERNS:
            patterns[f"^(?:{PATTERNS[form]})$"] = None
        elif form is not None and not (
            isinstance(form, str) and form in RANGES and types_of(group, LeftOut()) <= {"integer"}
        ):
            left_out.add(group.at("format"), hint=isinstance(form, str) and form in HINTS)
    if most is not None and least > most:
        return None
    if patterns and (least or most is not None or len(patterns) > 1):
        anything = anything_fits(tuple(patterns), least, most)
        if anything is False:
            return None
        if anything is None:
            for group in groups:
                for key in ("pattern", "format"):
                    if key in group.schema:
                        left_out.add(group.at(key))
            patterns = {}
    found: Schema = {"type": "string"}
    if least:
        found["minLength"] = least
    if most is not None and most <= MOST_LETTERS:
        found["maxLength"] = most
    if len(patterns) == 1:
        found["pattern"] = next(iter(patterns))
    elif patterns:
        found["allOf"] = [{"pattern": pattern} for pattern in patterns]
    return found
