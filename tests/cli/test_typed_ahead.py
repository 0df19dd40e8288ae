"""What was typed and pasted while nobody read, taken apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwill.cli.typed_ahead import messages


def paste(text: str) -> str:
    return f"\x1b[200~{text}\x1b[201~"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (paste("a\rb\n") + "\r", (["a\nb\n"], "")),
        (paste("a\rb"), ([], "a\nb")),
        (paste("a\rb") + "c", ([], "a\nbc")),
        ("one\rtwo " + paste("a\rb") + " c\rthree\rfo", (["one", "two a\nb c", "three"], "fo")),
        (paste("a") + paste("\rb") + "\r" + paste("c") + "\r", (["a\nb", "c"], "")),
        (paste("a\r/bye\rb")[:-6], ([], "a\n/bye\nb")),  # the rest has not come yet
        ("a\rb\r", (["a\nb\n"], "")),  # unmarked
        ("a\rb", ([], "a\nb")),
        ("x\x1b[A\x7f\x04y" + paste("p") + "\x1b[C\r", (["xyp"], "")),
    ],
)
def test_messages(typed: str, expected: tuple[list[str], str]) -> None:
    assert messages(typed) == expected


@given(st.lists(st.text("ab \n\t", max_size=5)), st.text("ab", max_size=3))
def test_pastes_with_enter_behind_them_come_back_as_they_were(texts: list[str], begun: str) -> None:
    typed = "".join(paste(text.replace("\n", "\r")) + "\r" for text in texts)
    assert messages(typed + paste(begun)) == (texts, begun)
