"""What a million tokens cost on one's own machine: its power, and its price over the years that it serves."""

from dataclasses import dataclass

from qwill.fit.machines import Machine

ELECTRICITY = 0.15  # US dollars for a kilowatt-hour, about what households in the USA pay
YEARS = 3.0
HOURS_A_YEAR = 8766.0
MILLION = 1e6


@dataclass(frozen=True)
class Rates:
    """electricity: US dollars for a kilowatt-hour; years that a machine serves, computing all the time."""

    electricity: float = ELECTRICITY
    years: float = YEARS


def hourly(machine: Machine, rates: Rates) -> float | None:
    """US dollars an hour; None where neither power nor price is known."""
    if machine.watts is None and machine.usd is None:
        return None
    power = (machine.watts or 0.0) / 1000 * rates.electricity
    return power + (machine.usd or 0.0) / (rates.years * HOURS_A_YEAR)


def per_million(machine: Machine, rates: Rates, tokens_per_second: float) -> float | None:
    """US dollars for a million tokens at that speed, all the machine's time counted."""
    dollars = hourly(machine, rates)
    return None if dollars is None else dollars / 3600 / tokens_per_second * MILLION
