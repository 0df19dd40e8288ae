"""Show what the keys of a server have used, and what that would cost at API providers."""

import argparse
import json
import sys
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from qwill.server.prices import Price, Prices, read_prices
from qwill.server.usage import COUNTS, Tokens, Usage, read_usage

if TYPE_CHECKING:
    from rich.table import Table

GROUPS = ("key", "model", "day")
WIDE = 10_000  # columns of a pipe, where nothing is to be cut
PLACES = Decimal("1e-9")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `qwill usage`."""
    parser.add_argument("file", metavar="FILE", help="what `qwill serve --usage` writes")
    parser.add_argument("--by", choices=GROUPS, default="key", help="a row for each key, model or day (key)")
    parser.add_argument("--since", type=_day, metavar="DATE", help="from that day on, such as 2026-02-28 (UTC)")
    parser.add_argument("--key", metavar="NAME", help="of that key alone")
    parser.add_argument("--prices", metavar="FILE", help="prices of your own; see docs/cli.md")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def execute(arguments: argparse.Namespace) -> None:
    """Prints what was used and its cost. Raises QwillError."""
    usages = read_usage(Path(arguments.file).expanduser(), arguments.since, arguments.key)
    prices = read_prices(None if arguments.prices is None else Path(arguments.prices).expanduser())
    rows = {name: _counts(group) for name, group in _grouped(usages, arguments.by).items()}
    total = _counts(usages)
    by_model = {model: _tokens(group) for model, group in _grouped(usages, "model").items()}
    if arguments.json:
        listed = [{arguments.by: name, **counts} for name, counts in rows.items()]
        print(json.dumps({"by": arguments.by, "rows": listed, "total": total, "cost": prices.told(by_model)}))
        return
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
    console.print(_usage_table(arguments.by, rows, total))
    console.print()
    console.print(_cost_table(prices, by_model))


def _grouped(usages: list[Usage], by: str) -> dict[str, list[Usage]]:
    groups: dict[str, list[Usage]] = {}
    for usage in usages:
        groups.setdefault(getattr(usage, by), []).append(usage)
    return dict(sorted(groups.items()))


def _tokens(usages: list[Usage]) -> Tokens:
    return sum((usage.tokens for usage in usages), Tokens())


def _counts(usages: list[Usage]) -> dict[str, int]:
    return {"requests": sum(usage.requests for usage in usages), **asdict(_tokens(usages))}


def _usage_table(by: str, rows: dict[str, dict[str, int]], total: dict[str, int]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column(by, Text("total"), style="bold", footer_style="bold")
    for name in COUNTS:
        table.add_column(name.removesuffix("_tokens"), f"{total[name]:,}", justify="right")
    for label, counts in rows.items():
        table.add_row(Text(label), *(f"{counts[name]:,}" for name in COUNTS))
    return table


def _cost_table(prices: Prices, by_model: dict[str, Tokens]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("these tokens at", box=None, pad_edge=False)
    for name in ("model", "input", "output", "cost"):
        table.add_column(name, justify="left" if name == "model" else "right")
    own = prices.own_amount(by_model)
    if prices.own is not None and own is not None:
        table.add_row("this server", Text(prices.own.model or ""), *_rates(prices.own), _money(own, prices.own))
    tokens = sum(by_model.values(), Tokens())
    for price in prices.providers:
        amount = price.amount(tokens)
        cost = Text(price.note or "") if amount is None else _money(amount, price)
        table.add_row(Text(price.name), Text(price.model or ""), *_rates(price), cost)
    return table


def _rates(price: Price) -> list[str]:
    return ["" if rate is None else f"{rate:f}" for rate in (price.input, price.output)]


def _money(amount: Decimal, price: Price) -> str:
    """Down to billionths, for single answers cost no more; at least to hundredths."""
    whole, _, fraction = f"{amount.quantize(PLACES):,f}".partition(".")
    return f"{price.currency} {whole}.{fraction.rstrip('0'):0<2}"


def _day(text: str) -> date:
    return date.fromisoformat(text)


_day.__name__ = "date"  # what argparse calls it in its message
