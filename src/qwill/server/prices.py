"""Prices of tokens, and what an answer costs by them. Amounts are decimals: nothing is rounded on the way."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from qwill.errors import InvalidArgument
from qwill.server.usage import Tokens

SHIPPED = Path(__file__).with_name("prices.toml")
OWN = "own"
CURRENCY = "USD"
NUMBERS = ("input", "output", "cached_input")
TEXTS = ("model", "currency", "note")
MOST = 10**6  # for a million tokens, in any currency
MILLION_DIGITS = 6
_CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True)
class Price:
    """Of a million tokens. `input` and `output` are None where there is no price; `note` says why."""

    name: str
    model: str | None = None
    input: Decimal | None = None
    output: Decimal | None = None
    cached_input: Decimal | None = None
    currency: str = CURRENCY
    note: str | None = None

    def amount(self, tokens: Tokens) -> Decimal | None:
        """What so many tokens cost, exactly."""
        if self.input is None or self.output is None:
            return None
        cached_input = self.input if self.cached_input is None else self.cached_input
        computed = tokens.prompt_tokens - tokens.cached_tokens
        whole = self.input * computed + cached_input * tokens.cached_tokens + self.output * tokens.completion_tokens
        return whole.scaleb(-MILLION_DIGITS)


@dataclass(frozen=True)
class Prices:
    """What tokens cost here, if that is known, and at each provider."""

    own: Price | None
    providers: tuple[Price, ...]

    def own_amount(self, tokens_by_model: Mapping[str, Tokens]) -> Decimal | None:
        """What tokens of this server's models cost here; None where no price is known for any of them."""
        if self.own is None:
            return None
        own = self.own
        amounts = [own.amount(tokens) for model, tokens in tokens_by_model.items() if own.model in (None, model)]
        known = [amount for amount in amounts if amount is not None]
        return sum(known, Decimal(0)) if known else None

    def told(self, tokens_by_model: Mapping[str, Tokens]) -> dict[str, Any]:
        """As JSON: what the tokens cost here and would cost elsewhere. Providers without prices are left out."""
        tokens = sum(tokens_by_model.values(), Tokens())
        own = self.own_amount(tokens_by_model)
        told: dict[str, Any] = {}
        if own is not None and self.own is not None:
            told["own"] = {"amount": float(own), "currency": self.own.currency}
        told["providers"] = [
            {"provider": price.name, "model": price.model, "amount": float(amount), "currency": price.currency}
            for price in self.providers
            if (amount := price.amount(tokens)) is not None
        ]
        return told


def read_prices(file: Path | None = None) -> Prices:
    """The prices that came with qwill, and those of a file of the same form. Raises InvalidArgument."""
    prices = _read(SHIPPED) | (_read(file) if file is not None else {})
    own = prices.pop(OWN, None)
    return Prices(own, tuple(prices.values()))


def _read(file: Path) -> dict[str, Price]:
    try:
        tables = tomllib.loads(file.read_text("utf-8"), parse_float=Decimal)
    except (OSError, ValueError, ArithmeticError, RecursionError) as error:
        raise InvalidArgument(f"the prices cannot be read from {file} ({error})") from error
    return {name: _price(file, name, table) for name, table in tables.items()}


def _price(file: Path, name: str, table: Any) -> Price:
    known = (*NUMBERS, *TEXTS)
    if not isinstance(table, dict) or table.keys() - set(known):
        raise InvalidArgument(f"{file}: [{name}] must be a table of {', '.join(known)}")
    for field in TEXTS:
        if field in table and not (isinstance(table[field], str) and table[field].strip()):
            raise InvalidArgument(f"{file}: {field} of [{name}] must be a text of at least one character")
    if "currency" in table and not _CURRENCY.fullmatch(table["currency"]):
        raise InvalidArgument(f"{file}: currency of [{name}] must be three capital letters, such as USD")
    numbers = {field: _number(file, name, field, table[field]) for field in NUMBERS if field in table}
    priced = {"input", "output"} <= numbers.keys()
    if name == OWN and not priced:
        raise InvalidArgument(f"{file}: [{OWN}] must have input and output, prices of a million tokens")
    if not priced and (numbers or "note" not in table):
        raise InvalidArgument(f"{file}: [{name}] must have input and output, or neither and a note")
    if name != OWN and "model" not in table:
        raise InvalidArgument(f"{file}: [{name}] must name its model")
    return Price(
        name, table.get("model"), numbers.get("input"), numbers.get("output"), numbers.get("cached_input"),
        table.get("currency", CURRENCY), table.get("note"),
    )  # fmt: skip


def _number(file: Path, name: str, field: str, value: Any) -> Decimal:
    """An exact price: TOML's numbers with a point are read as decimals."""
    if isinstance(value, Decimal) or (isinstance(value, int) and not isinstance(value, bool)):
        number = Decimal(value)
        if number.is_finite() and 0 <= number <= MOST:
            return number
    raise InvalidArgument(f"{file}: {field} of [{name}] must be a number from 0 to {MOST:,}")
