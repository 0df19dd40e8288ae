"""Programs that look like compilers and fail as real ones do."""

import sys
from pathlib import Path

# The first argument may say how it fails; what it was called with is kept beside it.
_PROGRAM = """\
#!{python}
import os, sys
arguments = sys.argv[1:]
with open(os.path.realpath(__file__) + ".calls", "a") as calls:
    print(*arguments, file=calls)
kind = "{kind}"
links = "-shared" in arguments
if "-dumpmachine" in arguments:
    print("{machine}")
elif kind == "old" and "-std=gnu++17" in arguments:
    sys.exit("g++: error: unrecognized command line option '-std=gnu++17'")
elif kind == "dated" and "-mavx512bf16" in arguments:
    sys.exit("g++: error: unrecognized command-line option '-mavx512bf16'")
elif kind == "headless" and not links:
    sys.exit("In file included from x:\\nprobe.cpp:2:10: fatal error: 'optional' file not found\\n1 error generated.")
elif kind == "unlinked" and links:
    sys.exit("collect2: fatal error: cannot find 'ld'\\ncompilation terminated.")
elif kind != "idle":
    open(arguments[arguments.index("-o") + 1], "w").close()
"""


def lay(folder: Path, name: str, kind: str = "works", machine: str = "x86_64-linux-gnu") -> Path:
    """Makes the program `name` in `folder`. `kind`: works, old (no C++17), dated (not the newest instructions),
    headless (no C++ library), unlinked (no linker) or idle (ends well and does nothing)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(_PROGRAM.format(python=sys.executable, kind=kind, machine=machine))
    path.chmod(0o755)
    return path


def calls(program: Path) -> list[list[str]]:
    """The arguments of each call so far."""
    kept = Path(f"{program}.calls")
    return [line.split() for line in kept.read_text().splitlines()] if kept.exists() else []
