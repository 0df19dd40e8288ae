"""Where a line begins that is no quoted code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwill.text.quoting import Quoting

TEXTS = [
    ("", True),
    ("a\n", True),
    ("a\n  ", True),
    ("a", False),
    ("a\n    ", False),
    ("```\n", False),
    ("```python\nx = 1\n", False),
    ("```\nx\n```\n", True),
    ("   ```\nx\n ```  \n", True),
    ("```\n~~~\n", False),
    ("~~~\n```\n~~~\n", True),
    ("````\nx\n````\n", True),
    ("````\n```\nx\n```\n", False),
    ("```\nx\n`````\n", True),
    ("```x\n```x\n", False),
    ("say ```\n", True),
    ("```one line```\n", True),
    ("``\n", True),
    ("- `\n", True),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_blocks_of_code(text: str, expected: bool) -> None:
    for pieces in ([text], list(text)):
        quoting = Quoting()
        for piece in pieces:
            quoting.add(piece)
        assert quoting.at_line_start is expected


@given(pieces=st.lists(st.text("`~ \nx", max_size=6)))
def test_the_cut_never_matters(pieces: list[str]) -> None:
    whole, cut = Quoting(), Quoting()
    whole.add("".join(pieces))
    for piece in pieces:
        cut.add(piece)
    for rest in ("", "\n", "```\n"):
        whole.add(rest)
        cut.add(rest)
        assert cut.at_line_start == whole.at_line_start


def test_what_begins_in_the_midst_of_a_line() -> None:
    quoting = Quoting(at_line_start=False)
    assert not quoting.at_line_start
    quoting.add("```\n")
    assert quoting.at_line_start
    quoting.add("a")
    quoting.begin_line()
    assert quoting.at_line_start
