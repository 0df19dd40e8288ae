"""docs/cli.md and --help say the same."""

import argparse
import re
from pathlib import Path

import pytest

from qwill import cli
from qwill.weights.naming.models import aliases

DOCS = Path(__file__).parents[2] / "docs"


def section(verb: str) -> str:
    """The part of docs/cli.md under a verb's heading."""
    text = (DOCS / "cli.md").read_text("utf-8")
    found = re.search(rf"^## qwill {verb}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/cli.md has no section on {verb}"
    return found[1]


def actions(verb: str) -> list[argparse.Action]:
    return [action for action in cli.parser_of(verb)._actions if action.dest != "help"]


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_option_is_documented(verb: str) -> None:
    text = section(verb)
    for action in actions(verb):
        for option in action.option_strings or [str(action.metavar)]:
            assert f"`{option}" in text or f", {option}" in text, f"{verb} {option} is not in docs/cli.md"


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_documented_option_exists(verb: str) -> None:
    known = {option for action in actions(verb) for option in action.option_strings}
    rows = re.findall(r"^\| `(-[^|]*?)` \|", section(verb), re.MULTILINE)
    documented = {option for row in rows for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", row)}
    assert documented <= known


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_verb_is_introduced(verb: str) -> None:
    assert f"| `qwill {verb}" in (DOCS / "cli.md").read_text("utf-8")


def test_every_alias_is_documented() -> None:
    text = (DOCS / "models.md").read_text("utf-8")
    assert [alias for alias in aliases() if f"`{alias}`" not in text] == []
