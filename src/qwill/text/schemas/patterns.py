"""Which regular expressions grammars can hold to."""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from qwill.text.lark import full_match

MOST_CHARACTERS = 8192
LARGEST = 8192  # characters and classes of a pattern, as often as they are repeated
DEEPEST = 100  # groups in groups
MOST_PATTERNS = 16  # beside each other
_PIECE = re.compile(r"\\.|\[(?:\^?\]?(?:\\.|[^\]\\])*)\]|\{(\d+)(?:,(\d*))?\}|.", re.DOTALL)


@lru_cache(maxsize=4096)
def usable(pattern: str) -> bool:
    """Whether the pattern, as JSON schema has it, can bind a text: it has no look-around and no references back, is of
    a reasonable size and matches something."""
    if len(pattern) > MOST_CHARACTERS or "\0" in pattern or not _is_small(pattern):
        return False
    return not _complaint({"type": "string", "pattern": pattern})


def _is_small(pattern: str) -> bool:
    """Whether a pattern is of a size and depth within the bounds when counted repetitions are written out."""
    sizes, last = [0], 0  # of the groups that are open, and of what a repetition would repeat
    for piece in _PIECE.finditer(pattern):
        text = piece[0]
        if text == "(":
            sizes.append(0)
            if len(sizes) > DEEPEST:
                return False
        elif text == ")" and len(sizes) > 1:
            last = sizes.pop()
            sizes[-1] += last
        elif piece[1] is not None:
            digits = piece[2] or piece[1]
            if len(digits) > 5:
                return False
            sizes[-1] += last * (int(digits) - 1)
            last *= int(digits)
        elif text not in ("|", "*", "+", "?"):
            last = 1
            sizes[-1] += 1
        if sum(sizes) > LARGEST:
            return False
    return True


def searched(pattern: str) -> str | None:
    """An expression of whole texts in which a usable pattern is found, without anchors; None when they stand where it
    cannot do without."""
    return _without_anchors(pattern, "(?s:.*)")


def matched(pattern: str) -> str | None:
    """An expression, without anchors, of whole texts that a pattern matches from end to end; None as for `searched`."""
    return _without_anchors(pattern, "")


def _without_anchors(pattern: str, beside: str) -> str | None:
    """`beside`: what may stand where a branch has no anchor."""
    branches = []
    for branch in _branches(pattern):
        before = "" if branch.startswith("^") else beside
        bare = full_match(branch)
        after = "" if len(bare) < len(branch.removeprefix("^")) else beside
        if any(piece[0] in ("^", "$") for piece in _PIECE.finditer(bare)):
            return None
        branches.append(f"{before}(?:{bare}){after}")
    return "|".join(branches)


def _branches(pattern: str) -> list[str]:
    """What a pattern matches one or the other of."""
    found, depth, start = [], 0, 0
    for piece in _PIECE.finditer(pattern):
        depth += (piece[0] == "(") - (piece[0] == ")")
        if piece[0] == "|" and depth == 0:
            found.append(pattern[start : piece.start()])
            start = piece.end()
    return [*found, pattern[start:]]


@lru_cache(maxsize=512)
def disjoint(patterns: tuple[str, ...]) -> bool:
    """Whether the patterns can all be used and nothing matches two of them, so that names go to one of them."""
    if len(patterns) > MOST_PATTERNS or not all(map(usable, patterns)):
        return False
    return not _complaint({"type": "object", "patternProperties": {pattern: {} for pattern in patterns}})


@lru_cache(maxsize=4096)
def anything_fits(patterns: tuple[str, ...], least: int, most: int | None) -> bool | None:
    """Whether there are texts of such lengths in which all the patterns are found; None when that is hard to tell."""
    schema = {"type": "string", "minLength": least, "allOf": [{"pattern": pattern} for pattern in patterns]}
    complaint = _complaint(schema if most is None else {**schema, "maxLength": most})
    return True if not complaint else False if "Unsatisfiable" in complaint else None


@lru_cache(maxsize=4096)
def matches(pattern: str, text: str) -> bool:
    """Whether a usable pattern is found in a text; without going back and forth, however it is written."""
    return not _complaint({"type": "string", "pattern": pattern, "const": text})


def _complaint(schema: Mapping[str, Any]) -> str:
    """Why a schema makes no grammar; empty when it makes one."""
    import llguidance  # takes a tenth of a second

    return str(llguidance.LLMatcher.validate_grammar(json.dumps({"grammars": [{"json_schema": schema}]})))
