"""Whether modules can be imported, found out in a process of their own.

A module that was compiled for another processor ends the process that imports it; this one must go on and say so.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from qwill.doctor.private import without_folders

SECONDS = 30
# Tells of each module before the next: what is not told of was ended with the process.
_PROGRAM = """
import importlib, json, os, sys
sys.path[:] = json.loads(sys.argv[1])
told = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for name in sys.argv[2:]:
    error = None
    try:
        importlib.import_module(name)
    except BaseException as reason:
        error = f"{type(reason).__name__}: {reason}"
    print(json.dumps([name, error]), file=told, flush=True)
os._exit(0)
"""


@dataclass
class Imports:
    """Imports that go on in another process. `failures` waits for them."""

    names: Sequence[str]
    process: "subprocess.Popen[bytes] | None"

    @classmethod
    def begin(cls, names: Sequence[str]) -> Self:
        try:
            return cls(names, subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), *names],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            ))  # fmt: skip
        except (OSError, ValueError):  # no interpreter, too many processes
            return cls(names, None)

    def failures(self) -> dict[str, str]:
        """Why each module that cannot be imported cannot; empty where no process could be had to try."""
        if self.process is None:
            return {}
        try:
            output, _ = self.process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, _ = self.process.communicate()
        told = dict(json.loads(line) for line in output.splitlines() if line.endswith(b"]"))
        failed = {name: without_folders(error) for name, error in told.items() if error is not None}
        lost = [name for name in self.names if name not in told]
        if lost:
            failed[lost[0]] = _end(self.process.returncode)
        return failed


def _end(code: int) -> str:
    """In words, how a process ended that has told nothing more."""
    if code == -4 or code & 0xFFFFFFFF == 0xC000001D:
        return "it was compiled for another processor (illegal instruction)"
    return f"it ends the process that imports it (code {code})"
