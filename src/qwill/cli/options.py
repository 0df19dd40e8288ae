"""Arguments that several verbs share."""

import argparse
from collections.abc import Callable

from qwill.errors import InvalidArgument

MODEL_HELP = (
    "nothing: the built-in demonstration model; a folder or .gguf file; an alias such as qwen3.5:0.8b-q4_k_m;"
    " org/name[:QUANT] of the hub, or a link to it; or ollama:NAME, what Ollama has here"
)


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """MODEL, which may be left out."""
    parser.add_argument("model", nargs="?", default="demo", metavar="MODEL", help=MODEL_HELP)


def add_lora_argument(group: "argparse._ArgumentGroup") -> None:
    """--lora, which may be repeated."""
    group.add_argument(
        "--lora",
        action="append",
        default=[],
        metavar="PATH[=SCALE]",
        help="an adapter for all answers; may be repeated",
    )


def unnamed(texts: list[str]) -> list[str]:
    """Adapters of a verb whose answers ask for none by name. Raises InvalidArgument for one that has a name."""
    from qwill.weights.adapters.spec import read_specs

    for spec in read_specs(texts):
        if spec.name is not None:
            raise InvalidArgument(
                f"--lora {spec.name}=...: only qwill serve knows adapters by name; give PATH or PATH=SCALE"
            )
    return texts


def at_least(least: int) -> Callable[[str], int]:
    """Reads a whole number from `least` on."""

    def read(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is not at least {least}")
        return value

    read.__name__ = "whole number"  # what argparse calls it in its message
    return read


at_least_one = at_least(1)


def counts(least: int) -> Callable[[str], list[int]]:
    """Reads whole numbers from `least` on, with commas between."""

    def read(text: str) -> list[int]:
        values = [int(word) for word in text.split(",")]
        if min(values) < least:
            raise argparse.ArgumentTypeError(f"{min(values)} is not at least {least}")
        return values

    read.__name__ = "list of whole numbers"  # what argparse calls it in its message
    return read


def drafts(text: str) -> bool | int:
    """A number of drafts, or "auto", which is True."""
    return True if text == "auto" else int(text)


def above_zero(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def human_bytes(count: int) -> str:
    """A size for people, in decimal units."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} bytes"
