"""Every snippet of the server's page and of the README runs, against a server on another port."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qwill import cli
from qwill.quant.recipes import load_recipe
from qwill.server.keys import Keys
from qwill.server.prices import read_prices
from server.running import Running

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ADDRESS = "http://127.0.0.1:8080"
ELSEWHERE = ROOT / "docs" / "clients.md"  # whose blocks tests/clients runs, by the programs that they are for


def snippets(language: str) -> list[tuple[str, str]]:
    """Each block of that language, with the name of its page and its number."""
    found = []
    for page in PAGES:
        if page == ELSEWHERE:
            continue
        blocks = re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        found += [(f"{page.stem} {index}", block) for index, block in enumerate(blocks)]
    return found


def ids(language: str) -> list[str]:
    return [name for name, _ in snippets(language)]


@pytest.mark.parametrize("block", [block for _, block in snippets("python")], ids=ids("python"))
def test_python(server: Running, block: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block.replace(ADDRESS, server.url)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


ASKING = [(name, block) for name, block in snippets("bash") if ADDRESS in block]  # others train models for hours


@pytest.mark.skipif(shutil.which("curl") is None, reason="the snippets need curl")
@pytest.mark.parametrize("block", [block for _, block in ASKING], ids=[name for name, _ in ASKING])
def test_shell(server: Running, block: str) -> None:
    done = subprocess.run(
        ["bash", "-euc", block.replace(ADDRESS, server.url)],
        cwd=ROOT, capture_output=True, text=True, timeout=100, env={**os.environ, "KEY": "none"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "42" in done.stdout


@pytest.mark.parametrize("block", [block for _, block in snippets("toml")], ids=ids("toml"))
def test_files_of_keys_prices_and_recipes(tmp_path: Path, block: str) -> None:
    file = tmp_path / "file.toml"
    file.write_text(block)
    if "[[rules]]" in block:
        assert load_recipe(str(file)).rules
    elif "sha256" in block:
        keys = Keys.of([], file)
        assert keys.find("wrong") is None
        assert keys.find("secret") is not None  # the page's digest is that of this word
    else:
        assert read_prices(file).own is not None


def commands() -> list[str]:
    """Every line of a block that starts qwill, wherever it stands in it."""
    lines = []
    for page in PAGES:
        for block in re.findall(r"^```\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                command = line.split("#")[0].rpartition("| ")[2].strip()
                if command.startswith("qwill ") and command.split()[1] in cli.VERBS:
                    lines.append(command)
    return sorted(set(lines))


@pytest.mark.parametrize("command", commands())
def test_commands_are_understood(command: str) -> None:
    """Most of them need a model that is not here; their options at least are those that there are."""
    _, verb, *words = shlex.split(command)
    cli.parser_of(verb).parse_args(words)
