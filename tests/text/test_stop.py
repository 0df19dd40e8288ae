"""Stop strings against a search in the whole text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwill.errors import InvalidArgument
from qwill.text.stop import StopMatcher

PIECES = st.lists(st.text("ab\n", max_size=5), max_size=12)


def first_stop(text: str, stops: list[str]) -> tuple[int, str] | None:
    """Where the stop string that completes first begins; the longest among those that complete together."""
    ends = [(text.find(stop) + len(stop), -len(stop), stop) for stop in stops if stop in text]
    return (min(ends)[0] - len(min(ends)[2]), min(ends)[2]) if ends else None


@given(pieces=PIECES, stops=st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3))
def test_any_cut_of_the_text_gives_what_a_search_gives(pieces: list[str], stops: list[str]) -> None:
    matcher, shown, seen, stopped = StopMatcher(stops), "", "", False
    for piece in pieces:
        text, stopped = matcher.push(piece)
        shown, seen = shown + text, seen + piece
        found = first_stop(seen, stops)
        assert stopped == (found is not None)
        if found is not None:
            assert (shown, matcher.matched) == (seen[: found[0]], found[1])
        else:
            # Held back is the longest end that may begin a stop string, and nothing more.
            held = max(
                (n for n in range(len(seen) + 1) if any(s.startswith(seen[len(seen) - n :]) for s in stops)), default=0
            )
            assert shown == seen[: len(seen) - held]
    assert shown + matcher.flush() == (shown if stopped else seen)


def test_of_two_that_complete_together_the_longer_counts() -> None:
    matcher = StopMatcher(["b", "ab"])
    assert matcher.push("xab") == ("x", True)
    assert matcher.matched == "ab"


def test_after_a_stop_nothing_comes() -> None:
    matcher = StopMatcher(["###"])
    assert matcher.push("a##") == ("a", False)
    assert matcher.push("#b") == ("", True)
    assert matcher.push("c") == ("", True)
    assert matcher.flush() == ""


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="empty"):
        StopMatcher(["a", ""])
