"""What `qwill fit` says of a model on a machine: placement, speeds, times and costs, as one dictionary."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from qwill.fit.costs import Rates, hourly, per_million
from qwill.fit.estimate import PROMPT_TOKENS, Speed, decode, prefill
from qwill.fit.machines import Machine
from qwill.fit.plan import DISK, Nearest, Plan, Wish, best_quantization, nearest, plan
from qwill.fit.weights import Weights

DEPTHS = 8  # contexts at which a plot shows the speed


@dataclass(frozen=True)
class Answer:
    """A model on a machine. decode, prefill: with next to nothing in the context; None where it does not fit."""

    weights: Weights
    member: str | None
    machine: Machine
    wish: Wish
    plan: Plan
    decode: Speed | None
    prefill: Speed | None

    @property
    def load_seconds(self) -> float | None:
        """Reading the files from the machine's disk."""
        rate = self.machine.disk_bandwidth
        return self.weights.file_bytes / rate if rate and self.plan.fits else None

    def decode_at(self, context: int) -> Speed:
        return decode(self.weights, self.plan.shares, context, self.wish.batch, self.wish.kv_type)

    def prefill_at(self, context: int) -> Speed:
        return prefill(self.weights, self.plan.shares, PROMPT_TOKENS, context, self.wish.kv_type)


def answer(weights: Weights, member: str | None, machine: Machine, wish: Wish) -> Answer:
    """Plans and estimates. `member`: whose other quantizations may be suggested."""
    placed = plan(weights, machine, wish)
    if not placed.fits:
        return Answer(weights, member, machine, wish, placed, None, None)
    return Answer(
        weights, member, machine, wish, placed,
        decode(weights, placed.shares, 0, wish.batch, wish.kv_type),
        prefill(weights, placed.shares, PROMPT_TOKENS, 0, wish.kv_type),
    )  # fmt: skip


def contexts(wish: Wish) -> list[int]:
    """From an empty context to a full one."""
    return sorted({wish.context * step // DEPTHS for step in range(DEPTHS + 1)})


def describe(told: Answer, rates: Rates) -> dict[str, Any]:
    """What --json shows, sizes in bytes, times in seconds, costs in US dollars."""
    weights, machine, wish, placed = told.weights, told.machine, told.wish, told.plan
    best = best_quantization(told.member, machine, wish) if told.member else None
    return {
        "model": weights.model,
        "quant": weights.quant,
        "hardware": machine.name,
        "context": wish.context,
        "batch": wish.batch,
        "kv": wish.kv_type.name.lower(),
        "fits": placed.fits,
        "file_bytes": weights.file_bytes,
        "memory_bytes": placed.memory_bytes,
        "free_bytes": placed.free,
        "missing_bytes": placed.missing,
        "placement": placement(placed),
        "prefill_tokens_per_second": told.prefill.tokens_per_second if told.prefill else None,
        "decode_tokens_per_second": told.decode.tokens_per_second if told.decode else None,
        "limits": {
            "prefill": told.prefill.limit if told.prefill else None,
            "decode": told.decode.limit if told.decode else None,
        },
        "engine": engine(machine),
        "by_context": _by_context(told),
        "cpu_alone": _cpu_alone(told),
        "load_seconds": told.load_seconds,
        "enough_disk": None if machine.disk_free is None else machine.disk_free >= weights.file_bytes,
        "best_quant": best.quant if best else None,
        "nearest": [] if placed.fits else [_nearest(each) for each in nearest(weights, told.member, machine, wish)],
        "cost": _cost(told, rates),
    }


def row(told: Answer) -> dict[str, Any]:
    """The short form, of one of many models."""
    return {
        "model": told.weights.model,
        "quant": told.weights.quant,
        "fits": told.plan.fits,
        "file_bytes": told.weights.file_bytes,
        "memory_bytes": told.plan.memory_bytes,
        "prefill_tokens_per_second": told.prefill.tokens_per_second if told.prefill else None,
        "decode_tokens_per_second": told.decode.tokens_per_second if told.decode else None,
    }


def engine(machine: Machine) -> str:
    """Whose speed is estimated."""
    return "roofline" if machine.gpus else "qwill"


def placement(placed: Plan) -> list[dict[str, Any]]:
    """Every memory, and last what would have to stay on disk."""
    places: list[dict[str, Any]] = [
        {
            "kind": place.kind,
            "name": place.name,
            "capacity_bytes": place.capacity,
            "used_bytes": place.used,
            "parts": {name: size for name, size in place.parts.items() if size},
        }
        for place in placed.places
    ]
    if placed.missing:
        places.append({"kind": DISK, "name": DISK, "used_bytes": placed.missing, "parts": {}})
    return places


def _by_context(told: Answer) -> list[dict[str, Any]]:
    if not told.plan.fits:
        return []
    return [
        {
            "context": context,
            "prefill_tokens_per_second": told.prefill_at(context).tokens_per_second,
            "decode_tokens_per_second": told.decode_at(context).tokens_per_second,
        }
        for context in contexts(told.wish)
    ]


def _cpu_alone(told: Answer) -> dict[str, Any] | None:
    """What qwill itself does on a machine with graphics processors: it computes on the CPU."""
    if not told.machine.gpus or told.machine.host is None:
        return None
    alone = answer(told.weights, None, told.machine.without_gpus(), told.wish)
    return {
        "fits": alone.plan.fits,
        "prefill_tokens_per_second": alone.prefill.tokens_per_second if alone.prefill else None,
        "decode_tokens_per_second": alone.decode.tokens_per_second if alone.decode else None,
    }


def _nearest(near: Nearest) -> dict[str, Any]:
    return {
        "changed": near.changed,
        "model": near.weights.model,
        "quant": near.weights.quant,
        "context": near.wish.context,
        "batch": near.wish.batch,
    }


def _cost(told: Answer, rates: Rates) -> dict[str, Any] | None:
    dollars = hourly(told.machine, rates)
    if dollars is None or told.decode is None or told.prefill is None:
        return None
    return {
        "currency": "USD",
        "hour": dollars,
        "input_per_million": per_million(told.machine, rates, told.prefill.tokens_per_second),
        "output_per_million": per_million(told.machine, rates, told.decode.tokens_per_second),
        "electricity": rates.electricity,
        "watts": told.machine.watts,
        "machine": told.machine.usd,
        "years": rates.years,
    }


def as_number(price: Decimal | None) -> float | None:
    return None if price is None else float(price)
