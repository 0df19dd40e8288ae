"""Say whether a model fits on a machine, where its parts go, how fast it is and what it costs, before a download."""

import argparse
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwill.cli.options import above_zero, at_least_one
from qwill.errors import InvalidArgument, ModelNotFound
from qwill.weights.hub.cache import existing_path
from qwill.weights.naming.models import RELEASES, cleaned, family_member

if TYPE_CHECKING:
    from qwill.fit.costs import Rates
    from qwill.fit.machines import Machine
    from qwill.fit.plan import Wish
    from qwill.fit.weights import Weights

LONGEST = 4 * 262_144  # with YaRN by 4
ALL = ""
# Quantizations of others, in the names of repositories.
_OTHER_FORMATS = re.compile(r"/.*(\dbit|\d-bit|awq|gptq|nvfp4|mxfp\d|int\d|w\da\d|exl\d|hqq|bnb|mlx)", re.IGNORECASE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `qwill fit`."""
    parser.add_argument(
        "model",
        nargs="?",
        default=ALL,
        metavar="MODEL",
        help="nothing: the whole family; a member by its alias, released name or a repository; a local model",
    )
    what = parser.add_argument_group("what is to run")
    what.add_argument("--quant", default="", metavar="Q", help="quantization, such as Q4_K_M (the best that fits)")
    what.add_argument("--ctx", type=at_least_one, metavar="N", help="tokens of each sequence (32768)")
    what.add_argument("--batch", type=at_least_one, default=1, metavar="N", help="sequences at a time (1)")
    what.add_argument("--kv", default="f16", metavar="TYPE", help="cached keys and values: f32, f16, q8_0 (f16)")
    where = parser.add_argument_group("where")
    where.add_argument(
        "--hardware",
        default="auto",
        metavar="NAME",
        help='auto: this machine; or such as "2x4090 + 128GB", "EPYC 9654 768GB", "24GB VRAM at 936GB/s + 64GB RAM"',
    )
    cost = parser.add_argument_group("what it costs")
    cost.add_argument("--watts", type=above_zero, metavar="W", help="the machine's power, if not the named one's")
    cost.add_argument("--price", type=above_zero, metavar="USD", help="the machine's price, if not the named one's")
    cost.add_argument("--electricity", type=above_zero, metavar="USD", help="for a kilowatt-hour (0.15)")
    cost.add_argument("--years", type=above_zero, metavar="N", help="that the machine serves (3)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--plot", metavar="FILE", help="draw speeds by context into FILE (PNG, SVG or PDF)")


def execute(arguments: argparse.Namespace) -> None:
    """Prints a table or an object, and draws. Raises QwillError."""
    from qwill.fit.report import answer, describe

    wish, rates = _wish(arguments), _rates(arguments)
    if arguments.plot and arguments.model == ALL:
        raise InvalidArgument("--plot is for one model; name it")
    own_file = _own_file(arguments.model) if arguments.model else None
    machine = _machine(arguments, own_file)
    if arguments.model == ALL:
        _show_family(arguments, machine, wish)
        return
    weights, member = _weights(arguments, machine, wish, own_file)
    told = answer(weights, member, machine, wish)
    described = describe(told, rates) | {"api_prices": _api_prices(weights.model)}
    if arguments.plot:
        from qwill.cli.fit_plot import draw

        draw(described, Path(arguments.plot))
    if arguments.json:
        print(json.dumps(described, ensure_ascii=False))
        return
    from qwill.cli.fit_table import show

    show(told, described)


def _wish(arguments: argparse.Namespace) -> "Wish":
    from qwill.fit.plan import Wish
    from qwill.model.batch import KV_DTYPES
    from qwill.options import DEFAULT_CONTEXT
    from qwill.quant.types import TYPES

    if arguments.kv.upper() not in KV_DTYPES:
        raise InvalidArgument(f"--kv {arguments.kv!r} is not one of {', '.join(name.lower() for name in KV_DTYPES)}")
    context = DEFAULT_CONTEXT if arguments.ctx is None else arguments.ctx
    if context > LONGEST:
        raise InvalidArgument(f"--ctx {context} is more than the {LONGEST} that YaRN reaches")
    return Wish(context, arguments.batch, TYPES[arguments.kv.upper()])


def _rates(arguments: argparse.Namespace) -> "Rates":
    from qwill.fit.costs import ELECTRICITY, YEARS, Rates

    return Rates(arguments.electricity or ELECTRICITY, arguments.years or YEARS)


def _own_file(model: str) -> Path | None:
    """What is on this machine under a name, downloaded or not; None for a member by its shapes alone."""
    from qwill.weights.hub.cache import resolve_model

    if existing := existing_path(model):
        return existing
    if _names_a_member(model):
        return None
    try:
        return resolve_model(model)
    except ModelNotFound:
        return None


def _names_a_member(model: str) -> bool:
    try:
        return bool(family_member(model))
    except ModelNotFound:
        return False


def _machine(arguments: argparse.Namespace, file: Path | None) -> "Machine":
    from qwill.fit.machines import AUTO, named_machine

    if arguments.hardware.lower() == AUTO:
        from qwill.fit.detect import this_machine
        from qwill.weights.hub.cache import cache_folder

        machine = this_machine(file if file is not None and file.is_file() else None, cache_folder())
    else:
        machine = named_machine(arguments.hardware)
    return replace(machine, watts=arguments.watts or machine.watts, usd=arguments.price or machine.usd)


def _weights(
    arguments: argparse.Namespace, machine: "Machine", wish: "Wish", file: Path | None
) -> tuple["Weights", str | None]:
    """What is to run, and the member of the family that it is."""
    from qwill.fit.plan import best_quantization, cached_weights
    from qwill.fit.weights import checkpoint_weights, known_member, quantizations

    if file is not None:
        from qwill.weights.hub.cache import resolve_model
        from qwill.weights.load import open_checkpoint

        if arguments.quant:
            raise InvalidArgument(f"--quant: {arguments.model} is a file as it is; name a member of the family instead")
        checkpoint = open_checkpoint(resolve_model(arguments.model))
        member = known_member(checkpoint.config, str(checkpoint.path))
        return checkpoint_weights(checkpoint, cleaned(arguments.model)), member
    member, own = family_member(arguments.model)
    quant = (arguments.quant or own).upper()
    there = quantizations(member)
    if not quant:
        if _OTHER_FORMATS.search(arguments.model):
            print(
                f"qwill: fit knows the sizes of releases and GGUF files, not of {cleaned(arguments.model)} before it is"
                f" downloaded; of {member} this fits:",
                file=sys.stderr,
            )
        best = best_quantization(member, machine, wish)
        return best or cached_weights(member, there[-1]), member
    chosen = next((each for each in there if each in (quant, f"UD-{quant}")), None)
    if chosen is None:
        raise InvalidArgument(f"{member} does not come in {quant}; it comes in {', '.join(there)}")
    return cached_weights(member, chosen), member


def _api_prices(model: str) -> list[dict[str, Any]]:
    """What providers ask for the same model."""
    from qwill.fit.report import as_number
    from qwill.server.prices import read_prices

    return [
        {
            "provider": price.name,
            "model": price.model,
            "input_per_million": as_number(price.input),
            "output_per_million": as_number(price.output),
            "currency": price.currency,
            "note": price.note,
        }
        for price in read_prices().providers
        if price.model == model
    ]


def _show_family(arguments: argparse.Namespace, machine: "Machine", wish: "Wish") -> None:
    from qwill.fit.plan import cached_weights
    from qwill.fit.report import answer, row
    from qwill.fit.weights import QUANTS, quantizations

    wanted = arguments.quant.upper()
    answers = []
    for member in RELEASES.values():
        for quant in quantizations(member):
            if wanted in ("", quant, quant.removeprefix("UD-")):
                answers.append(answer(cached_weights(member, quant), member, machine, wish))
    if not answers:
        raise InvalidArgument(f"--quant {wanted}: no member comes in it; there are {', '.join(QUANTS)}")
    if arguments.json:
        models = [row(told) for told in answers]
        print(json.dumps({"hardware": machine.name, "context": wish.context, "batch": wish.batch, "models": models}))
        return
    from qwill.cli.fit_table import show_family

    show_family(machine, answers)
