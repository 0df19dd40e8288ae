"""Python's headers for another system than the one that this Python was built for."""

import shutil
from pathlib import Path

from wheel_building.environment import run

_CONFIG = Path(__file__).with_name("pyconfig.h")
_INCLUDE = "import sysconfig; print(sysconfig.get_path('include'))"


def made(interpreter: Path, folder: Path) -> Path:
    """A copy in `folder` of the interpreter's headers with a pyconfig.h that holds for every 64-bit system. Copied
    since headers look for pyconfig.h beside themselves first. Raises WheelError where the interpreter does not run."""
    return copied(Path(run([str(interpreter), "-c", _INCLUDE], "see that it runs").strip()), folder)


def copied(include: Path, folder: Path) -> Path:
    """As `made`, of the headers in `include`."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(include, folder)
    shutil.copy(_CONFIG, folder / "pyconfig.h")
    return folder


def preprocessed(zig: list[str], include: Path, definitions: list[str]) -> str:
    """Python.h as the compiler `zig` (a command with its target) sees it. Raises WheelError where it does not."""
    options = [f"-D{each}" for each in definitions]
    return run(
        [*zig, "-E", "-P", "-isystem", str(include), *options, "-x", "c", str(include / "Python.h")],
        f"zig does not read {include}",
    )
