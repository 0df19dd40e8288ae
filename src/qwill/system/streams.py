"""The encoding of standard input, output and errors: UTF-8 in pipes and files on every system."""

import os
import sys
from typing import TextIO


def write_utf8(stream: TextIO) -> None:
    """Sets up standard output or errors. In pipes and files of Windows, whose own encoding is a code page, text is
    UTF-8 and a line ends as it was answered; a terminal shows a question mark for what its encoding lacks.
    """
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is None:
        return
    if _is_code_page(stream):
        reconfigure(encoding="utf-8", errors="replace", newline="\n")
    else:
        reconfigure(errors="replace")


def read_utf8(stream: TextIO) -> None:
    """Sets up standard input: UTF-8 in pipes and files of Windows; bytes that are no text become halves of surrogate
    pairs, so that they cost their message and not all."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is None:
        return
    if _is_code_page(stream):
        reconfigure(encoding="utf-8", errors="surrogateescape")
    else:
        reconfigure(errors="surrogateescape")


def _is_code_page(stream: TextIO) -> bool:
    """Whether nobody has said what the encoding is to be. Consoles of Windows take UTF-8 from Python as it is."""
    return sys.platform == "win32" and not stream.isatty() and not os.environ.get("PYTHONIOENCODING")
