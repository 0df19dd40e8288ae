"""Sums, differences and products. A chain of reasoning goes digit by digit and needs one small table at a time."""

import random

from training.examples import Example
from training.tasks.common import is_held_out

PLACES = ("ones", "tens", "hundreds")
ORDER = ("first", "second", "third", "fourth")
WORDS = {"+": "plus", "-": "minus", "*": "times"}
COMMON_FORMS = (
    "What is {a} {s} {b}?",
    "{a} {s} {b} =",
    "{a} {s} {b}",
    "{a}{s}{b}",
    "How much is {a} {w} {b}?",
    "Calculate {a} {s} {b}.",
    "What is {a} {w} {b}?",
    "Solve {a} {s} {b}.",
    "Can you compute {a} {s} {b}?",
    "What do I get for {a} {w} {b}?",
)
FORMS = {
    "+": (*COMMON_FORMS, "Add {a} and {b}.", "What is the sum of {a} and {b}?", "I have {a} and get {b} more."),
    "-": (*COMMON_FORMS, "Subtract {b} from {a}.", "Take {b} away from {a}."),
    "*": (*COMMON_FORMS, "Multiply {a} by {b}.", "What is the product of {a} and {b}?", "What is {a} x {b}?"),
}


def value(a: int, sign: str, b: int) -> int:
    return a + b if sign == "+" else a - b if sign == "-" else a * b


def is_table(a: int, sign: str, b: int) -> bool:
    """Whether the result is learned by heart: two single digits, or a product of the table up to 9 x 20."""
    return max(a, b) < 10 or (sign == "*" and min(a, b) < 10 and max(a, b) <= 20)


def is_held_out_sum(a: int, sign: str, b: int) -> bool:
    """Whether the calculation, in either order, is kept for the evaluation. Those learned by heart never are."""
    return not is_table(a, sign, b) and is_held_out(f"{min(a, b)} {sign} {max(a, b)}")


def steps(a: int, sign: str, b: int) -> str:
    """The chain of reasoning."""
    return {"+": addition, "-": subtraction, "*": product}[sign](a, b)


def addition(a: int, b: int) -> str:
    """Column by column; each column adds the carry, the first digit of the column before."""
    width = max(len(str(a)), len(str(b)))
    first, second = str(a).zfill(width), str(b).zfill(width)
    lines, carry, digits = [f"{first}+{second}"], 0, ""
    for place in range(width):
        x, y = int(first[-1 - place]), int(second[-1 - place])
        total = x + y + carry
        lines.append(f"{PLACES[place]} {x}+{y}+{carry}={total:02d}")
        carry, digits = total // 10, str(total % 10) + digits
    return "\n".join([*lines, f"{carry}{digits}"])


def subtraction(a: int, b: int) -> str:
    """Compares the numbers from the left, then takes the smaller from the larger column by column."""
    width = max(len(str(a)), len(str(b)))
    first, second = str(a).zfill(width), str(b).zfill(width)
    compared = []
    for one, other in zip(first, second, strict=True):
        compared.append(f"{one}{'=' if one == other else '<' if one < other else '>'}{other}")
        if one != other:
            break
    sign = "minus" if a < b else "plus"
    large, small = (second, first) if a < b else (first, second)
    lines, borrow, digits = [f"{first}-{second}", f"{' '.join(compared)} {sign} {large}-{small}"], 0, ""
    for place in range(width):
        x, y = int(large[-1 - place]), int(small[-1 - place])
        rest = x - y - borrow
        lines.append(f"{PLACES[place]} {x}-{y}-{borrow}={rest} borrow {int(rest < 0)} gives {rest % 10}")
        borrow, digits = int(rest < 0), str(rest % 10) + digits
    return "\n".join([*lines, f"{sign} {digits}"])


def product(a: int, b: int) -> str:
    """Digit by digit; each step adds the digit that already stands in its place and the carry of the step before."""
    if len(str(a)) < len(str(b)):
        a, b = b, a
    lines, result, number = [f"{a}*{b}"], [0] * (len(str(a)) + len(str(b))), 0
    for row, y in enumerate(map(int, reversed(str(b)))):
        carry = 0
        for column, x in enumerate(map(int, reversed(str(a)))):
            there = result[row + column]
            total = y * x + there + carry
            lines.append(f"{ORDER[number]} {y}*{x}+{there}+{carry}={y * x:02d}+{there + carry:02d}={total:02d}")
            number += 1
            result[row + column], carry = total % 10, total // 10
        result[row + len(str(a))] = carry
    return "\n".join([*lines, "".join(map(str, reversed(result)))])


def number(rng: random.Random, digits: int) -> int:
    """Uniform among the numbers with exactly so many digits."""
    return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def example(rng: random.Random, a: int, sign: str, b: int, task: str, thinking: bool) -> Example:
    symbol = "×" if sign == "*" and rng.random() < 0.15 else sign
    question = rng.choice(FORMS[sign]).format(a=a, b=b, s=symbol, w=WORDS[sign])
    answer = f"{a} {sign} {b} = {value(a, sign, b)}"
    return Example(task, [{"role": "user", "content": question}], answer, steps(a, sign, b), thinking)


def draw_pair(rng: random.Random, sign: str, held_out: bool, shapes: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """Two numbers with the digits of one of the `shapes`, in either order. What is learned by heart is on both sides,
    but rare on the held-out one."""
    while True:
        digits = rng.choice(shapes)
        if rng.random() < 0.5:
            digits = digits[::-1]
        a, b = number(rng, digits[0]), number(rng, digits[1])
        if is_table(a, sign, b) and held_out and rng.random() < 0.9:
            continue
        if is_table(a, sign, b) or is_held_out_sum(a, sign, b) == held_out:
            return a, b


SMALL = ((1, 1), (1, 2), (2, 2), (2, 2))
LARGE = ((1, 1), (1, 2), (2, 2), (2, 2), (1, 3), (2, 3), (2, 3), (3, 3), (3, 3), (3, 3))


def sums_with_thinking(rng: random.Random, held_out: bool) -> Example:
    """Additions and subtractions of one to three digits."""
    sign = rng.choice("+-")
    a, b = draw_pair(rng, sign, held_out, LARGE)
    return example(rng, a, sign, b, "arithmetic, thinking", True)


def products_with_thinking(rng: random.Random, held_out: bool) -> Example:
    a, b = draw_pair(rng, "*", held_out, ((1, 1), (1, 2), (1, 2), (2, 2), (2, 2), (2, 2)))
    return example(rng, a, "*", b, "multiplication, thinking", True)


def sums(rng: random.Random, held_out: bool) -> Example:
    """Answered at once: sums of one or two digits, now and then of three."""
    sign = rng.choice("+-")
    if rng.random() < 0.25:
        a, b = draw_pair(rng, sign, held_out, ((1, 3), (2, 3), (3, 3)))
        return example(rng, a, sign, b, "arithmetic, 3 digits", False)
    a, b = draw_pair(rng, sign, held_out, SMALL)
    return example(rng, a, sign, b, "arithmetic", False)


def products(rng: random.Random, held_out: bool) -> Example:
    """Answered at once: the table up to 9 x 20, the same on both sides of the split."""
    a, b = rng.randrange(10), rng.randrange(21)
    if rng.random() < 0.5:
        a, b = b, a
    return example(rng, a, "*", b, "multiplication", False)


def plain_text(rng: random.Random, held_out: bool) -> Example:
    """A sum to go on with, without the chat format."""
    sign = rng.choice("+-")
    a, b = draw_pair(rng, sign, held_out, SMALL)
    prompt = [{"role": "user", "content": f"{a} {sign} {b} ="}]
    return Example("arithmetic, plain text", prompt, f" {value(a, sign, b)}", raw=True)
