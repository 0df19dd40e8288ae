"""Tests a wheel as its users have it: `python scripts/test_installed.py FOLDER [pytest's arguments]`.

FOLDER has wheels, of which pip takes the one for this Python and this system. It goes into an environment of its own,
which is removed at the end; `qwill doctor` and a question to the embedded model come first, then the suite, with the
packages of the extra `test`. With --short the suite is left out: PyTorch, which it compares with, has no wheels for
Macs with Intel's processors. Needs nothing but Python, on every system.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What pip would install for the extra, without asking an index for qwill itself.
REQUIREMENTS = """
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement
for line in requires("qwill"):
    asked = Requirement(line)
    if asked.marker is None or any(asked.marker.evaluate({"extra": extra}) for extra in ("", EXTRA)):
        asked.marker = None
        print(asked)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the wheels are")
    parser.add_argument("--short", action="store_true", help="without the suite")
    arguments, for_pytest = parser.parse_known_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        return _tested(arguments.folder.resolve(), Path(place), arguments.short, for_pytest)


def _tested(wheels: Path, place: Path, short: bool, for_pytest: list[str]) -> int:
    """The exit code of the first command that fails, else 0."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONPATH", "QWILL_"))}
    environment["PYTHONUTF8"] = "1"  # tests read and write files without naming an encoding
    venv.create(place / "venv", with_pip=True)
    scripts = place / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    environment["PATH"] = f"{scripts}{os.pathsep}{environment.get('PATH', '')}"
    python, qwill = str(scripts / "python"), str(scripts / "qwill")

    def run(*words: str, folder: Path = place) -> None:
        subprocess.run(words, check=True, cwd=folder, env=environment)

    def printed(program: str, folder: Path = place) -> str:
        done = subprocess.run(
            [python, "-c", program], check=True, cwd=folder, env=environment, stdout=subprocess.PIPE, encoding="utf-8"
        )
        return done.stdout

    try:
        run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--find-links", str(wheels), "qwill")
        extra = "" if short else "test"
        needed = printed(REQUIREMENTS.replace("EXTRA", repr(extra))).splitlines()
        run(python, "-m", "pip", "install", "--quiet", *needed)
        run(qwill, "doctor")
        run(qwill, "run", "-p", "17 + 25 =", "--temp", "0", "--no-think", "-n", "16")
        if short:
            return 0
        imported = Path(printed("import qwill; print(qwill.__file__)", ROOT).strip())
        if ROOT / "src" in imported.parents:
            print(f"{imported} is not the wheel's", file=sys.stderr)
            return 1
        run(python, "-m", "pytest", "-n", "auto", "--dist", "loadfile", *for_pytest, folder=ROOT)
    except subprocess.CalledProcessError as error:
        return error.returncode or 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
