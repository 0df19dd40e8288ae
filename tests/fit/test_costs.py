"""What tokens cost on one's own machine, by hand."""

from dataclasses import replace

import pytest

from qwill.fit.costs import Rates, hourly, per_million
from qwill.fit.machines import named_machine


def test_by_hand() -> None:
    machine = replace(named_machine("RTX 4090"), watts=500, usd=2629.8)
    rates = Rates(electricity=0.2, years=3)
    assert hourly(machine, rates) == pytest.approx(0.5 * 0.2 + 0.1)  # 2629.8 in 26,298 hours
    # 100 tokens a second are a million in 2.78 hours
    assert per_million(machine, rates, 100) == pytest.approx(0.2 * 1e6 / 360_000)


def test_what_is_not_known_costs_nothing_or_is_not_told() -> None:
    machine = replace(named_machine("RTX 4090"), watts=None, usd=None)
    assert hourly(machine, Rates()) is None
    assert per_million(machine, Rates(), 10) is None
    assert hourly(replace(machine, watts=1000), Rates(electricity=0.5)) == 0.5
