"""Make a model file of other types: GGUF from a folder or a .gguf file, or a folder in FP8 from a folder."""

import argparse
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from qwill.cli.loading import LoadingBar
from qwill.cli.options import at_least_one, human_bytes, unnamed
from qwill.errors import InvalidArgument, ModelNotFound
from qwill.progress import report_to
from qwill.quant.recipes import Recipe, load_recipe, names
from qwill.quant.types import TYPES
from qwill.weights.hub.cache import resolve_model
from qwill.weights.naming.models import family_member

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from qwill.convert.plan import PlannedTensor
    from qwill.convert.quantize import Conversion
    from qwill.quant.importance import Importance

DEFAULT_TYPE, DEFAULT_VISION_TYPE, FP8, KEEP = "Q4_K_M", "F16", "FP8", "KEEP"
UNITS = {"": 1, "M": 10**6, "G": 10**9}
SUFFIX = ".gguf"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `qwill quantize`."""
    parser.add_argument("source", metavar="SOURCE", help="a folder, a .gguf file, or the name of a downloaded model")
    parser.add_argument("target", metavar="TARGET", nargs="?", help="the .gguf file to make; for FP8 the folder")
    what = parser.add_argument_group("what to make")
    what.add_argument("--type", metavar="TYPE", help=f"({DEFAULT_TYPE}) {', '.join((*names(), FP8, KEEP))}")
    what.add_argument("--recipe", metavar="FILE", help="types by rules of your own, in TOML")
    what.add_argument("--imatrix", metavar="FILE", help="what qwill imatrix gathered: smaller errors where they matter")
    what.add_argument("--mmproj", action="store_true", help="the vision tower's file; F16 unless --type says otherwise")
    what.add_argument(
        "--lora", action="append", default=[], metavar="PATH[=SCALE]", help="merge this adapter; may be repeated"
    )
    what.add_argument("--no-mtp", action="store_true", help="leave the draft head out")
    what.add_argument("--split-max-size", type=size, metavar="SIZE", help="in parts of at most SIZE: 40G, 500M")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--dry-run", action="store_true", help="only tell the sizes; SOURCE may be any family member's name"
    )
    how.add_argument("--force", action="store_true", help="overwrite TARGET")
    how.add_argument("--threads", type=at_least_one, metavar="N", help="processor threads (one a core)")


def size(text: str) -> int:
    """Reads a number of bytes, which may end in M or G, decimal as llama.cpp's gguf-split has them."""
    found = re.fullmatch(r"(\d+)([MG]?)", text.upper())
    if not found or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text} is no size such as 40G or 500M")
    return int(found[1]) * UNITS[found[2]]


def execute(arguments: argparse.Namespace) -> None:
    """Makes the file or folder, or tells its size. Raises QwillError."""
    if arguments.type and arguments.recipe:
        raise InvalidArgument("--type and --recipe exclude each other; leave one out")
    if arguments.target is None and not arguments.dry_run:
        raise InvalidArgument("which file to make? give TARGET, or --dry-run to be told its size")
    if arguments.mmproj:
        _refuse(arguments, "--mmproj", "recipe", "imatrix", "no_mtp")
    member = _member(arguments.source) if arguments.dry_run else None
    if (arguments.type or "").upper() == FP8:
        _make_folder(arguments, member)
    elif member is not None:
        if arguments.lora:
            raise InvalidArgument("--lora merges into a model that is here; give its path")
        _tell_of_member(arguments, member)
    else:
        _make_file(arguments)


def _make_file(arguments: argparse.Namespace) -> None:
    from qwill.convert.quantize import badly_needs_importance, plan_model, plan_vision, write_gguf

    source, target = resolve_model(arguments.source), Path(arguments.target or f"dry-run{SUFFIX}")
    if target.suffix != SUFFIX:
        raise InvalidArgument(f"{target}: is to be a GGUF file; let its name end in {SUFFIX}")
    if arguments.mmproj:
        conversion = plan_vision(source, _vision_type(arguments), _adapters(arguments))
    else:
        recipe = None if _keeps(arguments) else _recipe(arguments)
        draft_head = not arguments.no_mtp
        conversion = plan_model(source, recipe, _importance(arguments), draft_head, _adapters(arguments))
    needy = badly_needs_importance(conversion)
    if needy:
        print(
            f"qwill: {', '.join(needy)} without importance loses much; gather it with qwill imatrix and give --imatrix",
            file=sys.stderr,
        )
    if arguments.dry_run:
        _tell(_planned(conversion), conversion.file_bytes(arguments.split_max_size), "")
        return
    with LoadingBar("quantizing") as bar:
        report = report_to(bar.update, sum(info.nbytes for info in conversion.infos))
        threads = arguments.threads or _cores()
        paths = write_gguf(conversion, target, arguments.split_max_size, arguments.force, threads, report)
    parts = f" in {len(paths)} parts" if len(paths) > 1 else ""
    print(f"{paths[0]}: {human_bytes(sum(path.stat().st_size for path in paths))}{parts}, {_bits(conversion)}")


def _make_folder(arguments: argparse.Namespace, member: str | None) -> None:
    from qwill.convert.fp8 import SHARD_BYTES, plan_fp8, planned_bytes, write_fp8

    _refuse(arguments, f"--type {FP8}", "imatrix", "mmproj", "no_mtp", "force", "lora")
    if member is not None:
        from qwill.fit.family import family_config

        print(f"the folder's tensors take about {human_bytes(planned_bytes(family_config(member)))}")
        return
    plan = plan_fp8(resolve_model(arguments.source))
    total = sum(tensor.nbytes for tensor in plan.stored)
    if arguments.dry_run:
        print(f"the folder's tensors take {human_bytes(total)} ({total:,} bytes)")
        return
    with LoadingBar("quantizing") as bar:
        shard_bytes, report = arguments.split_max_size or SHARD_BYTES, report_to(bar.update, total)
        write_fp8(plan, Path(arguments.target), shard_bytes, arguments.threads or _cores(), report)
    print(f"{arguments.target}: {human_bytes(total)}")


def _tell_of_member(arguments: argparse.Namespace, member: str) -> None:
    """From shapes alone: nothing of it needs to be on this machine."""
    from qwill.convert.plan import file_sizes, plan
    from qwill.fit.family import family_config

    recipe = load_recipe("F16") if arguments.mmproj else _recipe(arguments)
    wanted = TYPES[_vision_type(arguments)] if arguments.mmproj else TYPES["F16"]
    tensors = plan(
        family_config(member),
        recipe,
        not arguments.no_mtp,
        arguments.mmproj,
        arguments.imatrix is not None,
        wanted,
    )
    sizes = file_sizes(tensors)
    kept = [tensor for tensor in tensors if tensor.canonical.startswith("visual.") == arguments.mmproj]
    _tell(kept, sizes["vision" if arguments.mmproj else "model"], "about ")


def _member(name: str) -> str | None:
    """The released name of a member of the family, unless a model of that name is here."""
    try:
        resolve_model(name)
    except ModelNotFound:
        with suppress(ModelNotFound):
            return family_member(name)[0]
    return None


def _recipe(arguments: argparse.Namespace) -> Recipe:
    if _keeps(arguments):
        raise InvalidArgument(f"--type {KEEP} is for a file or folder that is here; give its path")
    return load_recipe(arguments.recipe or arguments.type or DEFAULT_TYPE)


def _keeps(arguments: argparse.Namespace) -> bool:
    """Whether tensors keep their types."""
    keeps = (arguments.type or "").upper() == KEEP
    if keeps:
        _refuse(arguments, f"--type {KEEP}", "imatrix")
    return keeps


def _vision_type(arguments: argparse.Namespace) -> str:
    from qwill.convert.quantize import VISION_FILE_TYPES

    wanted = (arguments.type or DEFAULT_VISION_TYPE).upper()
    if wanted not in VISION_FILE_TYPES:
        raise InvalidArgument(f"{wanted}: vision files are of type {', '.join(VISION_FILE_TYPES)}; choose one of them")
    return str(wanted)


def _adapters(arguments: argparse.Namespace) -> "list[tuple[Path, float]]":
    """Paths with their scales. Raises InvalidArgument."""
    from qwill.weights.adapters.spec import read_specs

    specs = read_specs(unnamed(arguments.lora))
    return [(spec.path, spec.scale) for spec in specs]


def _importance(arguments: argparse.Namespace) -> "Importance | None":
    if arguments.imatrix is None:
        return None
    from qwill.convert.importance_file import read_importance

    return read_importance(Path(arguments.imatrix))


def _cores() -> int:
    from qwill.system.processors import performance_cores

    return performance_cores()


def _refuse(arguments: argparse.Namespace, option: str, *others: str) -> None:
    """What has no meaning beside an option is not passed over in silence."""
    for other in others:
        if getattr(arguments, other):
            raise InvalidArgument(f"--{other.replace('_', '-')} has no meaning with {option}; leave it out")


def _planned(conversion: "Conversion") -> "list[PlannedTensor]":
    from qwill.convert.plan import PlannedTensor

    return [
        PlannedTensor(tensor.name, tensor.shape, conversion.types[tensor.name], tensor.canonical)
        for tensor in conversion.tensors
    ]


def _bits(conversion: "Conversion") -> str:
    tensors = _planned(conversion)
    bits = 8 * sum(tensor.nbytes for tensor in tensors) / sum(tensor.elements for tensor in tensors)
    return f"{bits:.2f} bits per weight"


def _tell(tensors: "Sequence[PlannedTensor]", file_bytes: int, about: str) -> None:
    """A table of the file's parts, and its size: exact where its metadata are known."""
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_table(tensors))
    console.print(f"the file takes {about}{human_bytes(file_bytes)} ({file_bytes:,} bytes)")


def _table(tensors: "Sequence[PlannedTensor]") -> "Table":
    from rich.table import Table

    from qwill.convert.plan import groups

    table = Table("part", box=None, pad_edge=False)
    for column in ("tensors", "bytes", "bits per weight"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("types")
    for group in groups(tensors):
        bits, types = f"{group.bits_per_weight:.2f}", ", ".join(group.types)
        table.add_row(group.name, str(group.tensors), f"{group.nbytes:,}", bits, types)
    return table
