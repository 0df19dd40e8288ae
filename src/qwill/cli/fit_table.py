"""What `qwill fit` shows without --json."""

import os
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from qwill.cli.options import human_bytes
from qwill.fit.machines import AUTO, Machine
from qwill.fit.report import Answer

PIPE_WIDTH = 200  # nobody wraps a pipe's lines


def show_family(machine: Machine, answers: list[Answer]) -> None:
    """The machine, and a table of the family on it."""
    console = _console()
    console.print(_machine_line(machine))
    console.print(_family_table(answers))
    if note := _busy(machine):
        console.print(note)


def _family_table(answers: list[Answer]) -> Table:
    """A row for every member: the best quantization that fits, and the names of all others that do."""
    table = Table("member", "best that fits", box=None, pad_edge=False)
    for name in ("download", "memory", "left", "prefill", "decode"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("decode with other quantizations that fit")
    for member in dict.fromkeys(told.weights.model for told in answers):
        own = [told for told in answers if told.weights.model == member]
        fitting = [told for told in own if told.plan.fits and told.decode and told.prefill]
        if not fitting:
            least = min(own, key=lambda told: told.plan.memory_bytes)
            size = human_bytes(least.plan.memory_bytes)
            table.add_row(member, "none", "", "", "", "", "", f"{least.weights.quant} takes {size}")
            continue
        first, *others = fitting
        assert first.prefill is not None
        table.add_row(
            member, first.weights.quant, human_bytes(first.weights.file_bytes), human_bytes(first.plan.memory_bytes),
            human_bytes(first.plan.free), f"{first.prefill.tokens_per_second:,.0f}/s", _speed(first),
            ", ".join(f"{told.weights.quant} {_speed(told)}" for told in others),
        )  # fmt: skip
    return table


def _speed(told: Answer) -> str:
    return f"{told.decode.tokens_per_second:.3g}/s" if told.decode else "–"


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def _machine_line(machine: Machine) -> str:
    parts = []
    if machine.host is not None:
        host = machine.host
        parts.append(
            f"{host.name}, {host.cores} cores, {host.isa}: {human_bytes(host.memory_bytes)} for models,"
            f" read at {host.bandwidth / 1e9:.1f} GB/s, {host.rate / 1e12:.2f} Top/s"
        )
    for gpu in dict.fromkeys(machine.gpus):
        count = machine.gpus.count(gpu)
        parts.append(f"{count} x {gpu.name}: {human_bytes(gpu.memory_bytes)} at {gpu.bandwidth / 1e9:.0f} GB/s")
    return f"{machine.name}: {'; '.join(parts)}"


def show(told: Answer, described: dict[str, Any]) -> None:
    """A model on a machine, line by line."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in _lines(told, described):
        table.add_row(name, value)
    _console().print(table)


def _lines(told: Answer, described: dict[str, Any]) -> list[tuple[str, str]]:
    wish = told.wish
    lines = [
        ("model", f"{told.weights.model}, {told.weights.quant}, {human_bytes(told.weights.file_bytes)} to download"),
        ("machine", _machine_line(told.machine)),
        ("to run", f"{wish.batch} x {wish.context:,} tokens, keys and values in {wish.kv_type.name.lower()}"),
        ("fits", _verdict(described)),
    ]
    for place in described["placement"]:
        parts = ", ".join(f"{name} {human_bytes(size)}" for name, size in place["parts"].items())
        of = f" of {human_bytes(place['capacity_bytes'])}" if "capacity_bytes" in place else ""
        lines.append((place["name"], f"{human_bytes(place['used_bytes'])}{of}{': ' if parts else ''}{parts}"))
    lines += [("instead", _instead(near)) for near in described["nearest"]]
    if told.decode and told.prefill:
        full = told.decode_at(wish.context).tokens_per_second
        lines += [
            ("prefill", f"{told.prefill.tokens_per_second:,.0f} tokens/s; {told.prefill.limit}"),
            ("decode", f"{told.decode.tokens_per_second:.3g} tokens/s, {full:.3g} when the context is full;"
                       f" {told.decode.limit}"),
        ]  # fmt: skip
        if told.machine.gpus:
            lines.append(("", "what an engine for graphics processors can reach; qwill computes on the CPU"))
        alone = described["cpu_alone"]
        if alone and alone["fits"]:
            speeds = f"{alone['prefill_tokens_per_second']:,.0f} and {alone['decode_tokens_per_second']:.3g} tokens/s"
            lines.append(("CPU alone", f"prefill and decode {speeds}"))
        if told.load_seconds:
            lines.append(("load", f"{told.load_seconds:.3g} s from disk"))
    if note := _busy(told.machine):
        lines.append(("note", note))
    if described["enough_disk"] is False:
        lines.append(("disk", f"only {human_bytes(told.machine.disk_free or 0)} are free for the download"))
    if described["best_quant"] not in (None, told.weights.quant):
        lines.append(("best that fits", described["best_quant"]))
    if cost := described["cost"]:
        lines.append(
            ("cost", f"{cost['input_per_million']:.3g} $ a million tokens read, {cost['output_per_million']:.3g} $"
                     f" written ({cost['hour']:.3g} $ an hour: power and {cost['years']:g} years of the machine)")
        )  # fmt: skip
    for price in described["api_prices"]:
        asks = price["note"] or f"{price['input_per_million']:g} $ and {price['output_per_million']:g} $"
        lines.append((price["provider"], asks))
    return lines


def _busy(machine: Machine) -> str:
    """That other programs took a part of what was measured; nothing where they did not."""
    if machine.name != AUTO or machine.host is None or not hasattr(os, "getloadavg"):
        return ""
    load = os.getloadavg()[0]
    return f"the machine is busy (load {load:.1f}): speeds are those beside other programs" * (
        load > machine.host.cores
    )


def _verdict(described: dict[str, Any]) -> str:
    if described["fits"]:
        return f"yes: {human_bytes(described['memory_bytes'])}, {human_bytes(described['free_bytes'])} left"
    return f"no: {human_bytes(described['memory_bytes'])}, {human_bytes(described['missing_bytes'])} too much"


def _instead(near: dict[str, Any]) -> str:
    return f"{near['changed']} fits"
