"""The Pythons that build, each with its tools in an environment of its own."""

import shutil
import subprocess
from pathlib import Path

from wheel_building.errors import WheelError
from wheel_building.platforms import Python

BUILDS = ("ziglang==0.17.1", "cmake>=3.20", "ninja", "scikit-build-core>=0.11", "nanobind>=2.7", "wheel")
CHECKS = ("auditwheel", "abi3audit", "delvewheel", "macholib", "twine")
_HAS_HEADERS = """
import pathlib, sys, sysconfig
sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").is_file())
"""


def made(python: Python, folder: Path) -> Path:
    """The interpreter of the environment for `python` in `folder`, made where it is not there whole. Raises WheelError
    where there is no such Python with its headers."""
    name = "python{}.{}".format(*python.version)
    environment = folder / name
    interpreter = environment / "bin" / "python"
    whole = environment / "whole"
    if whole.exists():
        return interpreter
    outside = shutil.which(name)
    if outside is None:
        raise WheelError(f"{name} is not on PATH; install it with its headers ({name}-dev, {name}-venv on Debian)")
    shutil.rmtree(environment, ignore_errors=True)
    run([outside, "-m", "venv", str(environment)], f"{name} makes no environment; install {name}-venv")
    run([str(interpreter), "-c", _HAS_HEADERS], f"{name} has no headers; install {name}-dev")
    pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, *BUILDS, *CHECKS], "pip installs the tools from the package index; see that it can be reached")
    whole.touch()
    return interpreter


def run(command: list[str], mend: str, **settings: object) -> str:
    """The command's output. Raises WheelError, with its last line and the mend, where it fails."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **settings
    )
    if done.returncode != 0:
        print(done.stdout, flush=True)
        raise WheelError(f"{Path(command[0]).name} failed with code {done.returncode}; {mend}")
    return done.stdout
