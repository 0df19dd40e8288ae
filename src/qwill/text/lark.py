"""Pieces of grammars in llguidance's dialect of Lark."""

import json
from collections.abc import Mapping
from typing import Any

# What indentation needs. Without a bound a model at a loss writes blanks until the limit.
WHITE_SPACE = r"[ \t]{0,2}(\r?\n[ \t]{0,48})?"


def literal(text: str) -> str:
    """The terminal that is exactly `text`."""
    return json.dumps(text, ensure_ascii=False)


def bounded(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same JSON schema, with a bound on white space unless it has options of its own (`x-guidance`)."""
    return {"x-guidance": {"whitespace_pattern": WHITE_SPACE}, **schema}


def full_match(pattern: str) -> str:
    """A regular expression without the anchors at its ends, which say nothing where all of a text has to match."""
    pattern = pattern.removeprefix("^")
    bare = pattern.removesuffix("$")
    escaped = (len(bare) - len(bare.rstrip("\\"))) % 2 == 1
    return pattern if escaped else bare


def regex_terminal(pattern: str) -> str:
    """The terminal of a regular expression."""
    return f"/{_escape_slashes(pattern)}/"


def _escape_slashes(pattern: str) -> str:
    pieces, escaped = [], False
    for character in pattern:
        pieces.append("\\/" if character == "/" and not escaped else "\\n" if character == "\n" else character)
        escaped = character == "\\" and not escaped
    return "".join(pieces)
