"""The command line. Each verb is a module with `add_arguments` and `execute`, imported only when it is called.

argparse, because it costs 20 ms of a start where typer costs 220 ms, half of what a first token may take.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn, TextIO

from qwill.errors import InvalidArgument, QwillError
from qwill.system.streams import write_utf8

VERBS = {
    "run": "answer a prompt, or chat",
    "inspect": "show what a model is made of",
    "fit": "say what fits on a machine, and how fast it will be",
    "doctor": "show what this installation is and has, and what is wrong with it",
    "pull": "download a model from the hub",
    "serve": "serve models over HTTP",
    "usage": "show what the keys of a server have used",
    "bench": "measure how fast a model is here",
    "quantize": "make a model file of other types",
    "imatrix": "gather what matters to a model's matrices, for quantizing it",
    "compare": "compare a file with another of the same model",
}
FAILED, INTERRUPTED = 1, 130


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are ordinary errors of one line."""

    def error(self, message: str) -> NoReturn:
        raise InvalidArgument(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 failed, 2 the user's mistake, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        write_utf8(stream)
    try:
        with suppress(SystemExit):  # how argparse leaves after --help and --version
            execute(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except QwillError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has enough
        _let_go(sys.stdout)
        return FAILED
    except OSError as error:
        try:
            sys.stdout.flush()
            return _complain(str(error), FAILED)
        except OSError:  # the terminal was closed: nobody is there to be told
            _let_go(sys.stdout)
            _let_go(sys.stderr)
            return FAILED
    except MemoryError:
        return _complain("not enough memory; try a smaller model, a smaller quantization or a shorter --ctx", FAILED)
    return 0


def execute(arguments: Sequence[str]) -> None:
    """Parses the arguments and runs the verb. Raises QwillError."""
    verb = arguments[0] if arguments else "--help"
    if verb not in VERBS:
        overview().parse_args(arguments or ["--help"])
        return
    module = importlib.import_module(f"qwill.cli.{verb}")
    module.execute(parser_of(verb).parse_args(arguments[1:]))


def overview() -> Parser:
    """The parser of what stands before a verb."""
    from qwill import __version__

    width = max(map(len, VERBS))
    parser = Parser(
        prog="qwill",
        description="Run Qwen 3.5 on the hardware you have.",
        epilog="\n".join(["verbs:", *(f"  {verb:{width}}  {summary}" for verb, summary in VERBS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"qwill {__version__}")
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help="what to do; `qwill VERB --help` says more")
    return parser


def parser_of(verb: str) -> Parser:
    """The parser of a verb's own arguments."""
    module = importlib.import_module(f"qwill.cli.{verb}")
    parser = Parser(prog=f"qwill {verb}", description=module.__doc__, allow_abbrev=False)
    module.add_arguments(parser)
    return parser


def _complain(message: str, exit_code: int) -> int:
    print(f"qwill: {' '.join(message.split())}", file=sys.stderr)
    return exit_code


def _let_go(stream: TextIO) -> None:
    """What is still buffered must not fail again at exit, which would change the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
