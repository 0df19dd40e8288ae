"""The command line of scripts/wheels."""

import argparse
import sys
import tempfile
from pathlib import Path

from wheel_building.building import ROOT, built
from wheel_building.checks import check
from wheel_building.environment import made
from wheel_building.errors import WheelError
from wheel_building.platforms import PYTHONS, Platform, named


def main(description: str | None) -> None:
    """Builds and checks the wheels that the command line names; a failure ends the program with one line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("dist"))
    parser.add_argument("platforms", nargs="*", metavar="platform")
    options = parser.parse_args()
    try:
        build_all(options.folder.absolute(), named(options.platforms))
    except WheelError as error:
        sys.exit(f"scripts/wheels: {error}")


def build_all(folder: Path, platforms: list[Platform]) -> None:
    """Builds the platforms' wheels; one stands in `folder` once it is whole and checked. Raises WheelError."""
    folder.mkdir(parents=True, exist_ok=True)
    interpreters = {python: made(python, ROOT / "build" / "wheels") for python in PYTHONS}
    for platform in platforms:
        for python, interpreter in interpreters.items():
            with tempfile.TemporaryDirectory(dir=folder) as work:
                wheel = built(platform, python, interpreter, Path(work))
                lines = check(wheel, platform, python, interpreter)
                wheel.replace(folder / wheel.name)
            print(f"{wheel.name}: {'; '.join(lines)}", flush=True)
