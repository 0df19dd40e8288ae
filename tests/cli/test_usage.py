"""`qwill usage` over files that a server's writer made."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Run, run_process

from qwill.server.usage import Tokens, UsageFile

OWN = '[own]\nmodel = "small"\ninput = 1\noutput = 10\ncurrency = "EUR"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two keys, two models, two days."""
    path = tmp_path / "usage.sqlite"
    written = UsageFile(path)
    written.add("laptop", "small", Tokens(1000, 200, 300, 100, 50))
    written.add("laptop", "large", Tokens(2_000_000, 0, 1_000_000))
    written.add("[red]robot[/red]", "small", Tokens(10, 0, 5))
    written.add("[red]robot[/red]", "small", Tokens(20, 10, 5))
    written.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE usage SET day = '2026-02-28' WHERE key = 'laptop' AND model = 'small'")
        database.execute("UPDATE usage SET day = '2026-03-01' WHERE day != '2026-02-28'")
        database.commit()
    return path


def test_json(run: Run, file: Path) -> None:
    shown = json.loads(run("usage", file, "--json").out)
    assert shown["by"] == "key"
    assert shown["rows"] == [
        {
            "key": "[red]robot[/red]", "requests": 2, "prompt_tokens": 30, "cached_tokens": 10, "completion_tokens": 10,
            "reasoning_tokens": 0, "image_tokens": 0,
        },
        {
            "key": "laptop", "requests": 2, "prompt_tokens": 2_001_000, "cached_tokens": 200,
            "completion_tokens": 1_000_300, "reasoning_tokens": 100, "image_tokens": 50,
        },
    ]  # fmt: skip
    assert shown["total"] == {
        "requests": 4, "prompt_tokens": 2_001_030, "cached_tokens": 210, "completion_tokens": 1_000_310,
        "reasoning_tokens": 100, "image_tokens": 50,
    }  # fmt: skip
    # 2.00103 * 0.11 + 1.00031 * 0.44 and 2.00103 * 0.13 + 1.00031 * 0.52
    assert [(one["provider"], one["amount"]) for one in shown["cost"]["providers"]] == [
        ("Alibaba Cloud", 0.6602497), ("OpenRouter", 0.7802951),
    ]  # fmt: skip
    assert "own" not in shown["cost"]


def test_groups_and_filters(run: Run, file: Path) -> None:
    def rows(*arguments: object) -> list[tuple[str, int, int]]:
        shown = json.loads(run("usage", file, "--json", *arguments).out)
        return [(row[shown["by"]], row["requests"], row["prompt_tokens"]) for row in shown["rows"]]

    assert rows("--by", "model") == [("large", 1, 2_000_000), ("small", 3, 1030)]
    assert rows("--by", "day") == [("2026-02-28", 1, 1000), ("2026-03-01", 3, 2_000_030)]
    assert rows("--by", "model", "--since", "2026-03-01") == [("large", 1, 2_000_000), ("small", 2, 30)]
    assert rows("--by", "model", "--key", "laptop") == [("large", 1, 2_000_000), ("small", 1, 1000)]
    assert rows("--key", "laptop", "--since", "2026-03-01") == [("laptop", 1, 2_000_000)]
    assert rows("--since", "2027-01-01") == []


def test_for_people(run: Run, file: Path) -> None:
    shown = run("usage", file)
    assert (shown.code, shown.err) == (0, "")
    assert "\x1b" not in shown.out
    lines = [line.split() for line in shown.out.splitlines()]
    assert lines[0] == ["key", "requests", "prompt", "cached", "completion", "reasoning", "image"]
    assert lines[1] == ["[red]robot[/red]", "2", "30", "10", "10", "0", "0"]
    assert lines[2] == ["laptop", "2", "2,001,000", "200", "1,000,300", "100", "50"]
    assert lines[3] == ["total", "4", "2,001,030", "210", "1,000,310", "100", "50"]
    assert lines[6] == ["Alibaba", "Cloud", "Qwen3.5-397B-A17B", "0.11", "0.44", "USD", "0.6602497"]
    assert lines[8] == ["NVIDIA", "NIM", "Qwen3.5-397B-A17B", "free", "trial"]


def test_long_names_are_not_cut(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "usage.sqlite"
    written = UsageFile(path)
    written.add("n" * 300, "demo", Tokens(1))
    written.close()
    assert "n" * 300 in run("usage", path).out


def test_prices_of_ones_own(run: Run, file: Path, tmp_path: Path) -> None:
    """They hold for one of the models: 1,030 tokens of prompts at 1, and 310 of answers at 10 for a million."""
    prices = tmp_path / "prices.toml"
    prices.write_text(OWN)
    shown = json.loads(run("usage", file, "--json", "--prices", prices).out)
    assert shown["cost"]["own"] == {"amount": 0.00413, "currency": "EUR"}
    line = next(line for line in run("usage", file, "--prices", prices).out.splitlines() if "this server" in line)
    assert line.split() == ["this", "server", "small", "1", "10", "EUR", "0.00413"]


def test_small_and_round_amounts(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "usage.sqlite"
    written = UsageFile(path)
    written.add("a", "demo", Tokens(1))
    written.close()
    assert "USD 0.00000011\n" in run("usage", path).out
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE usage SET prompt_tokens = 100000000000")
        database.commit()
    assert "USD 11,000.00\n" in run("usage", path).out


def test_mistakes(run: Run, file: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a text of more than a few words " * 100)
    assert "not a database" in run("usage", tmp_path / "text").mistake()
    assert "no such file" in run("usage", tmp_path / "none").mistake()
    assert "no such file" in run("usage", tmp_path).mistake()
    assert "invalid date value" in run("usage", file, "--since", "yesterday").mistake()
    assert "it has [red]robot[/red], laptop" in run("usage", file, "--key", "nobody").mistake()
    assert "invalid choice" in run("usage", file, "--by", "colour").mistake()
    assert "cannot be read" in run("usage", file, "--prices", tmp_path / "none").mistake()
    assert "FILE" in run("usage").mistake()
    assert "give both" in run("serve", "--prices", tmp_path / "none").mistake()


def test_a_pipe(file: Path) -> None:
    """In a process of its own, which needs none of the server's libraries."""
    done = run_process("usage", file, PYTHONIOENCODING="ascii")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("Alibaba Cloud") == 1
