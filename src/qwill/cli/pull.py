"""Download a model from the hub. A download that was cut off goes on where it stopped."""

import argparse
import sys

from qwill.cli.options import human_bytes
from qwill.errors import InvalidArgument
from qwill.weights.hub.cache import DEMO, existing_path
from qwill.weights.hub.download import check_space, download, plan_download
from qwill.weights.hub.ollama_store import PREFIX as OLLAMA
from qwill.weights.naming.models import aliases, cleaned, hub_model
from qwill.weights.naming.repositories import is_adapter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `qwill pull`."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help=f"an alias, from {aliases()[0]} to {aliases()[-1]}, with a quantization as in {aliases()[-1]}-q4_k_m;"
        " or org/name[:QUANT], org/name/FILE.gguf, or a link to one of them",
    )


def execute(arguments: argparse.Namespace) -> None:
    """Says how much there is to load, loads it, and says what to type next. Raises QwillError."""
    name = cleaned(arguments.model)
    if name == DEMO:
        raise InvalidArgument("the demonstration model came with qwill; start it with: qwill run")
    if existing_path(name):
        raise InvalidArgument(f"{name} is a file or folder here; start it with: qwill run {name}")
    if cleaned(name).lower().startswith(OLLAMA):
        own = cleaned(name)[len(OLLAMA) :].strip()
        raise InvalidArgument(f"{name}: Ollama's models are read where they lie; get it with: ollama pull {own}")
    from qwill.weights.hub.look import look  # what opens models takes a while to import

    plan = look(plan_download(hub_model(name)))
    files = "1 file" if len(plan.files) == 1 else f"{len(plan.files)} files"
    print(
        f"{plan.model.repository}: {files}, {human_bytes(plan.total_bytes)},"
        f" {human_bytes(plan.missing_bytes)} of it to download",
        flush=True,
    )
    check_space(plan)
    path = download(plan, progress=sys.stderr.isatty())
    if is_adapter([file.name for file in plan.files]):
        print(f"{path}\nready, an adapter; give it with its base: qwill run MODEL --lora {path}")
    else:
        print(f"{path}\nready; try: qwill run {plan.model.name}")
