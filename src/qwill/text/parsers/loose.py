"""JSON as models write it at times: with Python's quotes, names and commas."""

import json
import re
from typing import Any

UNFIT = object()  # no JSON value

_PIECES = re.compile(r"""\\.|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\b(?:True|False|None)\b|,(?=\s*[\]}])""", re.DOTALL)
_NAMES = {"True": "true", "False": "false", "None": "null", ",": ""}
_IN_TEXT = re.compile(r"\\x([0-9a-fA-F]{2})|\\(.)|[\x00-\x1f\"]", re.DOTALL)
_MARKS = re.compile(r"""[{}\[\]"']""")
_ENDS_OF_TEXT = {quote: re.compile(rf"[{quote}\\]") for quote in "\"'"}


def read_json(text: str) -> Any:
    """The value that the text is, which can be sent on as JSON; else UNFIT."""
    try:
        parsed = json.loads(text)
        # Python reads more than it may send on: infinities, halves of surrogate pairs.
        json.dumps(parsed, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return UNFIT
    return parsed


def as_json(text: str) -> str:
    """A text that is JSON but for texts in single quotes, True, False, None and commas before brackets, as JSON. Linear
    in the text."""
    return _PIECES.sub(_piece_as_json, text)


def _piece_as_json(match: re.Match[str]) -> str:
    piece = match[0]
    if piece[0] in "\"'":
        return f'"{_IN_TEXT.sub(_character_as_json, piece[1:-1])}"'
    return _NAMES.get(piece, piece)


def _character_as_json(match: re.Match[str]) -> str:
    if match[1] is not None:
        return f"\\u00{match[1]}"
    if match[2] is None:
        return json.dumps(match[0])[1:-1]
    if match[2] == "'":
        return "'"
    # What JSON does not know is no escape in Python either.
    return match[0] if match[2] in '"\\/bfnrtu' else json.dumps(match[0])[1:-1]


class ObjectEnd:
    """Finds the end of a JSON object, or of a Python dictionary, in a text that grows."""

    def __init__(self, start: int) -> None:
        """`start`: where in the text its first bracket stands."""
        self._position = start
        self._depth = 0
        self._quote = ""

    def find(self, text: str) -> int | None:
        """Where the object ends; None as long as it does not. Looks at no character twice."""
        while True:
            mark = (_ENDS_OF_TEXT[self._quote] if self._quote else _MARKS).search(text, self._position)
            if mark is None:
                self._position = len(text)
                return None
            if mark[0] == "\\":
                if mark.end() == len(text):
                    self._position = mark.start()
                    return None
                self._position = mark.end() + 1
                continue
            self._position = mark.end()
            if mark[0] in "\"'":
                self._quote = "" if self._quote else mark[0]
            else:
                self._depth += 1 if mark[0] in "{[" else -1
                if self._depth == 0:
                    return self._position
