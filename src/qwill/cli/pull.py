"""Download a model from the hub. A download that was cut off goes on where it stopped."""

import argparse
import os
import sys

from qwill.cli.options import human_bytes
from qwill.errors import InvalidArgument
from qwill.weights.download import check_space, download, plan_download
from qwill.weights.hub import DEMO, aliases, hub_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `qwill pull`."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help=f"an alias, from {aliases()[0]} to {aliases()[-1]}, with a quantization as in {aliases()[-1]}-q4_k_m;"
        " or org/name[:QUANT]",
    )


def execute(arguments: argparse.Namespace) -> None:
    """Says how much there is to load, loads it, and says what to type next. Raises QwillError."""
    name = arguments.model
    if name == DEMO:
        raise InvalidArgument("the demonstration model came with qwill; start it with: qwill run")
    if os.path.exists(name):
        raise InvalidArgument(f"{name} is a file or folder here; start it with: qwill run {name}")
    plan = plan_download(hub_model(name))
    print(
        f"{plan.model.repository}: {len(plan.files)} files, {human_bytes(plan.total_bytes)},"
        f" {human_bytes(plan.missing_bytes)} of it to download",
        flush=True,
    )
    check_space(plan)
    path = download(plan, progress=sys.stderr.isatty())
    print(f"{path}\nready; try: qwill run {name}")
