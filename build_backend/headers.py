"""Python's headers. Debian and its kin have them in a package of its own, which apt fetches without being root; nothing
is installed."""

import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from build_backend.errors import BuildError


def missing() -> Path | None:
    """The folder where the running Python's headers should be and are not; None where they are."""
    include = Path(sysconfig.get_path("include"))
    return None if (include / "Python.h").is_file() else include


def fetched(version: tuple[int, int], architecture: str | None, folder: Path) -> Path:
    """A folder under `folder` with `Python.h` and all it includes, for Python `version` (3, 11) and Debian's name of an
    architecture ("arm64"; None: this machine's). What is there from an earlier call is used as it is. Raises BuildError
    where there is no apt, no network or no such package."""
    name = f"python{version[0]}.{version[1]}"
    made = folder / f"{name}-{architecture or 'native'}"
    if (made / "Python.h").is_file():
        return made
    mend = (
        f"install Python's headers: {name}-dev (Debian, Ubuntu), python3-devel (Fedora, SUSE) or python3-dev (Alpine)"
    )
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise BuildError(f"Python.h is not in {sysconfig.get_path('include')}; {mend}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        _unpack(f"lib{name}-dev", architecture, Path(work), mend)
        include = Path(work, "root", "usr", "include", name)
        if not (include / "Python.h").is_file():
            raise BuildError(f"the package lib{name}-dev has no Python.h; {mend}")
        # pyconfig.h there only leads to the one of the architecture.
        for configured in Path(work, "root", "usr", "include").glob(f"*/{name}/pyconfig.h"):
            shutil.copy(configured, include / "pyconfig.h")
        shutil.rmtree(made, ignore_errors=True)
        os.rename(include, made)
    return made


def check_tools(version: tuple[int, int]) -> None:
    """Raises BuildError where `fetched` cannot work since there is no apt."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise BuildError(
            f"Python.h is not in {sysconfig.get_path('include')}; {_mend(f'python{version[0]}.{version[1]}')}"
        )


def _mend(name: str) -> str:
    return (
        f"install Python's headers: {name}-dev (Debian, Ubuntu), python3-devel (Fedora, SUSE) or python3-dev (Alpine)"
    )


def _unpack(package: str, architecture: str | None, work: Path, mend: str) -> None:
    """Downloads the newest `package` by the system's sources and unpacks it in `work`/root. The lists of packages are
    fetched into `work`, too: those of the system may be absent or old."""
    for path in ("state/lists/partial", "cache/archives/partial", "root"):
        (work / path).mkdir(parents=True)
    (work / "status").touch()
    folders = {"Dir::State": work / "state", "Dir::State::status": work / "status", "Dir::Cache": work / "cache"}
    options = {name: str(path) for name, path in folders.items()}
    if architecture is not None:
        options |= {"APT::Architecture": architecture, "APT::Architectures": architecture}
    if os.name == "posix" and os.geteuid() == 0:
        options["APT::Sandbox::User"] = "root"
    apt = ["apt-get", *(f"-o{name}={value}" for name, value in options.items())]
    for command in ([*apt, "update"], [*apt, "download", package]):
        _run(command, work, mend)
    for file in work.glob("*.deb"):
        _run(["dpkg", "-x", str(file), str(work / "root")], work, mend)


def _run(command: list[str], work: Path, mend: str) -> None:
    done = subprocess.run(command, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        told = (done.stderr.strip() or done.stdout.strip() or f"code {done.returncode}").splitlines()[-1]
        raise BuildError(f"Python.h is missing, and {command[0]} does not get it ({told}); {mend}")
