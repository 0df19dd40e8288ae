"""Gather from texts and pictures how much each input of each matrix matters, for `qwill quantize --imatrix`."""

import argparse
import sys
from pathlib import Path

from qwill.cli.loading import LoadingBar
from qwill.cli.options import add_model_argument, at_least, at_least_one
from qwill.errors import InvalidArgument

DEFAULT_CONTEXT = 512


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `qwill imatrix`."""
    add_model_argument(parser)
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="where the result goes, a GGUF file")
    read = parser.add_argument_group("what to read")
    read.add_argument(
        "-f",
        "--file",
        action="append",
        default=[],
        metavar="FILE",
        help="a text, or conversations (.jsonl); may be repeated",
    )
    read.add_argument("--image", action="append", default=[], metavar="FILE", help="a picture; may be repeated")
    read.add_argument(
        "--ctx", type=at_least(2), default=DEFAULT_CONTEXT, metavar="N", help="tokens of a piece of text (512)"
    )
    read.add_argument(
        "--chunks", type=at_least_one, metavar="N", help="read N pieces, conversations and pictures at most"
    )
    machine = parser.add_argument_group("how to run")
    machine.add_argument("--threads", type=at_least_one, metavar="N", help="processor threads (one a core)")
    machine.add_argument("--mmproj", metavar="FILE", help="vision file of a .gguf model (the one beside it)")
    parser.add_argument("--force", action="store_true", help="overwrite FILE if it exists")


def execute(arguments: argparse.Namespace) -> None:
    """Reads everything, then writes the file. Raises QwillError."""
    from qwill.convert.importance_file import write_importance
    from qwill.convert.output import check_absent
    from qwill.importance import gather, observed
    from qwill.passages import context_for, read_passages
    from qwill.progress import StagesBar

    if not arguments.file and not arguments.image:
        raise InvalidArgument("nothing to read; give a text with -f FILE or a picture with --image FILE")
    output = Path(arguments.output)
    check_absent(output, arguments.force)
    context = arguments.ctx
    room = context_for(arguments.file, context, arguments.image)
    with LoadingBar() as loading:
        llm, observer = observed(
            arguments.model, arguments.threads, max_context=room, mmproj=arguments.mmproj, max_sequences=1,
            progress=loading.update,
        )  # fmt: skip
    passages = read_passages(llm, arguments.file, context, arguments.image, arguments.chunks)
    names = [Path(name).name for name in (*arguments.file, *arguments.image)]
    with StagesBar(sys.stderr.isatty()) as bar:
        importance = gather(llm, observer, passages, context, names, lambda done: bar("read", done, len(passages)))
    write_importance(output, importance, arguments.force)
    tokens = sum(request.length for request in passages)
    print(f"{output}: {len(importance.statistics)} tensors' inputs over {tokens:,} tokens")
    unseen = [(found.counts == 0).mean() for found in importance.statistics.values() if len(found.counts) > 1]
    if unseen and max(unseen) > 0:
        print(
            f"qwill: in one layer no token went to {max(unseen):.0%} of the experts, which count as the others do on"
            " average; more text mends it",
            file=sys.stderr,
        )
